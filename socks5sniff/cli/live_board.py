"""What a table of running conversations holds: open and ended ones, their rates, which are shown, in what order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

from socks5sniff.record import Conversation
from socks5sniff.sinks.columns import process
from socks5sniff.sinks.words import octets, result

from .live_views import key_of

ENDED = 1000
"""Ended conversations that are kept to be shown."""
OPEN = 10_000
"""Open conversations that are kept to be shown; beyond that they are only counted."""

Key = tuple[int, int]


@dataclass(slots=True)
class Entry:
    """One conversation on the board."""

    conversation: Conversation
    open: bool
    rate: float = 0.0
    """Octets a second, both ways, between the last two looks; 0 for one that has ended."""

    @property
    def sent(self) -> int:
        return (octets(self.conversation) or (0, 0))[0]

    @property
    def received(self) -> int:
        return (octets(self.conversation) or (0, 0))[1]

    @property
    def result(self) -> str:
        """The result; of an open conversation without one how far it is."""
        c = self.conversation
        if not self.open:
            return result(c)
        return "open" if c.outcome == "succeeded" else f"open: {c.phase}" if c.outcome == "incomplete" else result(c)

    def matches(self, words: Iterable[str]) -> bool:
        """Whether each of the words, in lower case, is somewhere in what is shown of it."""
        c = self.conversation
        tunnel = "" if c.tunnel is None else f"{c.tunnel.protocol} {c.tunnel.server_name or ''}"
        shown = (c.client, process(c), c.proxy, c.username or "", c.destination or "", self.result, tunnel)
        text = " ".join(map(str, shown)).lower()
        return all(word in text for word in words)


ORDERS: dict[str, Callable[[Entry], Any]] = {
    "start": lambda entry: -entry.conversation.start_ns,
    "octets": lambda entry: -(entry.sent + entry.received),
    "rate": lambda entry: -entry.rate,
    "seconds": lambda entry: -entry.conversation.duration,
    "client": lambda entry: entry.conversation.client,
    "proxy": lambda entry: entry.conversation.proxy,
    "destination": lambda entry: str(entry.conversation.destination or ""),
    "result": lambda entry: entry.result,
}
"""By what the board can be sorted, and how: what is most comes first."""


class Board:
    """Conversations as they come and go, and the part of them that is to be shown.

    Attributes:
        order: name of the order, of ORDERS.
        backwards: the order is turned round.
        filter: words that must all be in what is shown of a conversation.
        outcomes: how many conversations have ended how.
    """

    def __init__(self) -> None:
        self.order = "start"
        self.backwards = False
        self.filter = ""
        self.outcomes: Counter[str] = Counter()
        self._open: dict[Key, Entry | None] = {}
        self._ended: dict[Key, Entry] = {}
        self._frozen: list[Entry] | None = None

    @property
    def open(self) -> int:
        """How many conversations are open."""
        return len(self._open)

    @property
    def paused(self) -> bool:
        return self._frozen is not None

    def pause(self, on: bool) -> None:
        """Keep what is shown as it is, whatever comes."""
        everything = [copy(entry) for entry in self._all()] if on else []
        self._frozen = everything if on else None

    def found(self, conversation: Conversation) -> None:
        """A conversation was found, or got further."""
        key = key_of(conversation)
        entry = self._open.get(key)
        if entry is not None:
            entry.conversation = conversation
        else:
            self._open[key] = Entry(conversation, True) if len(self._open) < OPEN or key in self._open else None

    def ended(self, conversation: Conversation) -> None:
        self._open.pop(key_of(conversation), None)
        self._ended[key_of(conversation)] = Entry(conversation, False)
        if len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]
        self.outcomes[conversation.outcome] += 1

    def newest(self, count: int) -> set[int]:
        """`tcp_stream` of the `count` open conversations found last."""
        return {stream for stream, _ in list(self._open)[-count:]}

    def update(self, conversations: Iterable[Conversation], seconds: float) -> None:
        """Open conversations as they are now, `seconds` after the last look at them."""
        for conversation in conversations:
            entry = self._open.get(key_of(conversation))
            if entry is not None:
                before = entry.sent + entry.received
                conversation.process = conversation.process or entry.conversation.process
                entry.conversation = conversation
                entry.rate = max(entry.sent + entry.received - before, 0) / seconds

    def entries(self) -> list[Entry]:
        """What is to be shown, in order; open ones before ended ones where the order does not tell them apart."""
        words = self.filter.lower().split()
        shown = [entry for entry in (self._all() if self._frozen is None else self._frozen) if entry.matches(words)]
        shown.sort(key=lambda entry: (not entry.open, -entry.conversation.start_ns))
        shown.sort(key=ORDERS[self.order], reverse=self.backwards)
        return shown

    def _all(self) -> list[Entry]:
        return [*(entry for entry in self._open.values() if entry is not None), *self._ended.values()]
