"""Name the protocol inside a tunnel from the first octets of its two directions.

One rule a protocol; which rules a direction's first octet can meet is in two tables at the end. Lengths in the octets
are never trusted beyond the octets there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from socks5sniff.codec import decode_text
from socks5sniff.record import Tunnel

from . import header, mtproto, tls
from .dns import question
from .heads import HEAD_LIMIT, LINE_LIMIT, WAIT, Answer, Finding, Head, Rule, Talk, Wait

_HTTP_METHODS = (
    b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PROPFIND ",
)  # fmt: skip
_HTTP2 = b"PRI * HTTP/2.0\r\n"
_HOST = re.compile(rb"^host:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_SMTP_COMMANDS = (b"EHLO ", b"HELO ", b"LHLO ")
_FTP_COMMANDS = (b"USER ", b"AUTH ", b"FEAT\r", b"FEAT\n", b"OPTS ", b"SYST\r", b"SYST\n")
_PORTS_OF_220 = {21: "ftp", 25: "smtp", 465: "smtp", 587: "smtp", 2525: "smtp"}
_USERID_LIMIT = 255
"""Octets of a SOCKS4 USERID that are waited for."""
_XMPP_LIMIT = 1024
"""Octets in which a stream header must have named its name space."""


def identify(
    client: bytes,
    server: bytes,
    port: int | None,
    complete: bool,
    *,
    client_ended: bool = False,
    server_ended: bool = False,
) -> Tunnel | None:
    """What the tunnel carries.

    The same window gives the same answer, whatever parts of it were asked about before: an answer is given only when
    nothing that may still come could change it.

    Args:
        client: first octets from the SOCKS client, HEAD_LIMIT of them at most.
        server: first octets from the destination, HEAD_LIMIT of them at most.
        port: the destination's port: decides only between protocols that the octets both allow.
        complete: no more octets will come from either side: answer with what there is.
        client_ended, server_ended: no more will come from that side (its FIN, or a gap behind what there is). A side
            with HEAD_LIMIT octets has ended without that.

    Returns:
        The finding, or None while more octets would tell; when `complete` that is only without any octet.
    """
    if not client and not server:
        return None
    talk = Talk(
        Head(client[:HEAD_LIMIT], complete or client_ended or len(client) >= HEAD_LIMIT),
        Head(server[:HEAD_LIMIT], complete or server_ended or len(server) >= HEAD_LIMIT),
        port,
    )
    finding = _identify(talk)
    return finding if isinstance(finding, Tunnel) else None


def _identify(talk: Talk) -> Finding:
    """The first rule of the client's octets that fits, else of the server's; `unknown` when none is left."""
    for head, table in ((talk.client, _CLIENT_RULES), (talk.server, _SERVER_RULES)):
        if not head.octets:
            if not head.whole:
                return WAIT
            continue
        for rule in table[head.octets[0]]:
            finding = rule(talk)
            if finding is not None:
                return finding
    return Tunnel("unknown")


def _behind_header(talk: Talk) -> Finding:
    """A PROXY protocol header, and what comes after it."""
    stated = header.read(talk.client)
    if stated is None or stated is WAIT:
        return stated
    rest = talk.client.octets[stated.length :]
    if not rest:
        return Tunnel("proxy-protocol", detail=stated.text) if talk.client.whole else WAIT
    inner = _identify(talk._replace(client=Head(rest, talk.client.whole)))
    if not isinstance(inner, Tunnel):
        return inner
    return inner._replace(detail=f"{stated.text}; {inner.detail}" if inner.detail else stated.text)


def _http(talk: Talk) -> Finding:
    """HTTP/1: Host, the request line, and the status line of the answer."""
    octets, whole = talk.client
    opens = talk.client.begins(*_HTTP_METHODS)
    if opens is not True:
        return None if opens is False else WAIT
    line = talk.client.line()
    if line is WAIT:
        return WAIT
    if " HTTP/" not in line and b"\n" in octets[:LINE_LIMIT]:
        return None
    head, end, _ = octets.partition(b"\r\n\r\n")
    host = _HOST.search(head + b"\r\n" if end else head.rpartition(b"\n")[0])
    if host is None and not end and not whole:
        return WAIT
    status = _status(talk.server)
    if status is WAIT:
        return WAIT
    return Tunnel("http", decode_text(host[1]) if host else None, None, f"{line}: {status}" if status else line)


def _status(server: Head) -> str | Wait | None:
    """Status code and reason of an HTTP/1 answer, None where the answer is none."""
    opens = server.begins(b"HTTP/1.0 ", b"HTTP/1.1 ")
    if opens is not True:
        return None if opens is False else WAIT
    line = server.line()
    return WAIT if line is WAIT else line[9:].rstrip()


def _http_answer(talk: Talk) -> Finding:
    opens = talk.server.begins(b"HTTP/1.0 ", b"HTTP/1.1 ")
    if opens is not True:
        return None if opens is False else WAIT
    line = talk.server.line()
    return WAIT if line is WAIT else Tunnel("http", detail=line)


def _http2(talk: Talk) -> Finding:
    opens = talk.client.begins(_HTTP2)
    return Tunnel("http", detail="HTTP/2") if opens is True else None if opens is False else WAIT


def _ssh(talk: Talk) -> Finding:
    """The identification strings of both sides (RFC 4253 s4.2); a server may send other lines before its own."""
    opens = [head.begins(b"SSH-") for head in (talk.client, talk.server)]
    if True not in opens:
        return WAIT if WAIT in opens else None
    banners = []
    for head in (talk.client, _from_banner(talk.server)):
        line = head.line() if head.begins(b"SSH-") else ""
        if line is WAIT:
            return WAIT
        banners.append(line)
    return Tunnel("ssh", detail=", server ".join(filter(None, banners)))


def _from_banner(server: Head) -> Head:
    """The server's octets from its identification string on."""
    if server.begins(b"SSH-"):
        return server
    at = server.octets.find(b"\nSSH-")
    if at >= 0:
        return Head(server.octets[at + 1 :], server.whole)
    return Head(b"", server.whole)


def _socks5(talk: Talk) -> Finding:
    """A greeting with methods that exist, and what may come after it: a request, or a sub-negotiation."""
    octets, whole = talk.client
    if len(octets) < 2:
        return None if whole else WAIT
    count = octets[1]
    methods = octets[2 : 2 + count]
    if not 0 < count <= 16 or len(set(methods)) < len(methods) or any(10 <= m < 0x80 for m in methods):
        return None
    rest = octets[2 + count :]
    if not rest:
        return WAIT if not whole else Tunnel("socks5") if len(methods) == count else None
    return Tunnel("socks5") if rest[0] in (1, 5) else None


def _socks4(talk: Talk) -> Finding:
    octets, whole = talk.client
    if octets[1:2] not in (b"", b"\1", b"\2", b"\xf0"):
        return None
    userid = octets[8 : 8 + _USERID_LIMIT + 1]
    if b"\0" in userid:
        return Tunnel("socks4")
    return None if whole or len(userid) > _USERID_LIMIT else WAIT


def _bittorrent(talk: Talk) -> Finding:
    opens = talk.client.begins(b"\x13BitTorrent protocol")
    return Tunnel("bittorrent") if opens is True else None if opens is False else WAIT


def _rdp(talk: Talk) -> Finding:
    """A TPKT with a connection request (MS-RDPBCGR s2.2.1.1); its cookie is shown."""
    octets, whole = talk.client
    if len(octets) < 6:
        return WAIT if not whole and b"\x03\x00".startswith(octets[:2]) else None
    if octets[:2] != b"\x03\x00" or octets[5] != 0xE0:
        return None
    end = octets[2] << 8 | octets[3]
    if not talk.client.has(end):
        return WAIT
    cookie = re.match(rb"Cookie: [^\r\n]{1,100}", octets[11:end])
    return Tunnel("rdp", detail=decode_text(cookie[0]) if cookie else None)


def _smb(talk: Talk) -> Finding:
    return _mark_at(talk.client, b"\0\0", 4, {b"\xffSMB": "smb", b"\xfeSMB": "smb"})


def _postgresql(talk: Talk) -> Finding:
    """A start-up message of version 3, or a request for TLS or GSSAPI before it."""
    marks = (b"\0\x03\0\0", b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
    return _mark_at(talk.client, b"\0", 4, dict.fromkeys(marks, "postgresql"))


def _mark_at(head: Head, start: bytes, at: int, names: dict[bytes, str]) -> Finding:
    """A protocol that begins with `start` and has one of the marks (of equal length) at an offset."""
    octets, whole = head
    if not octets.startswith(start[: len(octets)]):
        return None
    size = len(next(iter(names)))
    mark = octets[at : at + size]
    if len(mark) == size:
        name = names.get(mark)
        return None if name is None else Tunnel(name)
    return WAIT if not whole and any(known.startswith(mark) for known in names) else None


def _mqtt(talk: Talk) -> Finding:
    """CONNECT: a length of one to four octets, then the protocol's name."""
    octets, whole = talk.client
    at = 1
    while at < len(octets) and octets[at] & 0x80:
        at += 1
    if at > 4:
        return None
    name = octets[at + 1 : at + 9]
    for mark in (b"\0\4MQTT", b"\0\6MQIsdp"):
        if name.startswith(mark):
            return Tunnel("mqtt")
        if not whole and mark.startswith(name):
            return WAIT
    return None


_REDIS = re.compile(rb"\*\d{1,6}\r\n\$\d{1,9}\r\n")


def _redis(talk: Talk) -> Finding:
    octets, whole = talk.client
    if _REDIS.match(octets):
        return Tunnel("redis")
    begins = re.fullmatch(rb"\*(?:\d{0,6}|\d{1,6}\r(?:\n(?:\$(?:\d{0,9}|\d{1,9}\r)?)?)?)", octets)
    return WAIT if begins and not whole else None


def _xmpp(talk: Talk) -> Finding:
    opens = talk.client.begins(b"<?xml", b"<stream:stream")
    if opens is not True:
        return None if opens is False else WAIT
    if b"jabber" in talk.client.octets[:_XMPP_LIMIT]:
        return Tunnel("xmpp")
    return None if talk.client.has(_XMPP_LIMIT) else WAIT


def _irc(talk: Talk) -> Finding:
    """`CAP LS`, `NICK name` or `PASS word`, of which the last is no one's business."""
    opens = talk.client.begins(b"CAP LS", b"NICK ", b"PASS ")
    if opens is not True:
        return None if opens is False else WAIT
    line = talk.client.line()
    if line is WAIT:
        return WAIT
    words = line.split()
    if words[:2] == ["CAP", "LS"]:
        return Tunnel("irc", detail=line)
    if len(words) != 2 or b"\n" not in talk.client.octets[:LINE_LIMIT]:
        return None
    return Tunnel("irc", detail=line if words[0] == "NICK" else None)


def _smtp_client(talk: Talk) -> Finding:
    """The client's first command; the server's greeting is the better detail."""
    opens = _first_word(talk.client, _SMTP_COMMANDS)
    if opens is not True:
        return None if opens is False else WAIT
    greeted = talk.server.begins(b"220 ", b"220-")
    if greeted is WAIT:
        return WAIT
    line = (talk.server if greeted else talk.client).line()
    return WAIT if line is WAIT else Tunnel("smtp", detail=line)


def _first_word(head: Head, words: tuple[bytes, ...]) -> Answer:
    """Whether the direction begins with one of `words`, in any case."""
    return Head(head.octets[:8].upper(), head.has(8)).begins(*words)


def _dns(talk: Talk) -> Finding:
    """DNS over TCP (RFC 1035 s4.2.2): a length, then a query; only to port 53, as two octets may be any length."""
    octets, whole = talk.client
    if talk.port != 53:
        return None
    if len(octets) < 14:
        return None if whole else WAIT
    size = octets[0] << 8 | octets[1]
    if size < 12 or octets[4] & 0x80:
        return None
    if not talk.client.has(2 + size):
        return WAIT
    asked = question(octets[2 : 2 + size])
    return Tunnel("dns", detail=None if asked is None else str(asked))


def _greeting_220(talk: Talk) -> Finding:
    """FTP and mail greet alike: the client's first command tells, else the greeting's words, else the port."""
    opens = talk.server.begins(b"220 ", b"220-")
    if opens is not True:
        return None if opens is False else WAIT
    line = talk.server.line()
    if line is WAIT:
        return WAIT
    speaks_ftp = _first_word(talk.client, _FTP_COMMANDS)
    if speaks_ftp is WAIT:
        return WAIT
    upper = line.upper()
    if speaks_ftp or "FTP" in upper:
        return Tunnel("ftp", detail=line)
    if "SMTP" in upper or "MAIL" in upper:
        return Tunnel("smtp", detail=line)
    name = _PORTS_OF_220.get(talk.port or 0)
    return None if name is None else Tunnel(name, detail=line)


def _banner(name: str, *marks: bytes) -> Rule:
    """A protocol whose server begins with a line that begins so."""

    def rule(talk: Talk) -> Finding:
        opens = talk.server.begins(*marks)
        if opens is not True:
            return None if opens is False else WAIT
        line = talk.server.line()
        return WAIT if line is WAIT else Tunnel(name, detail=line)

    return rule


def _mysql(talk: Talk) -> Finding:
    """The first packet of a server: length, sequence number 0, protocol 10, the version ended by NUL."""
    octets, whole = talk.server
    if len(octets) < 5:
        return WAIT if not whole and b"\0\x0a".startswith(octets[3:5]) else None
    version, end, _ = octets[5:45].partition(b"\0")
    if octets[3:5] != b"\0\x0a" or not all(0x20 < octet < 0x7F for octet in version):
        return None
    if end:
        return Tunnel("mysql", detail=decode_text(version)) if version else None
    return None if talk.server.has(45) else WAIT


def _by_octet(*rules: tuple[bytes | Iterable[int], Rule]) -> tuple[tuple[Rule, ...], ...]:
    """For each first octet the rules that it can meet; `rules` are the octets that matter to a rule, and it."""
    sets = [(frozenset(octets), rule) for octets, rule in rules]
    return tuple(tuple(rule for octets, rule in sets if octet in octets) for octet in range(256))


_CLIENT_RULES = _by_octet(
    (b"P\r", _behind_header),
    (b"\x16", tls.rule),
    (b"P", _http2),
    (b"GPHDOCT", _http),
    (b"S", _ssh),
    (b"\5", _socks5),
    (b"\4", _socks4),
    (b"\x13", _bittorrent),
    (b"\3", _rdp),
    (b"\0", _smb),
    (b"\0", _postgresql),
    (b"\x10", _mqtt),
    (b"*", _redis),
    (b"<", _xmpp),
    (b"CNP", _irc),
    (b"EHLehl", _smtp_client),
    (range(256), _dns),
    (range(256), mtproto.rule),
)
_SERVER_RULES = _by_octet(
    (b"S", _ssh),
    (b"R", _banner("vnc", b"RFB 00")),
    (b"*", _banner("imap", b"* OK", b"* PREAUTH", b"* BYE")),
    (b"+", _banner("pop3", b"+OK")),
    (b"2", _greeting_220),
    (range(256), _mysql),
    (b"H", _http_answer),
)
