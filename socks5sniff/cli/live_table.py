"""`--view table`: open conversations, the last ones that ended, and rates, redrawn in place."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from socks5sniff.codec.text import escape_text
from socks5sniff.live.engine import Counts
from socks5sniff.record import Conversation
from socks5sniff.sinks import Totals, Writer
from socks5sniff.sinks.words import explain, octets

from .live_views import key_of

if TYPE_CHECKING:
    from rich.table import Table

ENDED = 200
"""Ended conversations that are kept to be shown."""
OPEN = 10_000
"""Open conversations that are kept whole to be shown; beyond that they are only counted."""
PACE = 0.5
"""Seconds between two drawings."""
_STYLES = {"succeeded": "green", "rejected": "yellow", "incomplete": "cyan", "malformed": "magenta"}


class TableView:
    """Draws on a terminal; where the output is none, only the last state is written."""

    wants_news = True

    def __init__(self, out: Writer, counts: Callable[[], Sequence[Counts | None]], colour: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._counts = counts
        self._open: dict[tuple[int, int], Conversation | None] = {}
        self._ended: deque[Conversation] = deque(maxlen=ENDED)
        self._outcomes: Counter[str] = Counter()
        self._last = (time.monotonic(), 0, 0)
        self._rates = (0.0, 0.0)
        self._packets = 0
        self._console = Console(file=out, no_color=not colour, highlight=False)  # type: ignore[arg-type]
        self._live: Any = Live(console=self._console, auto_refresh=False, transient=False)
        # Now: later this process may run as a user who cannot read where packages are, and rich loads on demand.
        self._console.render_lines(self._table())
        self._live.start()

    def news(self, conversation: Conversation) -> None:
        kept = len(self._open) < OPEN or self._open.get(key_of(conversation)) is not None
        self._open[key_of(conversation)] = conversation if kept else None

    def ended(self, conversation: Conversation) -> None:
        self._open.pop(key_of(conversation), None)
        self._ended.append(conversation)
        self._outcomes[conversation.outcome] += 1

    def refresh(self, packets: int) -> None:
        now = time.monotonic()
        then, packets_then, ended_then = self._last
        if now - then < PACE:
            return
        ended = self._outcomes.total()
        self._packets = packets
        self._rates = ((packets - packets_then) / (now - then), (ended - ended_then) / (now - then))
        self._last = (now, packets, ended)
        self._live.update(self._table(), refresh=True)

    def close(self, totals: Totals) -> None:
        self._packets = totals.packets
        self._live.update(self._table(), refresh=True)
        self._live.stop()

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(title=self._title(), caption=self._caption(), expand=True, pad_edge=False)
        for title, right in (
            ("client", False),
            ("process", False),
            ("proxy", False),
            ("user", False),
            ("destination", False),
            ("outcome", False),
            ("sent", True),
            ("received", True),
            ("seconds", True),
        ):
            table.add_column(title, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
        room = max(self._console.height - 6, 3)
        opened = [conversation for conversation in self._open.values() if conversation][-(room // 2) :]
        for conversation in opened:
            table.add_row(*_cells(conversation, "open"))
        for conversation in reversed(list(self._ended)[len(opened) - room :]):
            table.add_row(*_cells(conversation, ""), style="dim")
        return table

    def _title(self) -> str:
        packets, ended = self._rates
        return f"{len(self._open):,} open, {self._outcomes.total():,} ended, {ended:,.0f}/s; {packets:,.0f} packets/s"

    def _caption(self) -> str:
        dropped = sum(count.dropped for count in self._counts() if count is not None)
        outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in self._outcomes.most_common())
        return f"{self._packets:,} packets, {dropped:,} dropped{f'; {outcomes}' if outcomes else ''}"


def _cells(c: Conversation, state: str) -> list[Any]:
    from rich.text import Text

    counts = octets(c)
    words = explain(c) if c.outcome != "incomplete" or not state else c.phase or ""
    values = (
        str(c.client),
        "" if c.process is None else f"{c.process['name']}[{c.process['pid']}]",
        str(c.proxy),
        c.username or "",
        "" if c.destination is None else str(c.destination),
        f"{state} {words}".strip(),
        "" if counts is None or state else f"{counts[0]:,}",
        "" if counts is None or state else f"{counts[1]:,}",
        "" if state else f"{c.duration:.3f}",
    )
    cells = [Text(escape_text(value)) for value in values]
    cells[5].stylize(_STYLES.get(c.outcome, "red"))
    return cells
