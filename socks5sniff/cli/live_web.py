"""`live --web`: a view that hands what happens to the browsers' publisher, beside the view on the terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, Protocol

import click

from socks5sniff.live.engine import Counts
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Options, Totals, open_sink

from .live_views import View

if TYPE_CHECKING:
    from socks5sniff.analysis import Attempt, Bypass
    from socks5sniff.live.processes.asking import Processes
    from socks5sniff.web import Publisher, Server

BATCH = 0.1
"""Seconds that what has ended is collected before browsers are told."""
PACE = 1.0
"""Seconds between two looks at open conversations: browsers get a list no oftener."""
SENT = 200
"""Open conversations that browsers are sent, the newest; the same of attempts and of what went past the proxies."""


class Attempts(Protocol):
    """Connections to a proxy that came to nothing, as the analyser knows them."""

    def counts(self) -> Sequence[tuple[Any, str, int]]:
        """Proxy, outcome, and how many."""

    def listed(self) -> Sequence[Attempt]:
        """The latest, in their order."""


class Opened(Protocol):
    """Conversations that have no record yet, as the analyser knows them."""

    @property
    def open(self) -> int:
        """How many connections they have."""

    def newest(self, count: int, /) -> list[Conversation]:
        """Records of the newest ones as they are by now, the newest first."""


class Besides:
    """What browsers are told besides conversations: attempts, and what went past the proxies."""

    def __init__(self, attempts: Attempts | None) -> None:
        self._attempts = attempts
        self._past: deque[Bypass] = deque(maxlen=SENT)
        self._told = (0, 0)
        self._passed = 0

    def bypass(self, row: Bypass) -> None:
        """Something went past the proxies."""
        self._past.append(row)
        self._passed += 1

    def fresh(self) -> dict[str, Any] | None:
        """All of it, the newest first; None where nothing has changed since the last call."""
        tried = 0 if self._attempts is None else sum(count for *_, count in self._attempts.counts())
        if (tried, self._passed) == self._told:
            return None
        self._told = (tried, self._passed)
        attempts = () if self._attempts is None else self._attempts.listed()[-SENT:]
        return {
            "attempts": [row.as_dict() for row in reversed(attempts)],
            "all attempts": tried,
            "bypasses": [row.as_dict() for row in reversed(self._past)],
            "all bypasses": self._passed,
        }


class WebView:
    """Collects what is new between two calls of `refresh`.

    Args:
        publisher: what browsers read from.
        counts: packets and drops of each interface so far.
        opened: who knows the open conversations.
        attempts: connections to a proxy that came to nothing.
        processes: knows the clients' programs.
    """

    wants_news = False

    def __init__(
        self,
        publisher: Publisher,
        counts: Callable[[], Sequence[Counts | None]],
        opened: Opened,
        attempts: Attempts | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._publisher = publisher
        self._counts = counts
        self._opened = opened
        self._processes = processes
        self._ended = StringIO()
        self._sink = open_sink("jsonl", self._ended, Options(prompt=True))
        self._newest: list[dict[str, Any]] = []
        self._besides = Besides(attempts)
        self._looked = self._told = 0.0

    def news(self, conversation: Conversation) -> None:
        """The page asks for what it shows."""

    def ended(self, records: Batch) -> None:
        self._sink.records(records)

    def interim(self, conversation: Conversation) -> None:
        """The page asks for what it shows."""

    def bypass(self, row: Bypass) -> None:
        self._besides.bypass(row)

    def refresh(self, packets: int) -> None:
        now = time.monotonic()
        if now - self._told >= BATCH:
            self._told = now
            self._publish(packets, now)

    def _publish(self, packets: int, now: float, last: bool = False) -> None:
        ended = self._ended.getvalue().splitlines()
        self._ended.seek(0)
        self._ended.truncate()
        if now - self._looked >= PACE and self._publisher.watched:
            self._looked = now
            newest = self._opened.newest(SENT)
            if self._processes is not None:
                for record in newest:
                    record.process = self._processes.find((*record.client, *record.proxy))
            self._newest = [record.as_dict() for record in newest]
        besides = self._besides.fresh() if last or self._looked == now else None
        health = {
            "packets": packets,
            "dropped": sum(count.dropped for count in self._counts() if count is not None),
            "open": 0 if last else self._opened.open,
        }
        self._publisher.publish(ended, self._newest, health, besides)

    def leave(self) -> None:
        """Nothing has to be put back."""

    def close(self, totals: Totals) -> None:
        self._sink.close(totals)
        self._newest = []
        self._publish(totals.packets, self._looked, last=True)


class Together:
    """The view on the terminal and the page as one.

    Args:
        bypasses: what goes past the proxies was asked for on the terminal, too.
    """

    def __init__(self, terminal: View, page: View, bypasses: bool) -> None:
        self._views = (terminal, page)
        self._wanting = (terminal, page) if bypasses else (page,)
        self.wants_news = any(view.wants_news for view in self._views)

    def news(self, conversation: Conversation) -> None:
        for view in self._views:
            if view.wants_news:
                view.news(conversation)

    def ended(self, records: Batch) -> None:
        for view in self._views:
            view.ended(records)

    def interim(self, conversation: Conversation) -> None:
        for view in self._views:
            view.interim(conversation)

    def bypass(self, row: Bypass) -> None:
        for view in self._wanting:
            view.bypass(row)

    def refresh(self, packets: int) -> None:
        for view in self._views:
            view.refresh(packets)

    def leave(self) -> None:
        for view in self._views:
            view.leave()

    def close(self, totals: Totals) -> None:
        for view in self._views:
            view.close(totals)


def server(address: str, remote: bool) -> tuple[Publisher, Server]:
    """What `--web ADDRESS:PORT` asks for, not yet listening.

    Raises:
        click.BadParameter: that is no address, or one that other machines reach although `remote` is off.
        MissingError, OutputError: the extra is not installed, or nobody may listen there.
    """
    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = ("127.0.0.1", address) if address.isdigit() else (address, "0")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise click.BadParameter(f"{address!r} is not ADDRESS:PORT.", param_hint="--web")
    from socks5sniff.web import Publisher, Server

    publisher = Publisher()
    return publisher, Server(publisher, host.strip("[]") or "127.0.0.1", int(port), remote)
