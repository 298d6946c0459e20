"""`--view table`: open and ended conversations on the whole terminal, with keys; elsewhere the last state only."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from socks5sniff.codec.text import escape_text
from socks5sniff.live.engine import Counts
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Totals, Writer
from socks5sniff.sinks.clock import Clock
from socks5sniff.sinks.columns import process
from socks5sniff.sinks.layout import GAP, Need, cut, display_width, fit, padded
from socks5sniff.sinks.words import counted

from .keyboard import Keyboard
from .live_board import ORDERS, Board, Entry, Key
from .live_views import key_of

if TYPE_CHECKING:
    from rich.text import Text

    from socks5sniff.analysis import Bypass

PACE = 0.5
"""Seconds between two drawings."""
LOOKED_AT = 500
"""Open conversations whose octets are looked up for each drawing."""
_STYLES = {"succeeded": "green", "rejected": "yellow", "incomplete": "cyan", "malformed": "magenta"}
_KEYS = "↑↓ enter:details s:sort r:reverse /:filter p:pause q:end"

# title, text, least size, rank (see sinks.layout.Need), stands right, cut in the middle
_COLUMNS: tuple[tuple[str, Callable[[Entry], str], int, int, bool, bool], ...] = (
    ("client", lambda e: str(e.conversation.client), 21, 3, False, True),
    ("process", lambda e: process(e.conversation), 12, 5, False, False),
    ("proxy", lambda e: str(e.conversation.proxy), 14, 0, False, True),
    ("user", lambda e: e.conversation.username or "", 6, 4, False, False),
    ("destination", lambda e: str(e.conversation.destination or ""), 20, 0, False, True),
    ("result", lambda e: e.result, 28, 0, False, False),
    ("sent", lambda e: size(e.sent), 6, 0, True, False),
    ("received", lambda e: size(e.received), 8, 0, True, False),
    ("rate", lambda e: f"{size(int(e.rate))}/s" if e.open else "", 7, 1, True, False),
    ("seconds", lambda e: f"{e.conversation.duration:.1f}", 7, 2, True, False),
)
_RESULT = next(index for index, column in enumerate(_COLUMNS) if column[0] == "result")


def size(octets: int) -> str:
    """`999`, `12.3k`, `4.5M`: three figures are enough to see what grows."""
    if octets < 1000:
        return str(octets)
    value, units = octets / 1000, "kMGT"
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f}{units[0]}" if value >= 99.95 else f"{value:.1f}{units[0]}"


class TableView:
    """See this module's docstring. `leave` gives the terminal back."""

    wants_news = True

    def __init__(
        self,
        out: Writer,
        counts: Callable[[], Sequence[Counts | None]],
        colour: bool,
        clock: Clock,
        current: Callable[[Collection[int]], list[Conversation]] = lambda streams: [],
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Draw on `out`.

        Args:
            out: what has `isatty`, if it is a terminal.
            counts: what the capture has received and dropped.
            colour: colours are wanted.
            clock: how times are shown.
            current: the records of open conversations by their `tcp_stream`, as they are now.
            stop: ends the capture.
        """
        from rich.console import Console

        self._counts = counts
        self._current = current
        self._stop = stop
        self._board = Board()
        self._screen = Screen(self._board, clock)
        self._keyboard = Keyboard()
        self._meter = Meter()
        self._console: Any = Console(file=out, no_color=not colour, highlight=False)  # type: ignore[arg-type]
        self._live: Any = None
        # Now: later this process may run as a user who cannot read where packages are, and rich loads on demand.
        self._console.render_lines(self._screen.draw(80, 24, "", self._keyboard.usable))
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def news(self, conversation: Conversation) -> None:
        self._board.found(conversation)

    def ended(self, records: Batch) -> None:
        for conversation in records:
            self._board.ended(conversation)

    def interim(self, conversation: Conversation) -> None:
        """The table asks for what it shows."""

    def bypass(self, row: Bypass) -> None:
        """The table shows conversations."""

    def refresh(self, packets: int) -> None:
        if self._live is not None and not self._live.is_started:  # not before what is said at the start
            self._live.start()
            self._keyboard.open()
        pressed = self._keyboard.pressed() if self._live is not None else []
        for key in pressed:
            if not self._screen.press(key):
                self._stop()
        seconds = self._meter.due(packets, self._board.outcomes.total())
        if seconds:
            streams = self._board.newest(LOOKED_AT)
            self._board.update(self._current(streams) if streams else [], seconds)
        if self._live is not None and (seconds or pressed):
            self._draw()

    def close(self, totals: Totals) -> None:
        self._meter.packets = totals.packets
        if self._live is None:
            width, height = get_terminal_size((120, 1)).columns, len(self._board.entries()) + 4
            self._console.print(self._screen.draw(width, height, self._status(), keys=False))
        self.leave()

    def leave(self) -> None:
        """Give the terminal back as it was; harmless when called again."""
        self._keyboard.close()
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _draw(self) -> None:
        width, height = self._console.size
        self._live.update(self._screen.draw(width, height, self._status(), self._keyboard.usable), refresh=True)

    def _status(self) -> str:
        board, meter = self._board, self._meter
        dropped = sum(count.dropped for count in self._counts() if count is not None)
        ended = board.outcomes.total()
        outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in board.outcomes.most_common())
        return (
            f"{board.open:,} open, {ended:,} ended, {meter.ended_rate:,.0f}/s; {counted(meter.packets, 'packet')}, "
            f"{meter.packet_rate:,.0f}/s, {dropped:,} dropped{'; ' if outcomes else ''}{outcomes}"
        )


class Meter:
    """Rates between two drawings.

    Attributes:
        packets: frames so far.
        packet_rate, ended_rate: frames and ended conversations a second.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.packet_rate = self.ended_rate = 0.0
        self._last = (time.monotonic(), 0, 0)

    def due(self, packets: int, ended: int) -> float:
        """Seconds since the last drawing, 0 where it is too early for the next."""
        now = time.monotonic()
        then, packets_then, ended_then = self._last
        seconds = now - then
        if seconds < PACE:
            return 0
        self.packets = packets
        self.packet_rate, self.ended_rate = (packets - packets_then) / seconds, (ended - ended_then) / seconds
        self._last = (now, packets, ended)
        return seconds


class Screen:
    """The board on a terminal of some size, and what keys do to it."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._chosen: Key | None = None
        self._details = False
        self._typing = False
        """The filter is being typed."""
        self._needed = [0] * len(_COLUMNS)
        """Greatest size of each column so far, 0 where nothing was in it: columns do not jump about."""
        self._page = 10

    def press(self, key: str) -> bool:
        """Do what a key asks for; False to end."""
        board = self._board
        if self._typing:
            if key in ("enter", "escape"):
                self._typing = False
                board.filter = board.filter if key == "enter" else ""
            elif key == "backspace":
                board.filter = board.filter[:-1]
            elif len(key) == 1:
                board.filter += key
        elif key in ("q", "Q"):
            return False
        elif key == "/":
            self._typing = True
        elif key == "s":
            names = [*ORDERS]
            board.order = names[(names.index(board.order) + 1) % len(names)]
        elif key == "r":
            board.backwards = not board.backwards
        elif key in ("p", " "):
            board.pause(not board.paused)
        elif key == "enter":
            self._details = not self._details
        elif key == "escape":
            self._details, board.filter = False, ""
        else:
            page = self._page
            self._move({"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page}.get(key, 0))
        return True

    def _move(self, steps: int) -> None:
        keys = [key_of(entry.conversation) for entry in self._board.entries()]
        if keys and steps:
            at = keys.index(self._chosen) if self._chosen in keys else -1 if steps > 0 else len(keys)
            self._chosen = keys[min(max(at + steps, 0), len(keys) - 1)]

    def draw(self, width: int, height: int, status: str, keys: bool) -> Any:
        """All of it, `height` lines of at most `width`."""
        from rich.console import Group

        entries = self._board.entries()
        chosen = next((entry for entry in entries if key_of(entry.conversation) == self._chosen), None)
        details = self._describe(chosen) if self._details and chosen is not None else []
        below = details[: max(height // 2, 3)]
        room = max(height - 4 - len(below), 1)
        self._page = room
        lines = [_plain(status, width, "bold"), *self._table(_around(entries, chosen, room), chosen, width)]
        lines += [_plain("", width)] * (room + 2 - len(lines) + 1)
        lines += [_plain(line, width, "bold" if not at else "") for at, line in enumerate(below)]
        return Group(*lines[: height - 1], _plain(self._footing(len(entries), keys), width, "reverse"))

    def _footing(self, shown: int, keys: bool) -> str:
        board = self._board
        if self._typing:
            return f"filter: {board.filter}▏ (enter keeps it, escape clears it)"
        state = f"by {board.order}{' reversed' if board.backwards else ''}"
        state += f", filter {board.filter!r}: {shown:,}" if board.filter else ""
        state += ", paused" if board.paused else ""
        return f"{state} | {_KEYS}" if keys else state

    def _table(self, entries: Sequence[Entry], chosen: Entry | None, width: int) -> list[Text]:
        from rich.text import Text

        rows = [[escape_text(column[1](entry)) for column in _COLUMNS] for entry in entries]
        for row in rows:
            self._needed = [max(need, display_width(text)) for need, text in zip(self._needed, row, strict=True)]
        used = [index for index, need in enumerate(self._needed) if need]
        needs = [Need(max(self._needed[i], len(_COLUMNS[i][0])), _COLUMNS[i][2], _COLUMNS[i][3]) for i in used]
        sizes = {used[place]: room for place, room in fit(needs, width).items()}
        gap = " " * GAP
        titles = [padded(cut(_COLUMNS[index][0], room), room, _COLUMNS[index][4]) for index, room in sizes.items()]
        lines = [_plain(gap.join(titles), width, "dim")]
        for entry, row in zip(entries, rows, strict=True):
            style = "reverse" if entry is chosen else "" if entry.open else "dim"
            line = Text(style=style, no_wrap=True, overflow="crop")
            for index, room in sizes.items():
                _, _, _, _, right, middle = _COLUMNS[index]
                colour = _STYLES.get(entry.conversation.outcome, "red") if index == _RESULT else ""
                line.append(padded(cut(row[index], room, middle), room, right), colour)
                line.append(gap)
            line.truncate(width)
            lines.append(line)
        return lines

    def _describe(self, entry: Entry) -> list[str]:
        """The chosen conversation: who, what, how long each step took, its frames with times, what was odd."""
        c = entry.conversation
        user = f" user {c.username}" if c.username else ""
        target = f" {c.command} {c.destination}" if c.destination is not None else ""
        steps = [f"{name} {taken * 1000:.2f} ms" for name, taken in c.timing._asdict().items() if taken is not None]
        lines = [f"{c.client} {process(c)} > {c.proxy}{user}{target}: {entry.result}", "  ".join(steps)]
        if c.tunnel is not None:
            lines.append("  ".join(filter(None, (c.tunnel.protocol, c.tunnel.server_name, c.tunnel.detail))))
        before = c.start_ns
        for frame in c.frames:
            passed = (frame.time_ns - before) / 1e6
            before = frame.time_ns
            time_ = self._clock.brief(frame.time_ns) + self._clock.suffix(frame.time_ns)
            lines.append(f"{frame.frame:>8}  {time_}  {passed:+9.3f} ms  {frame.sender:<6}  {frame.summary}")
        lines += [f"{anomaly.severity}: {anomaly.code}: {anomaly.message}" for anomaly in c.anomalies]
        return [escape_text(line) for line in lines if line]


def _around(entries: list[Entry], chosen: Entry | None, room: int) -> list[Entry]:
    """As many as there is room for, the chosen one among them."""
    at = entries.index(chosen) if chosen is not None else 0
    begin = max(min(at - room // 2, len(entries) - room), 0)
    return entries[begin : begin + room]


def _plain(text: str, width: int, style: str = "") -> Text:
    from rich.text import Text

    return Text(cut(text, width), style=style, no_wrap=True, overflow="crop")
