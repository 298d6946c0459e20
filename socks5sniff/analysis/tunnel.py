"""Name the protocol inside a tunnel from the first octets of its two directions.

Each rule looks at one direction's first octets and gives a `Tunnel`, WAIT (these octets begin that protocol, more of
them would tell more) or None (it is something else). Lengths in the octets are never trusted beyond the octets there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from socks5sniff.codec import decode_text
from socks5sniff.record import Tunnel

HEAD_LIMIT = 4096
"""Octets of each direction that are looked at: a ClientHello with post-quantum keys is about 1,800 long."""
_DETAIL_LIMIT = 200
"""Characters of a line shown as detail."""


class _Wait(Enum):
    WAIT = "more octets would tell"


WAIT = _Wait.WAIT
_Finding = Tunnel | _Wait | None
_Rules = tuple[Callable[[bytes], _Finding], ...]

_HTTP_METHODS = (
    b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PROPFIND ",
)  # fmt: skip
_HOST = re.compile(rb"^host:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_TELLING = frozenset({0, 16, 43})
"""Extensions of a ClientHello that are looked at: server_name, ALPN, supported_versions."""
_TLS_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}


def identify(client: bytes, server: bytes, port: int | None, complete: bool) -> Tunnel | None:
    """What the tunnel carries.

    Args:
        client: first octets from the SOCKS client, at most HEAD_LIMIT.
        server: first octets from the destination, at most HEAD_LIMIT.
        port: the destination's port: decides only between protocols that the octets both allow.
        complete: no more octets will come, or HEAD_LIMIT is reached: answer with what there is.

    Returns:
        The finding, or None while more octets would tell (never None when `complete` and any octet is there).
    """
    finding: _Finding = None
    if client:
        finding = _first(client, _CLIENT_RULES[client[0]])
    if finding is None and server:
        finding = _greeted(server, client, port)
    if finding is None and client:
        finding = _by_port(client, port)
    if isinstance(finding, Tunnel):
        return finding
    if complete and (client or server):
        return _cut_short(client, server)
    if finding is WAIT or not client:
        # Where only the server has spoken, the client's first octets are still to come.
        return None
    return Tunnel("unknown")


def _first(octets: bytes, rules: _Rules) -> _Finding:
    for rule in rules:
        finding = rule(octets)
        if finding is not None:
            return finding
    return None


def _line(octets: bytes) -> str:
    return decode_text(octets.split(b"\n", 1)[0].rstrip(b"\r"))[:_DETAIL_LIMIT]


def _begins(octets: bytes, mark: bytes) -> bool:
    """Whether `octets` begin with `mark`, or are themselves the beginning of it."""
    return octets.startswith(mark) if len(octets) >= len(mark) else mark.startswith(octets)


def _line_protocol(mark: bytes, name: str) -> Callable[[bytes], _Finding]:
    def rule(octets: bytes) -> _Finding:
        if not _begins(octets, mark):
            return None
        if len(octets) < len(mark) or (b"\n" not in octets and len(octets) < _DETAIL_LIMIT):
            return WAIT
        return Tunnel(name, detail=_line(octets))

    return rule


def _http(octets: bytes) -> _Finding:
    if octets[:1] == b"P" and _begins(octets, b"PRI * HTTP/2.0\r\n"):
        return Tunnel("http", detail="HTTP/2") if len(octets) >= 16 else WAIT
    if not octets.startswith(_HTTP_METHODS):
        longest = max(map(len, _HTTP_METHODS))
        return WAIT if len(octets) < longest and any(_begins(octets, method) for method in _HTTP_METHODS) else None
    head, end, _ = octets.partition(b"\r\n\r\n")
    host = _HOST.search(head + b"\r\n" if end else head.rpartition(b"\n")[0])
    if host is None and not end:
        return WAIT
    line = _line(head)
    if " HTTP/" not in line and len(line) < _DETAIL_LIMIT:
        return None
    return Tunnel("http", server_name=decode_text(host[1]) if host else None, detail=line)


def _tls(octets: bytes) -> _Finding:
    if octets[0] != 0x16:
        return None
    if len(octets) < 6:
        return WAIT if octets[1:2] in (b"", b"\x03") else None
    if octets[1] != 3 or octets[2] > 4 or octets[5] != 1:
        return None
    length = octets[3] << 8 | octets[4]
    hello = octets[5 : 5 + length]
    at = 5 + length
    while at + 5 <= len(octets) and octets[at] == 0x16 and len(hello) < HEAD_LIMIT:
        length = octets[at + 3] << 8 | octets[at + 4]
        hello += octets[at + 5 : at + 5 + length]
        at += 5 + length
    if len(hello) < 4 or len(hello) < 4 + int.from_bytes(hello[1:4], "big"):
        return WAIT
    return _client_hello(hello)


def _client_hello(hello: bytes) -> Tunnel:
    """Server name (RFC 6066 s3), ALPN (RFC 7301) and highest version (RFC 8446 s4.2.1) of a ClientHello."""
    version = int.from_bytes(hello[4:6], "big")
    name = None
    alpn = None
    at = 38
    at += 1 + (hello[at] if at < len(hello) else 0)
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + (hello[at] if at < len(hello) else 0)
    end = min(len(hello), at + 2 + int.from_bytes(hello[at : at + 2], "big"))
    at += 2
    while at + 4 <= end:
        kind = hello[at] << 8 | hello[at + 1]
        begin = at + 4
        at = begin + (hello[at + 2] << 8 | hello[at + 3])
        if kind not in _TELLING:
            continue
        body = hello[begin : min(end, at)]
        if kind == 0 and len(body) >= 5 and body[2] == 0:
            name = decode_text(body[5 : 5 + (body[3] << 8 | body[4])])
        elif kind == 16:
            alpn = []
            place = 2
            while place < len(body):
                alpn.append(decode_text(body[place + 1 : place + 1 + body[place]]))
                place += 1 + body[place]
        elif kind == 43 and body:
            offered = [int.from_bytes(body[i : i + 2], "big") for i in range(1, len(body) - 1, 2)]
            version = max([known for known in offered if known in _TLS_VERSIONS], default=version)
    return Tunnel("tls", server_name=name, alpn=alpn, detail=_TLS_VERSIONS.get(version))


def _socks(octets: bytes) -> _Finding:
    if octets[0] == 5:
        if len(octets) < 2 or len(octets) < 2 + octets[1]:
            return WAIT if len(octets) < 2 or 0 < octets[1] <= 16 else None
        methods = octets[2 : 2 + octets[1]]
        rest = octets[2 + octets[1] :]
        sane = methods and len(set(methods)) == len(methods) and all(m < 10 or m >= 0x80 for m in methods)
        return Tunnel("socks5") if sane and (not rest or rest[0] in (1, 5)) else None
    if octets[0] == 4 and len(octets) >= 2 and octets[1] in (1, 2, 0xF0):
        if len(octets) < 9:
            return WAIT
        return Tunnel("socks4") if b"\0" in octets[8:] else None
    return None


def _marks(octets: bytes) -> _Finding:
    """Protocols known by a few fixed octets."""
    if octets.startswith(b"\x13BitTorrent protocol"):
        return Tunnel("bittorrent")
    if octets[:2] == b"\x03\x00" and octets[5:6] == b"\xe0":
        return Tunnel("rdp")
    if octets[:2] == b"\x00\x00" and octets[4:8] in (b"\xffSMB", b"\xfeSMB"):
        return Tunnel("smb")
    if octets[:1] == b"\x10" and octets[2:8] in (b"\x00\x04MQTT", b"\x00\x06MQIs"):
        return Tunnel("mqtt")
    if octets[:1] == b"\0" and octets[4:8] in (b"\x04\xd2\x16\x2f", b"\x00\x03\x00\x00"):
        return Tunnel("postgresql")
    if octets[:1] == b"*" and re.match(rb"\*\d{1,6}\r\n\$\d{1,9}\r\n", octets):
        return Tunnel("redis")
    if octets.startswith((b"<?xml", b"<stream:stream")) and b"jabber" in octets:
        return Tunnel("xmpp")
    if octets.startswith(b"CAP LS") or re.match(rb"(?:NICK|PASS) \S+\r?\n", octets):
        return Tunnel("irc", detail=_line(octets))
    if re.match(rb"(?:EHLO|HELO|LHLO) ", octets, re.IGNORECASE):
        return Tunnel("smtp", detail=_line(octets))
    return None


def _by_octet(*rules: tuple[bytes, Callable[[bytes], _Finding]]) -> tuple[_Rules, ...]:
    """For each first octet the rules that it can meet; `rules` are the octets that matter to a rule, and it."""
    return tuple(tuple(rule for octets, rule in rules if octet in octets) for octet in range(256))


_CLIENT_RULES = _by_octet(
    (b"\x16", _tls),
    (b"GPHDOCT", _http),
    (b"S", _line_protocol(b"SSH-", "ssh")),
    (b"\4\5", _socks),
    (b"\x13\x03\x00\x10*<CNPEHLehl", _marks),
)
_SERVER_RULES: _Rules = (
    _line_protocol(b"SSH-", "ssh"),
    _line_protocol(b"RFB 00", "vnc"),
    _line_protocol(b"* OK", "imap"),
    _line_protocol(b"+OK", "pop3"),
)


def _greeted(server: bytes, client: bytes, port: int | None) -> _Finding:
    """Protocols in which the server speaks first."""
    finding = _first(server, _SERVER_RULES)
    if finding is not None:
        return finding
    if re.match(rb"220[ -]", server):
        if b"\n" not in server and len(server) < _DETAIL_LIMIT:
            return WAIT
        line = _line(server)
        upper = line.upper()
        if "FTP" in upper or re.match(rb"(?:USER|AUTH TLS)", client, re.IGNORECASE):
            return Tunnel("ftp", detail=line)
        if "SMTP" in upper or "MAIL" in upper:
            return Tunnel("smtp", detail=line)
        if port in (21, 25, 465, 587):
            return Tunnel("ftp" if port == 21 else "smtp", detail=line)
        return WAIT
    if server[:5].isdigit() is False and server[3:5] == b"\x00\x0a" and b"\0" in server[5:40]:
        return Tunnel("mysql", detail=decode_text(server[5:].split(b"\0", 1)[0])[:_DETAIL_LIMIT])
    if server.startswith(b"HTTP/1."):
        return Tunnel("http", detail=_line(server))
    return None


def _by_port(client: bytes, port: int | None) -> _Finding:
    """DNS over TCP (RFC 1035 s4.2.2): a length, then a query header."""
    if port == 53 and len(client) >= 14 and int.from_bytes(client[:2], "big") >= 12 and not client[4] & 0x80:
        return Tunnel("dns")
    return None


def _cut_short(client: bytes, server: bytes) -> Tunnel:
    """No more octets: name what begins right, without the details that were still to come."""
    if client[:3] in (b"\x16\x03\x00", b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03"):
        return Tunnel("tls")
    if client and any(client.startswith(method) for method in _HTTP_METHODS):
        return Tunnel("http", detail=_line(client))
    for octets in (client, server):
        if octets.startswith(b"SSH-"):
            return Tunnel("ssh", detail=_line(octets))
    if re.match(rb"220[ -]", server):
        return Tunnel("smtp" if b"SMTP" in server.upper() else "ftp" if b"FTP" in server.upper() else "unknown")
    return Tunnel("unknown")
