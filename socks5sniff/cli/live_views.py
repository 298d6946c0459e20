"""What `live` shows while it runs: lines as conversations get their verdict and end, or a sink's records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation, FrameEntry
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Options, Sink, Totals, Writer, open_sink
from socks5sniff.sinks.clock import Clock
from socks5sniff.sinks.columns import process
from socks5sniff.sinks.words import COLOURS, counted, octets, result

if TYPE_CHECKING:
    from socks5sniff.analysis import Bypass

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_STEPS = ("negotiation", "authentication", "request")


class View(Protocol):
    """Someone who is shown conversations."""

    wants_news: bool
    """Whether `news` is called."""

    def news(self, conversation: Conversation, /) -> None:
        """A conversation was found (outcome `incomplete`), or has its outcome."""

    def ended(self, records: Batch, /) -> None:
        """Conversations have ended; these are their records."""

    def interim(self, conversation: Conversation, /) -> None:
        """The record of an open conversation, as it stands."""

    def bypass(self, row: Bypass, /) -> None:
        """Something went past the proxies."""

    def refresh(self, packets: int, /) -> None:
        """Called some ten times a second, with the number of frames so far."""

    def close(self, totals: Totals, /) -> None:
        """The capture has ended."""

    def leave(self) -> None:
        """Called at last, whatever happened, perhaps more than once."""


class SinkView:
    """The records, in one of the formats that `read` has."""

    wants_news = False

    def __init__(self, name: str, out: Writer, options: Options) -> None:
        self._out = out
        self._sink: Sink = open_sink(name, out, options)

    def news(self, conversation: Conversation) -> None:
        """Records are complete or not there."""

    def ended(self, records: Batch) -> None:
        self._sink.records(records)

    def interim(self, conversation: Conversation) -> None:
        self._sink.conversation(conversation)

    def bypass(self, row: Bypass) -> None:
        self._out.write(json.dumps({"type": "bypass", **row.as_dict()}, separators=(",", ":")) + "\n")

    def refresh(self, packets: int) -> None:
        self._out.flush()

    def close(self, totals: Totals) -> None:
        self._sink.close(totals)

    def leave(self) -> None:
        """Nothing was taken."""


class LinesView:
    """A line (`+`) for each verdict and one (`-`) for each end; with `frames` one for each SOCKS frame, too."""

    wants_news = True

    def __init__(self, out: Writer, colour: bool, frames: bool, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._colour = colour
        self._frames = frames
        self._shown: dict[tuple[int, int], int] = {}
        """Frames shown so far, by stream and the conversation's first frame."""

    def news(self, conversation: Conversation) -> None:
        self._new_frames(conversation)
        if conversation.outcome != "incomplete":
            self._write(verdict_line(conversation, self._clock), "+", conversation.outcome)

    def ended(self, records: Batch) -> None:
        for conversation in records:
            self._new_frames(conversation)
            self._shown.pop(key_of(conversation), None)
            self._write(end_line(conversation, self._clock), "-", conversation.outcome)

    def interim(self, conversation: Conversation) -> None:
        """Lines come when something happens."""

    def bypass(self, row: Bypass) -> None:
        line = bypass_line(row, self._clock)
        self._out.write((f"{COLOURS.get('rejected', '')}{line}{_RESET}" if self._colour else line) + "\n")

    def refresh(self, packets: int) -> None:
        self._out.flush()

    def close(self, totals: Totals) -> None:
        self._out.flush()

    def leave(self) -> None:
        """Nothing was taken."""

    def _new_frames(self, conversation: Conversation) -> None:
        if self._frames:
            shown = self._shown.get(key_of(conversation), 0)
            for entry in conversation.frames[shown:]:
                self._out.write(frame_line(conversation, entry, self._clock) + "\n")
            self._shown[key_of(conversation)] = len(conversation.frames)

    def _write(self, line: str, mark: str, outcome: str) -> None:
        if self._colour:
            colour = COLOURS.get(outcome, "") if mark == "+" else _DIM
            line = f"{colour}{line}{_RESET}"
        self._out.write(line + "\n")


def key_of(c: Conversation) -> tuple[int, int]:
    return c.tcp_stream, c.first_frame


def verdict_line(c: Conversation, clock: Clock) -> str:
    """`09:31:02.123Z + CLIENT PROCESS > PROXY USER COMMAND DESTINATION: OUTCOME (TIMINGS)`."""
    told = c.frames[-1].time_ns if c.frames else c.end_ns
    steps = [f"{step} {_short(seconds)}" for step in _STEPS if (seconds := getattr(c.timing, step)) is not None]
    timings = f" ({', '.join(steps)})" if steps else ""
    return escape_text(f"{clock.stamp(told)} + {_who(c)}: {result(c)}{timings}")


def bypass_line(row: Bypass, clock: Clock) -> str:
    """`09:31:02.123Z ! CLIENT PROCESS > DESTINATION tcp NAME, past the proxy`."""
    program = "" if row.process is None else f" {row.process['name']}[{row.process['pid']}]"
    name = f" {row.server_name}" if row.server_name else ""
    when = clock.stamp(row.start_ns)
    return escape_text(f"{when} ! {row.client}{program} > {row.destination} {row.transport}{name}, past the proxy")


def end_line(c: Conversation, clock: Clock) -> str:
    """The same with what went through, how long it took and who ended it, instead of the timings."""
    parts = [result(c)]
    if c.tunnel is not None:
        parts.append(" ".join(filter(None, (c.tunnel.protocol, c.tunnel.server_name))))
    counts = octets(c)
    if counts is not None:
        parts.append(f"{counted(counts[0], 'octet')} sent, {counts[1]:,} received")
    if c.udp is not None:
        parts.append(counted(c.udp.datagrams_sent + c.udp.datagrams_received, "datagram"))
    parts.append(_short(c.duration))
    if c.outcome == "incomplete" and c.phase:
        pass  # the result says who ended it
    elif c.close == "open":
        parts.append("still open")
    elif c.closed_by:
        parts.append(f"{'reset' if c.close == 'reset' else 'closed'} by {c.closed_by}")
    parts += dict.fromkeys(anomaly.code for anomaly in c.anomalies if anomaly.code != c.outcome)
    return escape_text(f"{clock.stamp(c.end_ns)} - {_who(c)}: {', '.join(parts)}")


def frame_line(c: Conversation, entry: FrameEntry, clock: Clock) -> str:
    """One SOCKS frame, with the number of its packet in the capture."""
    text = f"{clock.stamp(entry.time_ns)}   {c.client} > {c.proxy} frame {entry.frame} {entry.sender}: {entry.summary}"
    return escape_text(text)


def comment(c: Conversation) -> str:
    """The comment on the first packet of a conversation in the capture file."""
    done = "" if c.outcome == "incomplete" else f": {result(c)}"
    return escape_text(f"{(c.protocol or 'SOCKS').upper()} {_who(c)}{done}")


def _who(c: Conversation) -> str:
    program = f" {process(c)}" if c.process else ""
    user = f" user {c.username}" if c.username else ""
    target = "" if c.destination is None else f" {c.command} {c.destination}"
    return f"{c.client}{program} > {c.proxy}{user}{target}"


def _short(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"
