"""QUIC's first packets (RFC 9000, RFC 9369): the version, and the ClientHello inside.

Initial packets are encrypted under keys that anyone can compute who sees the first of them (RFC 9001 s5.2), so that
server name, ALPN and JA4 can be read, when the package `cryptography` is there; else the version alone is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from socks5sniff.record import Tunnel

from .ciphers import aes_block, aes_gcm_open, expand_label, hkdf_extract
from .heads import HEAD_LIMIT, WAIT, Finding
from .tls import fingerprint, read_hello

_SALT_1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_SALT_2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
_SALT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")
_SALT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")
_VERSION_2 = 0x6B3343CF
_DRAFTS = {**dict.fromkeys(range(23, 29), _SALT_23), **dict.fromkeys(range(29, 33), _SALT_29), 33: _SALT_1, 34: _SALT_1}
_SALTS = {1: _SALT_1, _VERSION_2: _SALT_2, **{0xFF000000 | draft: salt for draft, salt in _DRAFTS.items()}}
READABLE = tuple(_SALTS)
"""Versions whose first packets can be opened."""
_MAX_ID = 20
"""Octets of a connection id in the versions known here."""
_MIN_INITIAL = 8
"""Octets of the destination connection id of a client's first packet (RFC 9000 s7.2)."""


class Initial(NamedTuple):
    """A long header packet of type Initial, with its header still protected."""

    version: int
    destination: bytes
    """Destination connection id."""
    packet: bytes
    """The packet, up to the end that its length gives."""
    number_at: int
    """Where the packet number begins."""


def quic(sent: Sequence[bytes], whole: bool) -> Finding:
    """The client's datagrams as QUIC; more of them are waited for until the ClientHello is there."""
    if not sent:
        return None if whole else WAIT
    version = _version(sent[0])
    if version is None:
        return None
    name = _name(version)
    initials = [initial for datagram in sent for initial in _initials(datagram)]
    if version not in _SALTS or not initials:
        return Tunnel("quic", detail=name)
    hello = _hello(initials)
    if hello is None:
        return Tunnel("quic", detail=name) if whole else WAIT
    offered = read_hello(hello)
    return Tunnel("quic", offered.server_name, offered.alpn, f"{name}, JA4 {fingerprint(offered, 'q')}")


def _version(datagram: bytes) -> int | None:
    """The version of a client's first packet, None where it is no QUIC."""
    if len(datagram) < 7 or datagram[0] & 0xC0 != 0xC0:
        return None
    version = int.from_bytes(datagram[1:5], "big")
    known = version in (1, _VERSION_2) or version >> 8 == 0xFF0000 or datagram[1:3] in (b"Q0", b"T0")
    if not known:
        return None
    if datagram[1:3] != b"Q0" and not _MIN_INITIAL <= datagram[5] <= _MAX_ID:
        return None
    return version


def _name(version: int) -> str:
    if version in (1, _VERSION_2):
        return f"QUIC version {1 if version == 1 else 2}"
    if version >> 8 == 0xFF0000:
        return f"QUIC draft {version & 0xFF}"
    return f"QUIC {version.to_bytes(4, 'big').decode('latin-1')}"


def _initials(datagram: bytes) -> Iterator[Initial]:
    """The Initial packets of a datagram, up to the first packet of another kind (RFC 9000 s12.2)."""
    at = 0
    while at + 7 <= len(datagram) and datagram[at] & 0xC0 == 0xC0:
        packet = datagram[at:]
        version = int.from_bytes(packet[1:5], "big")
        if packet[0] >> 4 & 3 != (1 if version == _VERSION_2 else 0):
            return
        destination = packet[6 : 6 + packet[5]]
        place = 6 + packet[5]
        place += 1 + (packet[place] if place < len(packet) else 0)
        token, place = _varint(packet, place)
        length, place = _varint(packet, place + token)
        if place + length > len(packet) or length < 20:
            return
        yield Initial(version, destination, packet[: place + length], place)
        at += place + length


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer (RFC 9000 s16) and the place behind it; zero beyond the end."""
    if at >= len(octets):
        return 0, at
    size = 1 << (octets[at] >> 6)
    return int.from_bytes(octets[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def _hello(initials: Sequence[Initial]) -> bytes | None:
    """The ClientHello, as the packets first gave it whole; None as long as they have not."""
    pieces: dict[int, bytes] = {}
    for initial in initials:
        # After a Retry the keys follow from the new connection id, else from the first packet's.
        for destination in dict.fromkeys((initials[0].destination, initial.destination)):
            plain = _open(initial, destination)
            if plain is None:
                continue
            for offset, octets in _crypto(plain):
                if len(octets) > len(pieces.get(offset, b"")):
                    pieces[offset] = octets
            stream = _stream(pieces)
            size = 4 + int.from_bytes(stream[1:4], "big")
            if 4 < size <= len(stream):
                return stream[:size]
            break
    return None


def _stream(pieces: dict[int, bytes]) -> bytes:
    """The crypto stream's first octets, as far as they are there without a gap."""
    stream = b""
    for offset in sorted(pieces):
        if offset > len(stream) or len(stream) >= HEAD_LIMIT:
            break
        stream += pieces[offset][len(stream) - offset :]
    return stream


def _open(initial: Initial, destination: bytes) -> bytes | None:
    """The frames of a client's Initial packet (RFC 9001 s5.3, s5.4)."""
    salt = _SALTS.get(initial.version)
    if salt is None:
        return None
    secret = expand_label(hkdf_extract(salt, destination), "client in", 32)
    prefix = "quicv2 " if initial.version == _VERSION_2 else "quic "
    key, vector, header_key = (
        expand_label(secret, prefix + label, size) for label, size in (("key", 16), ("iv", 12), ("hp", 16))
    )
    at = initial.number_at
    packet = initial.packet
    mask = aes_block(header_key, packet[at + 4 : at + 20])
    if mask is None:
        return None
    first = packet[0] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    number = bytes(octet ^ mask[1 + i] for i, octet in enumerate(packet[at : at + size]))
    header = bytes([first]) + packet[1:at] + number
    nonce = (int.from_bytes(vector, "big") ^ int.from_bytes(number, "big")).to_bytes(12, "big")
    return aes_gcm_open(key, nonce, packet[at + size :], header)


def _crypto(plain: bytes) -> Iterator[tuple[int, bytes]]:
    """Offsets and octets of the CRYPTO frames, up to a frame that an Initial packet cannot hold."""
    at = 0
    while at < len(plain):
        kind = plain[at]
        at += 1
        if kind in (0, 1):
            continue
        if kind in (2, 3):
            at = _behind_ack(plain, at, kind == 3)
        elif kind == 6:
            offset, at = _varint(plain, at)
            length, at = _varint(plain, at)
            yield offset, plain[at : at + length]
            at += length
        else:
            return


def _behind_ack(plain: bytes, at: int, counts: bool) -> int:
    """The place behind an ACK frame (RFC 9000 s19.3)."""
    for _ in range(2):
        _, at = _varint(plain, at)
    ranges, at = _varint(plain, at)
    for _ in range(min(2 * ranges + 1 + 3 * counts, len(plain))):
        _, at = _varint(plain, at)
    return at
