"""A conversation as one line of JSON, fast.

The text is exactly `json.dumps(conversation.as_dict(), separators=(",", ":"))`, which a property test holds. It is
written by hand because building the dictionary and walking it again takes three times as long, and a capture can
hold a conversation every ten packets. All but ASCII is escaped, so nothing in a line can reach a terminal as a
control sequence or a bidi mark.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quote
from time import gmtime, strftime
from typing import Any

from socks5sniff.record import (
    AnomalyEntry,
    Conversation,
    FrameEntry,
    ProxyHeader,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
    UdpTraffic,
)

_dumps = json.JSONEncoder(separators=(",", ":")).encode

SECOND = 1_000_000_000
_NANOSECONDS = "%09d"
"""Applied with `%`, which takes half the time of a format specifier."""
_REMEMBERED = 1024
"""Entries kept in the tables below. The usual ones are some fifty, but the wire can invent more."""


class _Words(dict[str | None, str]):
    """The JSON of words from small vocabularies (`socks5`, `client`, reply names), and of None."""

    def __missing__(self, word: str | None) -> str:
        text = "null" if word is None else quote(word)
        if len(self) < _REMEMBERED:
            self[word] = text
        return text


class _Seconds(dict[int, str]):
    """ISO 8601 text of whole seconds since 1970, with the decimal point."""

    def __missing__(self, second: int) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = self[second] = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second))
        return text


words = _Words()
seconds = _Seconds()
_INTERIM = ',"interim":true'
truth = {None: "null", True: "true", False: "false"}


def record_line(c: Conversation) -> str:
    """One conversation as a JSON object on one line, without the newline."""
    start = c.start_ns
    end = c.end_ns
    client, client_port = c.client
    proxy, proxy_port = c.proxy
    username = c.username
    password = c.password
    return (
        f'{{"id":{c.id},"parent":{"null" if c.parent is None else c.parent},"capture":{words[c.capture]}'
        f',"protocol":{words[c.protocol]},"client":{{"address":{quote(client)},"port":{client_port}}}'
        f',"proxy":{{"address":{quote(proxy)},"port":{proxy_port}}},"reversed":{truth[c.reversed]}'
        f',"start":"{seconds[start // SECOND]}{_NANOSECONDS % (start % SECOND)}Z"'
        f',"end":"{seconds[end // SECOND]}{_NANOSECONDS % (end % SECOND)}Z"'
        f',"duration":{(end - start) / 1e9!r},"phase":{words[c.phase]},"outcome":{words[c.outcome]}'
        f',"methods":{text_list(c.methods)},"method":{words[c.method]}'
        f',"username":{"null" if username is None else quote(username)}'
        f',"password":{"null" if password is None else quote(password)}'
        f',"authenticated":{truth[c.authenticated]},"command":{words[c.command]}'
        f',"destination":{_target(c.destination)},"reply":{text_reply(c.reply)},"bound":{_target(c.bound)}'
        f',"peer_reply":{text_reply(c.peer_reply)},"peer":{_target(c.peer)},"tunnel":{text_tunnel(c.tunnel)}'
        f',"bytes":{_traffic(c.bytes)},"udp":{"null" if c.udp is None else _udp(c.udp)}'
        f',"timing":{_timing(c.timing)},"close":{words[c.close]},"closed_by":{words[c.closed_by]}'
        f',"packets":{c.packets},"tcp_stream":{c.tcp_stream},"community_id":{quote(c.community_id)}'
        f',"name_resolution":{words[c.name_resolution]},"first_frame":{c.first_frame},"last_frame":{c.last_frame}'
        f',"frames":[{_frames(c.frames, start // SECOND)}],"anomalies":[{_anomalies(c.anomalies)}]'
        f',"upstream":{"null" if c.upstream is None else _dumps(c.upstream)}'
        f',"proxy_header":{"null" if c.proxy_header is None else _header(c.proxy_header)}'
        f',"network":{"null" if c.network is None else quote(c.network)}'
        f',"process":{text_process(c.process)}{_INTERIM if c.interim else ""}}}'
    )


def text_list(values: list[str] | None) -> str:
    if values is None:
        return "null"
    return f"[{','.join([quote(value) for value in values])}]"


def _target(target: Target | None) -> str:
    if target is None:
        return "null"
    kind, host, port = target
    return f'{{"type":{words[kind]},"host":{quote(host)},"port":{port}}}'


def text_reply(reply: ReplyCode | None) -> str:
    if reply is None:
        return "null"
    code, name = reply
    return f'{{"code":{code},"name":{words[name]}}}'


def text_tunnel(tunnel: Tunnel | None) -> str:
    if tunnel is None:
        return "null"
    protocol, name, alpn, detail = tunnel
    return (
        f'{{"protocol":{words[protocol]},"server_name":{"null" if name is None else quote(name)}'
        f',"alpn":{text_list(alpn)},"detail":{"null" if detail is None else quote(detail)}}}'
    )


def text_process(process: dict[str, Any] | None) -> str:
    return "null" if process is None else _dumps(process)


def _traffic(traffic: Traffic | None) -> str:
    if traffic is None:
        return "null"
    sent, received = traffic
    return f'{{"sent":{sent},"received":{received}}}'


def _udp(udp: UdpTraffic) -> str:
    plain = udp._asdict()
    plain["destinations"] = [destination.as_dict() for destination in udp.destinations]
    return _dumps(plain)


def _header(header: ProxyHeader) -> str:
    plain = header._asdict()
    for end in ("source", "destination"):
        plain[end] = plain[end] and plain[end]._asdict()
    return _dumps(plain)


def _timing(timing: Timing) -> str:
    handshake, negotiation, authentication, request, first_byte, upstream = timing
    return (
        f'{{"tcp_handshake":{"null" if handshake is None else repr(handshake)}'
        f',"negotiation":{"null" if negotiation is None else repr(negotiation)}'
        f',"authentication":{"null" if authentication is None else repr(authentication)}'
        f',"request":{"null" if request is None else repr(request)}'
        f',"first_byte":{"null" if first_byte is None else repr(first_byte)}'
        f',"upstream_handshake":{"null" if upstream is None else repr(upstream)}}}'
    )


def _frames(frames: list[FrameEntry], second: int) -> str:
    """`second` is that of the connection's start; most frames lie in it."""
    prefix = seconds[second]
    base = second * SECOND
    texts = []
    for frame, time, sender, kind, length, summary in frames:
        fraction = time - base
        if not 0 <= fraction < SECOND:
            second, fraction = divmod(time, SECOND)
            prefix = seconds[second]
            base = time - fraction
        texts.append(
            f'{{"frame":{frame},"time":"{prefix}{_NANOSECONDS % fraction}Z","sender":{words[sender]}'
            f',"type":{words[kind]},"length":{length},"summary":{quote(summary)}}}'
        )
    return ",".join(texts)


def _anomalies(anomalies: list[AnomalyEntry]) -> str:
    return ",".join(
        [
            f'{{"code":{words[code]},"severity":{words[severity]},"frame":{frame},"message":{quote(message)}}}'
            for code, severity, frame, message in anomalies
        ]
    )
