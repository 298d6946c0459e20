"""A conversation as one line of JSON: the way through a shape's template where it has a regular handshake."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quote

from socks5sniff.record import Conversation
from socks5sniff.regular import RegularConversation, Shape

from .record_line import SECOND, record_line, seconds, text_list, text_reply, text_tunnel, truth, words

_TEMPLATES = 256
"""Templates kept; a capture has a few."""

_templates: dict[Shape, str] = {}


def line(conversation: Conversation) -> str:
    """The record as JSON, without a line end: that of `record_line`."""
    if type(conversation) is RegularConversation:
        return _line(conversation)
    return record_line(conversation)


def _line(c: RegularConversation) -> str:
    regular, flow = c.source
    shape, destination, bound, username, password, tunnel = (
        regular.shape, regular.destination, regular.bound, regular.username, regular.password, regular.tunnel,
    )  # fmt: skip
    frames, times, lengths = regular.frames, regular.times, regular.lengths
    (
        stream, capture, start, end, first_frame, last_frame, packets, opener, opener_port, responder, responder_port,
        _, tcp_handshake, close, closer, community_id, passed0, passed1, first_byte,
    ) = flow  # fmt: skip
    template = _templates.get(shape)
    if template is None:
        if len(_templates) >= _TEMPLATES:
            _templates.clear()
        template = _templates[shape] = _template(shape)
    second = start // SECOND
    base = second * SECOND
    prefix = seconds[second]
    sent, received = passed0, passed1
    values: list[int | str] = []
    for frame, time, length, tail in zip(frames, times, lengths, regular.ends, strict=True):
        sent, received = received, sent - length  # the client's have even places
        fraction = time - base
        if 0 <= fraction < SECOND:
            values += (frame, prefix, fraction, length, quote(tail)[1:-1])
        else:
            values += (frame, seconds[time // SECOND], time % SECOND, length, quote(tail)[1:-1])
    replied = times[-1]
    authenticated = len(times) == 6
    name = destination.type
    return template % (
        c.id,
        words[capture],
        opener,
        opener_port,
        responder,
        responder_port,
        prefix,
        start - base,
        seconds[end // SECOND],
        end % SECOND,
        (end - start) / 1e9,
        "null" if username is None else quote(username),
        "null" if password is None else quote(password),
        name,
        quote(destination.host),
        destination.port,
        bound.type,
        quote(bound.host),
        bound.port,
        text_tunnel(tunnel),
        sent if sent > 0 else 0,
        received if received > 0 else 0,
        "null" if tcp_handshake is None else repr(tcp_handshake),
        (times[1] - times[0]) / 1e9,
        repr((times[3] - times[2]) / 1e9) if authenticated else "null",
        (replied - times[-2]) / 1e9,
        "null" if first_byte is None else repr((first_byte - replied) / 1e9),
        close,
        "null" if closer is None else '"proxy"' if closer else '"client"',
        packets,
        stream,
        community_id,
        "remote" if name == "domain" else "address",
        first_frame,
        last_frame,
        *values,
        *[frames[place] for _, _, place, _ in shape.anomalies],
    )


def _template(shape: Shape) -> str:
    """What all conversations of a shape have in common, to be filled with `%`."""

    def constant(text: str) -> str:
        return text.replace("%", "%%")

    frames = ",".join(
        f'{{"frame":%d,"time":"%s%09dZ","sender":{constant(words[sender])},"type":{constant(words[kind])}'
        f',"length":%d,"summary":{constant(quote(begun)[:-1])}%s"}}'
        for sender, kind, begun in shape.frames
    )
    anomalies = ",".join(
        f'{{"code":{constant(words[code])},"severity":{constant(words[severity])},"frame":%d'
        f',"message":{constant(quote(message))}}}'
        for code, severity, _, message in shape.anomalies
    )
    return (
        f'{{"id":%d,"parent":null,"capture":%s,"protocol":{constant(words[shape.protocol])}'
        ',"client":{"address":"%s","port":%d},"proxy":{"address":"%s","port":%d},"reversed":false'
        ',"start":"%s%09dZ","end":"%s%09dZ","duration":%r'
        f',"phase":{constant(words[shape.phase])},"outcome":{constant(words[shape.outcome])}'
        f',"methods":{constant(text_list(shape.methods))},"method":{constant(words[shape.method])}'
        f',"username":%s,"password":%s,"authenticated":{truth[shape.authenticated]}'
        f',"command":{constant(words[shape.command])},"destination":{{"type":"%s","host":%s,"port":%d}}'
        f',"reply":{constant(text_reply(shape.reply))},"bound":{{"type":"%s","host":%s,"port":%d}}'
        ',"peer_reply":null,"peer":null,"tunnel":%s,"bytes":{"sent":%d,"received":%d},"udp":null'
        ',"timing":{"tcp_handshake":%s,"negotiation":%r,"authentication":%s,"request":%r,"first_byte":%s}'
        ',"close":"%s","closed_by":%s,"packets":%d,"tcp_stream":%d,"community_id":"%s","name_resolution":"%s"'
        f',"first_frame":%d,"last_frame":%d,"frames":[{frames}],"anomalies":[{anomalies}]'
        ',"upstream":null,"process":null}'
    )
