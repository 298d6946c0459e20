"""Records that stay with the workers that made them until they have their numbers, and are written there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.numbering import Numbering
from socks5sniff.analysis.reading import Keeper as ReadingKeeper
from socks5sniff.record.batch import Batch

from .messages import Order, Written


class Keeper(ReadingKeeper, Protocol):
    """Who keeps how far a reading has come, what its workers have written included."""

    def writing(self) -> None:
        """They are about to write."""

    def wrote(self, names: Sequence[str]) -> None:
        """These files are whole."""


class _Part(NamedTuple):
    """A stretch whose records wait for their numbers."""

    stretch: int
    order: Order
    places: list[int]
    last: int


class Parts:
    """The second round of stretches whose records have stayed.

    Args:
        ask: has a stretch write, see `Stretch.write`.
        forget: a stretch is not needed any more.
        most: so many may be about to write.
        wrote: is told what has come of it, see `Writer`.
        keeper: is told before.
    """

    def __init__(
        self,
        ask: Callable[[int, Order, NDArray[np.int64]], Future[Written]],
        forget: Callable[[int], None],
        most: int,
        wrote: Callable[[Sequence[Any]], None] | None,
        keeper: Keeper | None,
    ) -> None:
        self._ask = ask
        self._forget = forget
        self._most = most
        self._wrote = wrote
        self._keeper = keeper
        self._waiting: deque[_Part] = deque()
        self._writing: deque[tuple[_Part, int, Future[Written]]] = deque()

    def add(self, stretch: int, order: Order, places: list[int]) -> None:
        """The records of these places, which the numbering expects, have stayed with a stretch."""
        self._waiting.append(_Part(stretch, order, places, max(places)))

    def written(self, numbering: Numbering, whole: bool = False) -> Iterator[tuple[int, Batch]]:
        """Have those written that have their numbers.

        Args:
            whole: wait until it is done, and have those without numbers given to the numbering.

        Yields:
            Of each stretch how many records had their numbers, and those of them that are left.
        """
        while self._waiting and (whole or numbering.number(self._waiting[0].last)):
            part = self._waiting.popleft()
            ids = np.array(numbering.numbered(part.places), np.int64)
            if self._keeper is not None:
                self._keeper.writing()
            self._writing.append((part, int(np.count_nonzero(ids)), self._ask(part.stretch, part.order, ids)))
        while self._writing and (whole or len(self._writing) > self._most or self._writing[0][2].done()):
            part, count, future = self._writing.popleft()
            found = future.result()
            self._forget(part.stretch)
            if self._wrote is not None:
                self._wrote(found.results)
            numbering.finish(found.unnumbered)
            yield count, found.left
