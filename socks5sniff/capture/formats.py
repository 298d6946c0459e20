"""What a file that is no pcap or pcapng file looks like, so that the message can say what to do with it."""

from __future__ import annotations

from .compression import compression

_CONVERT = "which editcap can convert: editcap -F pcapng FILE new.pcapng"

_KNOWN = (
    (b"snoop\x00\x00\x00", f"a snoop capture, {_CONVERT}"),
    (b"GMBU", f"a Network Monitor capture, {_CONVERT}"),
    (b"RTSS", f"a Network Monitor capture, {_CONVERT}"),
    (b"TRSNIFF data", f"a Sniffer capture, {_CONVERT}"),
    (b"XCP\x00", f"a NetXray capture, {_CONVERT}"),
    (b"\x54\x52\x00\x64", f"a NetScaler trace, {_CONVERT}"),
    (b"btsnoop\x00", "a Bluetooth capture"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\x7fELF", "a program (ELF)"),
    (b"SQLite format 3\x00", "an SQLite database"),
)


def foreign(octets: bytes) -> str:
    """What a file is that begins with these octets and is no capture we can read; one clause."""
    for magic, what in _KNOWN:
        if octets.startswith(magic):
            return f"looks like {what}"
    if len(octets) < 4:
        return f"has only {len(octets)} octet{'s' * (len(octets) != 1)}"
    kind = compression(octets)
    if kind is not None:
        return f"looks like {kind} data; decompress it first"
    if octets[257:262] == b"ustar":
        return "looks like a tar archive; unpack it first"
    sample = octets[:256]
    if all(32 <= octet < 127 or octet in b"\t\r\n" for octet in sample):
        return "looks like text"
    return f"begins with {octets[:4].hex(' ')}"
