"""The name of what a tunnel carries, against a list of patterns: each sample with some octets changed, or cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import pytest

from socks5sniff.analysis.tunnel import identify

from .tunnel_samples import CUT_SHORT, MYSQL, SAMPLES

LINE = 200
"""Octets of a line that are looked at."""
MTPROTO = [b"\xee\xee\xee\xee", b"\xdd\xdd\xdd\xdd"]
METHODS = rb"(?:GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE|PROPFIND) "

CLIENT: list[tuple[str, bytes]] = [
    ("tls", rb"\x16\x03[\0-\x04](?:.{0,2}\Z|..\x01)"),
    ("http", rb"PRI \* HTTP/2\.0\r\n"),
    ("http", METHODS + rb"[^\n]*(?: HTTP/|\Z)"),
    ("socks4", rb"\x04[\x01\x02\xf0].{6}[^\0]{0,255}\0"),
    ("bittorrent", rb"\x13BitTorrent protocol"),
    ("rdp", rb"\x03\0...\xe0"),
    ("smb", rb"\0\0..[\xfe\xff]SMB"),
    ("postgresql", rb"\0...(?:\0\x03\0\0|\x04\xd2\x16[\x2f\x30])"),
    ("mqtt", rb"\x10[\x80-\xff]{0,3}[\0-\x7f]\0(?:\x04MQTT|\x06MQIsdp)"),
    ("redis", rb"\*[0-9]{1,6}\r\n\$[0-9]{1,9}\r\n"),
    ("xmpp", rb"(?:<\?xml|<stream:stream)(?=.{0,1018}jabber)"),
    ("irc", rb"CAP LS(?:\s|\Z)|(?:CAP (?=LS)|NICK |PASS )[^\S\n]*\S+[^\S\n]*\n"),
    ("smtp", rb"(?i:EHLO|HELO|LHLO) "),
]
SERVER: list[tuple[str, bytes]] = [
    ("vnc", rb"RFB 00"),
    ("imap", rb"\* (?:OK|PREAUTH|BYE)"),
    ("pop3", rb"\+OK"),
    ("mysql", rb"...\0\x0a[\x21-\x7e]{1,39}\0"),
    ("http", rb"HTTP/1\.[01] "),
]
PORTS = {21: "ftp", 25: "smtp", 465: "smtp", 587: "smtp", 2525: "smtp"}


def of_socks5(client: bytes) -> bool:
    """A greeting, and a request or a login behind it if anything."""
    if len(client) < 3 or client[0] != 5 or not 1 <= client[1] <= 16:
        return False
    methods, rest = client[2 : 2 + client[1]], client[2 + client[1] :]
    sound = len({*methods}) == len(methods) and not re.search(rb"[\x0a-\x7f]", methods)
    return sound and (rest[0] in (1, 5) if rest else len(methods) == client[1])


def of_mtproto(client: bytes) -> bool:
    plain = client[:4] in MTPROTO or re.match(rb"\xef[\0-\x7e]\0{8}", client)
    length = int.from_bytes(client[:4], "little")
    full = len(client) >= 16 and client[4:16] == bytes(12) and 24 <= length <= 1024 and length % 4 == 0
    return bool(plain or full) and not re.fullmatch(rb"[\t\r\n\x20-\x7e]*", client[:8])


def of_220(client: bytes, server: bytes, port: int | None) -> str | None:
    """FTP and mail greet alike."""
    if not re.match(rb"220[ -]", server):
        return None
    line = server[:LINE].split(b"\n")[0].upper()
    if re.match(rb"USER |AUTH |FEAT[\r\n]|OPTS |SYST[\r\n]", client[:8].upper()) or b"FTP" in line:
        return "ftp"
    return "smtp" if b"SMTP" in line or b"MAIL" in line else PORTS.get(port or 0)


def names(client: bytes, server: bytes, port: int | None) -> Iterator[str]:
    """What it may be, the likeliest first."""
    if b"SSH-" in (client[:4], server[:4]) and client[:1] in (b"S", b""):
        yield "ssh"
    for name, pattern in CLIENT:
        if re.match(pattern, client[: LINE if name in ("http", "irc") else None], re.DOTALL):
            yield name
    if of_socks5(client):
        yield "socks5"
    size = int.from_bytes(client[:2], "big")
    if port == 53 and len(client) >= 14 and size >= 12 and client[4] < 0x80:
        yield "dns"
    if client and of_mtproto(client):
        yield "mtproto"
    if server[:4] == b"SSH-":
        yield "ssh"
    found = of_220(client, server, port)
    if found is not None:
        yield found
    for name, pattern in SERVER:
        if re.match(pattern, server[:45] if name == "mysql" else server, re.DOTALL):
            yield name
    yield "unknown"


MADE = [each for name, each in {**SAMPLES, **CUT_SHORT}.items() if "PROXY" not in name and "obfuscated" not in name]


def changed(draw: Random, octets: bytes) -> bytes:
    """One octet is another one, or there are fewer."""
    if not octets:
        return draw.choice([octets, octets, MYSQL, b"220 x\r\n"])
    at = draw.randrange(min(len(octets), 20)) if draw.randint(0, 3) else draw.randrange(len(octets))
    value = draw.choice([octets[at] ^ 1, octets[at] + 1 & 255, octets[at] - 1 & 255, octets[at] ^ 0x20, 0, 255])
    other = octets[:at] + bytes([value]) + octets[at + 1 :]
    return draw.choice([octets, other, other, octets[:at], octets + b"x", octets[: at + 1] + octets[at:]])


@pytest.mark.parametrize("seed", range(20))
def test_names_are_those_of_patterns(seed: int) -> None:
    draw = Random(seed)
    for sample in MADE * 2:
        client, server = changed(draw, sample.client), changed(draw, sample.server)
        if client.startswith((b"PROXY ", b"\r\n\r\n\0")) or not (client or server):
            continue
        port = draw.choice([sample.port, sample.port, *PORTS, 53, 80])
        found = identify(client, server, port, True)
        assert found is not None
        assert found.protocol == next(names(client, server, port)), (client, server, port)
