"""`json`: one array, written as it grows. `jsonl`: one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as quote

from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.record.form import Form, FormFrame, Step

from .layouts import Field, Lines, Part, Words, shown
from .record_line import record_line, text_list, text_reply, text_tunnel, truth, words
from .sink import Options, Totals, Writer


class JsonLinesSink:
    """One JSON object a line; lines are flushed when someone waits for them."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._lines = json_lines()

    def records(self, batch: Batch) -> None:
        self._out.write("".join([f"{line}\n" for line in _lines(self._lines, batch)]))
        if self._prompt:
            self._out.flush()

    def conversation(self, conversation: Conversation) -> None:
        self._out.write(record_line(conversation) + "\n")
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.flush()


class JsonSink:
    """One JSON array with an element a line, so that it can be both parsed whole and followed while it grows."""

    def __init__(self, out: Writer, options: Options) -> None:
        self._out = out
        self._prompt = options.prompt
        self._lines = json_lines()
        self._before = "[\n"

    def records(self, batch: Batch) -> None:
        for line in _lines(self._lines, batch):
            self._write(line)

    def conversation(self, conversation: Conversation) -> None:
        self._write(record_line(conversation))

    def _write(self, line: str) -> None:
        self._out.write(self._before + line)
        self._before = ",\n"
        if self._prompt:
            self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._out.flush()


def json_lines() -> Lines:
    """Maker of JSON lines."""
    return Lines(_line, Words("null", text_tunnel, lambda capture: words[capture], lambda role: words[role]))


def _lines(lines: Lines, batch: Batch) -> Iterator[str]:
    for row, line in enumerate(lines.of(batch)):
        yield record_line(batch.row(row)) if line is None else line.decode("ascii")


def _line(form: Form) -> list[Part]:
    """The object of `record_line` for a record of this form."""
    return [
        '{"id":', Field("id"), ',"parent":null,"capture":', Field("capture"),
        f',"protocol":{words[form.protocol]},"client":', *_endpoint("client"), ',"proxy":', *_endpoint("proxy"),
        ',"reversed":false,"start":"', Field("time", "start"), 'Z","end":"', Field("time", "end"),
        'Z","duration":', Field("duration"),
        f',"phase":{words[form.phase]},"outcome":{words[form.outcome]}',
        f',"methods":{text_list(None if form.methods is None else list(form.methods))},"method":{words[form.method]}',
        ',"username":', *(['"', Field("plain", "username"), '"'] if form.username else ["null"]),
        f',"password":{words[form.password]},"authenticated":{truth[form.authenticated]}',
        f',"command":{words[form.command]},"destination":', *_target(form.destination, "destination"),
        f',"reply":{text_reply(form.reply)},"bound":', *_target(form.bound, "bound"),
        ',"peer_reply":null,"peer":null,"tunnel":', *([Field("tunnel")] if form.relays else ["null"]),
        ',"bytes":', *_traffic(form), ',"udp":null,"timing":', *_timing(form),
        ',"close":"', Field("close"), '","closed_by":', Field("closed_by"),
        ',"packets":', Field("integer", "packets"), ',"tcp_stream":', Field("integer", "tcp_stream"),
        ',"community_id":"', Field("plain", "community_id"),
        f'","name_resolution":{words[_resolution(form)]},"first_frame":', Field("integer", "first_frame"),
        ',"last_frame":', Field("integer", "last_frame"),
        ',"frames":[', *_frames(form), '],"anomalies":[', *_anomalies(form),
        '],"upstream":null,"proxy_header":null,"network":null,"process":null}',
    ]  # fmt: skip


def _endpoint(role: str) -> list[Part]:
    return ['{"address":"', Field("plain", f"{role}_address"), '","port":', Field("integer", f"{role}_port"), "}"]


def _target(kind: str | None, column: str) -> list[Part]:
    if kind is None:
        return ["null"]
    host, port = Field("plain", column), Field("integer", f"{column}_port")
    return [f'{{"type":{words[kind]},"host":"', host, '","port":', port, "}"]


def _traffic(form: Form) -> list[Part]:
    if not form.relays:
        return ["null"]
    return ['{"sent":', Field("integer", "sent"), ',"received":', Field("integer", "received"), "}"]


def _timing(form: Form) -> list[Part]:
    first: Part = "null"
    if form.relays and form.replied is not None:
        first = Field("first_byte", form.replied)
    return [
        '{"tcp_handshake":', Field("handshake"), ',"negotiation":', _step(form.negotiation),
        ',"authentication":', _step(form.authentication), ',"request":', _step(form.request),
        ',"first_byte":', first, ',"upstream_handshake":null}',
    ]  # fmt: skip


def _step(places: Step) -> Part:
    return "null" if places is None else Field("step", *places)


def _resolution(form: Form) -> str | None:
    return None if form.destination is None else "remote" if form.destination == "domain" else "address"


def _frames(form: Form) -> Iterator[Part]:
    for number, frame in enumerate(form.frames):
        yield "," if number else ""
        yield from _frame(frame)


def _frame(frame: FormFrame) -> Iterator[Part]:
    yield '{"frame":'
    yield Field("frame", frame.place)
    yield ',"time":"'
    yield Field("frame_time", frame.place)
    yield f'Z","sender":{words[frame.sender]},"type":{words[frame.type]},"length":'
    yield str(frame.length) if isinstance(frame.length, int) else Field("integer", frame.length)
    yield ',"summary":"'
    for piece in frame.summary:
        yield quote(piece)[1:-1] if isinstance(piece, str) else shown(piece)
    yield '"}'


def _anomalies(form: Form) -> Iterator[Part]:
    for number, entry in enumerate(form.anomalies):
        yield f'{"," if number else ""}{{"code":{words[entry.code]},"severity":{words[entry.severity]},"frame":'
        yield Field("frame", entry.place)
        yield f',"message":{quote(entry.message)}}}'
