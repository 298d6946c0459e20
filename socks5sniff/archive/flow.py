"""Pieces on their way through the workers, to be taken one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.slices import Decoder, Slice
from socks5sniff.errors import InputError, Socks5sniffError
from socks5sniff.packets import secret
from socks5sniff.streams.flows import NO_TIME
from socks5sniff.streams.spaces import LINGER

from .messages import Inner, Order, Settings, Written
from .piece import Piece, Result, Task
from .plan import LARGE
from .sequel import Asks, Coming, Sequel

LOOK = 8
"""So many pieces at most, or two for each worker, are analysed before their turn, to see what packets still come."""


class Workers(Protocol):
    """Who analyses pieces."""

    def analyse(self, number: int, task: Task) -> Future[Result]:
        """Analyse a piece, under this number."""

    def ask(self, number: int, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of the `Stretch` that has this number."""

    def forget(self, number: int) -> None:
        """The stretch is not needed any more."""

    def close(self) -> None:
        """End them."""


class End(NamedTuple):
    """Where a piece has ended; see `Result`."""

    part: Slice | None
    rest: int
    decoder: Decoder | None
    fault: Socks5sniffError | None


class Ready(NamedTuple):
    """A piece that has been analysed."""

    number: int
    piece: Piece
    result: Result

    @property
    def end(self) -> End:
        """Where it has ended."""
        return End(self.piece.slice, self.result.rest, self.result.decoder, self.result.fault)


class Flow:
    """Pieces on their way through the workers.

    Attributes:
        ahead: so many are analysed at once.
        last: where the last one that was taken has ended.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        workers: Callable[[], Workers],
        ahead: int,
        settings: Settings,
        last: End | None = None,
    ) -> None:
        self.ahead = ahead
        self.last = last
        self._settings = settings
        self._pieces = deque(pieces)
        self._start = workers
        self._workers: Workers | None = None
        self._numbers = 0
        self._taken = 0
        self._analysing: deque[tuple[int, Piece, Future[Result]]] = deque()
        self._ready: deque[Ready] = deque()

    @property
    def workers(self) -> Workers:
        """They are started when there is something to do."""
        if self._workers is None:
            self._workers = self._start()
        return self._workers

    def next(self, sequel: Sequel) -> Ready | None:
        """The next piece, analysed so that it can follow what was taken; None at the end."""
        self._fetch(2)  # the next one may have to be merged with the one behind it
        if not self._ready:
            return None
        ready = self._ready.popleft()
        self._taken = 1
        self.last = ready.end
        if not sequel.fits(ready.result.outline):
            ready = self._again(ready.number, ready.piece, sequel.connections.flows.clock)
        return ready

    def coming(self, clock: int) -> Coming:
        """What follows, as far as last packets of what closed before `clock` may be in it, and as there is room."""
        for count in range(1, max(self.ahead, LOOK) + 1):
            self._fetch(count)
            whole = len(self._ready) < count or self._ready[-1].result.outline.first > clock + LINGER
            if whole:
                break
        return Coming([ready.result.outline for ready in self._ready], whole)

    def asks(self, ready: Ready) -> Asks:
        """What can be asked of who has analysed it."""

        def asked(method: str) -> Callable[..., Any]:
            return lambda *arguments: self.workers.ask(ready.number, method, *arguments).result()

        return Asks(asked("packets"), asked("state"), asked("every_datagram"))

    def finish(self, ready: Ready, order: Order) -> Future[Inner]:
        """Have its records made: then what it held is free for the next one."""
        finished: Future[Inner] = self.workers.ask(ready.number, "finish", order)
        self._taken = 0
        self._fill(self.ahead)
        return finished

    def write(self, number: int, order: Order, ids: NDArray[np.int64]) -> Future[Written]:
        """Have records written that have stayed there."""
        return self.workers.ask(number, "write", order, number, ids)

    def left(self) -> list[Piece]:
        """What has not been taken."""
        return [ready.piece for ready in self._ready] + [piece for _, piece, _ in self._analysing] + [*self._pieces]

    def forget(self, number: int) -> None:
        """It is over."""
        self.workers.forget(number)

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()

    def _fetch(self, count: int) -> None:
        """So many pieces are ready, if there are so many."""
        while len(self._ready) < count:
            self._fill(max(self.ahead, count + self._taken))
            if not self._analysing:
                return
            number, piece, future = self._analysing.popleft()
            ready = Ready(number, piece, future.result())
            if piece.begins and self._ready and _overlap(self._ready[-1], ready):
                self._ready.append(self._merged(self._ready.pop(), ready))
                continue
            following = self._following(self._ready[-1].end if self._ready else self.last, ready)
            if following is not None:
                self._ready.append(following)

    def _fill(self, count: int) -> None:
        """So many pieces are on their way or not finished, if there are so many."""
        while self._pieces and len(self._analysing) + len(self._ready) + self._taken < count:
            self._submit(self._pieces.popleft(), NO_TIME)

    def _merged(self, one: Ready, other: Ready) -> Ready:
        """Files that overlap, as one piece."""
        piece = one.piece.joined(other.piece)
        if one.piece.partial or other.piece.partial or piece.size > 4 * LARGE:
            names = " and ".join((one.piece.names[-1], other.piece.names[0]))
            raise InputError(f"{names} overlap in time more than several processes can merge: use --jobs 1")
        self.forget(one.number)
        return self._again(other.number, piece, NO_TIME)

    def _following(self, before: End | None, ready: Ready) -> Ready | None:
        """A slice that begins where the one before it has ended; None for one that lies behind damage."""
        part = ready.piece.slice
        if before is None or part is None or not part.begin or before.part is None:
            return ready
        if before.fault is not None:
            self.forget(ready.number)
            return None
        known = None if part.decoder is None else part.decoder.described
        if before.rest == part.begin and before.decoder is not None and before.decoder.described == known:
            return ready
        moved = part._replace(begin=before.rest, decoder=before.decoder)
        return self._again(ready.number, ready.piece._replace(slice=moved), NO_TIME)

    def _again(self, number: int, piece: Piece, clock: int) -> Ready:
        self.workers.forget(number)
        number, piece, future = self._submitted(piece, clock)
        return Ready(number, piece, future.result())

    def _submit(self, piece: Piece, clock: int) -> None:
        self._analysing.append(self._submitted(piece, clock))

    def _submitted(self, piece: Piece, clock: int) -> tuple[int, Piece, Future[Result]]:
        self._numbers += 1
        task = Task(piece, self._settings, clock, secret.key())
        return self._numbers, piece, self.workers.analyse(self._numbers, task)


def _overlap(one: Ready, other: Ready) -> bool:
    """Whether frames of one capture come behind the first one of another."""
    if not one.result.outline.frames:
        return False
    latest, first = one.result.outline.latest, other.piece.first
    return latest > first or (latest == first and max(one.piece.places) > min(other.piece.places))
