"""News and records on their way to the view: in order, each when its process is known or was waited for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from itertools import compress, count, islice
from typing import NamedTuple

from socks5sniff.live.processes import Endpoints
from socks5sniff.live.processes.asking import Processes
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch

from .filters import Test
from .live_summary import Tally
from .live_views import View

ANSWER = 0.3
"""Seconds that what is to be shown waits for the client's process to be found."""


class Showing:
    """A queue in front of a view.

    Attributes:
        view: what is shown to.
        tally: of the conversations that have ended, those that a filter keeps from the view included.
        shown: of those that have been shown.
        left: records that may still be shown; None for any number.
    """

    def __init__(self, view: View, processes: Processes | None = None, keep: Test | None = None) -> None:
        self.view = view
        self.tally = Tally()
        self.shown = Tally()
        self.left: int | None = None
        self._processes = processes
        self._keep = keep
        self._waiting: deque[_Waiting] = deque()

    def add(self, records: Batch, ended: bool) -> list[Endpoints]:
        """News of conversations, or their records, as the last in the queue; gives their endpoints."""
        endpoints = records.endpoints()
        if endpoints:
            self._waiting.append(_Waiting(records, endpoints, ended))
        return endpoints

    def interim(self, conversation: Conversation) -> None:
        """Show the record of an open conversation, as far as its process is known by now; it counts nowhere."""
        if self._processes is not None:
            conversation.process = self._processes.find((*conversation.client, *conversation.proxy))
        if self.left != 0 and (self._keep is None or self._keep(conversation)):
            self.view.interim(conversation)

    def show(self, patience: float = ANSWER) -> None:
        """Show what need not wait for the name of a process any more."""
        waiting = self._waiting
        if self._processes is not None:
            self._processes.collect()
        while waiting and self.left != 0:
            first = waiting[0]
            ready = self._ready(first.endpoints, patience)
            if not ready:
                return
            waiting.popleft()
            if ready < len(first.endpoints):
                waiting.appendleft(first.behind(ready))
                first = first.until(ready)
            self._name(first, waiting[0].endpoints[0] if waiting else None)
            self._show(first.records, first.ended)

    def _ready(self, endpoints: Sequence[Endpoints], patience: float) -> int:
        """How many, from the first on, need not wait for an answer."""
        if self._processes is not None:
            for number, each in enumerate(endpoints):
                if self._processes.pending(each, patience):
                    return number
        return len(endpoints)

    def _name(self, shown: _Waiting, following: Endpoints | None) -> None:
        """Say whose they are; `following` is what is shown next."""
        processes = self._processes
        if processes is None:
            return
        shown.records.name([*map(processes.find, shown.endpoints)])
        if shown.ended:
            for each, after in zip(shown.endpoints, (*shown.endpoints[1:], following), strict=True):
                if each != after:  # else it is one inside its tunnel
                    processes.forget(each)

    def show_all(self) -> None:
        """At the end of the capture, when nothing but answers is waited for."""
        until = time.monotonic() + ANSWER
        self.show()
        while self._waiting and self.left != 0 and time.monotonic() < until:
            time.sleep(0.005)
            self.show()
        self.show(0)

    def _show(self, records: Batch, ended: bool) -> None:
        keep, left = self._keep, self.left
        shown = records
        if keep is not None or left is not None:
            chosen = [keep is None or keep(record) for record in records]
            if ended and left is not None and sum(chosen) >= left:
                last = next(islice(compress(count(1), chosen), left - 1, None))
                records, chosen = records.slice(0, last), chosen[:last]
            shown = records.select(chosen)
        if not ended:
            if self.view.wants_news:
                for news in shown:
                    self.view.news(news)
            return
        self.tally.add(records)
        self.shown.add(shown)
        if len(shown):
            self.view.ended(shown)
        if left is not None:
            self.left = left - len(shown)


class _Waiting(NamedTuple):
    """News or records that wait to be shown.

    Attributes:
        endpoints: by row.
        ended: which of both they are.
    """

    records: Batch
    endpoints: list[Endpoints]
    ended: bool

    def until(self, count: int) -> _Waiting:
        """The first ones."""
        return self._replace(records=self.records.slice(0, count), endpoints=self.endpoints[:count])

    def behind(self, count: int) -> _Waiting:
        """Those behind the first ones."""
        rest = self.records.slice(count, len(self.records))
        return self._replace(records=rest, endpoints=self.endpoints[count:])
