"""`live --web`: a view that hands what happens to the browsers' publisher, beside the view on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.live.engine import Counts
from socks5sniff.record import Conversation
from socks5sniff.sinks import Options, Totals, open_sink

from .live_views import View, key_of

if TYPE_CHECKING:
    from socks5sniff.web import Publisher, Server

OPEN = 10_000
"""Open conversations that are kept to be shown; beyond that they are only counted."""
BATCH = 0.1
"""Seconds that what has ended is collected before browsers are told."""
PACE = 1.0
"""Seconds between two looks at open conversations: browsers get a list no oftener."""
SENT = 200
"""Open conversations that browsers are sent, the newest."""


class WebView:
    """Collects what is new between two calls of `refresh`.

    Args:
        publisher: what browsers read from.
        counts: packets and drops of each interface so far.
        current: records of the open conversations on these TCP streams as they are by now; where it is missing, open
            conversations are shown as they were when they got their outcome.
    """

    wants_news = True

    def __init__(
        self,
        publisher: Publisher,
        counts: Callable[[], Sequence[Counts | None]],
        current: Callable[[Collection[int]], list[Conversation]] | None = None,
    ) -> None:
        self._publisher = publisher
        self._counts = counts
        self._current = current
        self._ended = StringIO()
        self._sink = open_sink("jsonl", self._ended, Options(prompt=True))
        self._open: dict[tuple[int, int], Conversation | None] = {}
        self._newest: list[dict[str, Any]] = []
        self._looked = self._told = 0.0

    def news(self, conversation: Conversation) -> None:
        kept = len(self._open) < OPEN or self._open.get(key_of(conversation)) is not None
        self._open[key_of(conversation)] = conversation if kept else None

    def ended(self, conversation: Conversation) -> None:
        self._open.pop(key_of(conversation), None)
        self._sink.conversation(conversation)

    def interim(self, conversation: Conversation) -> None:
        """The page asks for what it shows."""

    def refresh(self, packets: int) -> None:
        now = time.monotonic()
        if now - self._told >= BATCH:
            self._told = now
            self._publish(packets, now)

    def _publish(self, packets: int, now: float) -> None:
        ended = self._ended.getvalue().splitlines()
        self._ended.seek(0)
        self._ended.truncate()
        if now - self._looked >= PACE and self._publisher.watched:
            self._looked = now
            newest = list(islice(filter(None, reversed(self._open.values())), SENT))
            if self._current is not None:
                newest = self._current({c.tcp_stream for c in newest})
            self._newest = [c.as_dict() for c in newest]
        health = {
            "packets": packets,
            "dropped": sum(count.dropped for count in self._counts() if count is not None),
            "open": len(self._open),
        }
        self._publisher.publish(ended, self._newest, health)

    def leave(self) -> None:
        """Nothing has to be put back."""

    def close(self, totals: Totals) -> None:
        self._sink.close(totals)
        self._open.clear()
        self._newest = []
        self._publish(totals.packets, self._looked)


class Together:
    """Several views as one."""

    def __init__(self, views: Iterable[View]) -> None:
        self._views = tuple(views)
        self.wants_news = any(view.wants_news for view in self._views)

    def news(self, conversation: Conversation) -> None:
        for view in self._views:
            if view.wants_news:
                view.news(conversation)

    def ended(self, conversation: Conversation) -> None:
        for view in self._views:
            view.ended(conversation)

    def interim(self, conversation: Conversation) -> None:
        for view in self._views:
            view.interim(conversation)

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
