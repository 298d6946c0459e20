"""News and records on their way to the view: in order, each when its process is known or was waited for."""

from __future__ import annotations

import time
from collections import deque

from socks5sniff.live.processes import Endpoints
from socks5sniff.live.processes.asking import Processes
from socks5sniff.record import Conversation

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
        self._waiting: deque[tuple[Conversation, Endpoints, bool]] = deque()
        """News and records, and which of both they are."""

    def add(self, conversation: Conversation, ended: bool) -> None:
        """News of a conversation, or its record, as the last in the queue."""
        self._waiting.append((conversation, (*conversation.client, *conversation.proxy), ended))

    def interim(self, conversation: Conversation) -> None:
        """Show the record of an open conversation, as far as its process is known by now; it counts nowhere."""
        if self._processes is not None:
            conversation.process = self._processes.find((*conversation.client, *conversation.proxy))
        if self.left != 0 and (self._keep is None or self._keep(conversation)):
            self.view.interim(conversation)

    def show(self, patience: float = ANSWER) -> None:
        """Show what need not wait for the name of a process any more."""
        processes, waiting = self._processes, self._waiting
        if processes is not None:
            processes.collect()
        while waiting and self.left != 0:
            conversation, endpoints, ended = waiting[0]
            if processes is not None:
                if processes.pending(endpoints, patience):
                    return
                process = processes.find(endpoints)
                if process is not None:
                    conversation.process = process
                if ended and (len(waiting) == 1 or waiting[1][1] != endpoints):  # next may be one inside its tunnel
                    processes.forget(endpoints)
            waiting.popleft()
            self._show(conversation, ended)

    def show_all(self) -> None:
        """At the end of the capture, when nothing but answers is waited for."""
        until = time.monotonic() + ANSWER
        self.show()
        while self._waiting and self.left != 0 and time.monotonic() < until:
            time.sleep(0.005)
            self.show()
        self.show(0)

    def _show(self, conversation: Conversation, ended: bool) -> None:
        if ended:
            self.tally.add(conversation)
        if self._keep is not None and not self._keep(conversation):
            return
        if ended:
            self.shown.add(conversation)
            self.view.ended(conversation)
            if self.left is not None:
                self.left -= 1
        elif self.view.wants_news:
            self.view.news(conversation)
