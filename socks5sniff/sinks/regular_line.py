"""A conversation as one line of JSON: the way through a shape's template where it has a regular handshake."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quote

from socks5sniff.record import Conversation, Target
from socks5sniff.record.regular import RegularConversation, Shape

from .record_line import SECOND, record_line, seconds, text_list, text_process, text_reply, text_tunnel, truth, words

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
    (
        stream, capture, start, end, first_frame, last_frame, packets, opener, opener_port, responder, responder_port,
        _, tcp_handshake, close, closer, community_id, sent, received, first_byte,
    ) = flow  # fmt: skip
    shape = regular.shape
    template = _templates.get(shape)
    if template is None:
        if len(_templates) >= _TEMPLATES:
            _templates.clear()
        template = _templates[shape] = _template(shape)
    frames, times = regular.frames, regular.times
    second = start // SECOND
    base = second * SECOND
    prefix = seconds[second]
    destination, asked = _target(regular.destination)
    bound, answered = _target(regular.bound)
    username = password = authentication = "null"
    ends: tuple[str, ...] = ("", "", asked, answered)
    if regular.username is not None:
        username, password = quote(regular.username), quote(regular.password or "")
        authentication = repr((times[3] - times[2]) / 1e9)
        ends = ("", "", username[1:-1], "", asked, answered)
    listed: list[int | str] = []
    for frame, time, length, words_end in zip(frames, times, regular.lengths, ends, strict=True):
        sent, received = received, sent - length  # the client's have even places
        fraction = time - base
        if 0 <= fraction < SECOND:
            listed += (frame, prefix, fraction, length, words_end)
        else:
            listed += (frame, seconds[time // SECOND], time % SECOND, length, words_end)
    replied = times[-1]
    listed += [frames[place] for _, _, place, _ in shape.anomalies]
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
        username,
        password,
        destination,
        bound,
        text_tunnel(regular.tunnel),
        sent if sent > 0 else 0,
        received if received > 0 else 0,
        "null" if tcp_handshake is None else repr(tcp_handshake),
        (times[1] - times[0]) / 1e9,
        authentication,
        (replied - times[-2]) / 1e9,
        "null" if first_byte is None else repr((first_byte - replied) / 1e9),
        close,
        "null" if closer is None else '"proxy"' if closer else '"client"',
        packets,
        stream,
        community_id,
        "remote" if regular.destination.type == "domain" else "address",
        first_frame,
        last_frame,
        *listed,
        text_process(c.process),
    )


def _target(target: Target) -> tuple[str, str]:
    """A target as JSON, and as it stands in a frame's summary."""
    kind, host, port = target
    text = quote(host)
    shown = f"[{text[1:-1]}]:{port}" if kind == "ipv6" else f"{text[1:-1]}:{port}"
    return f'{{"type":"{kind}","host":{text},"port":{port}}}', shown


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
        f',"command":{constant(words[shape.command])},"destination":%s'
        f',"reply":{constant(text_reply(shape.reply))},"bound":%s'
        ',"peer_reply":null,"peer":null,"tunnel":%s,"bytes":{"sent":%d,"received":%d},"udp":null'
        ',"timing":{"tcp_handshake":%s,"negotiation":%r,"authentication":%s,"request":%r,"first_byte":%s}'
        ',"close":"%s","closed_by":%s,"packets":%d,"tcp_stream":%d,"community_id":"%s","name_resolution":"%s"'
        f',"first_frame":%d,"last_frame":%d,"frames":[{frames}],"anomalies":[{anomalies}]'
        ',"upstream":null,"process":%s}'
    )
