"""What the capture tells, for any number of browsers: a ring of batches that each of them reads at its own pace.

A browser has no queue of its own, only a place in the ring. One that is slower than the capture finds its place
overwritten and is told how many conversations it missed; the capture never waits.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEPT = 32 * 1024 * 1024
"""Octets of batches in the ring: some 20,000 conversations."""
_OVERHEAD = 200
PACE = 1.0
"""Seconds between two lists of open conversations for one browser."""
HEARTBEAT = 10.0
"""Seconds without an event after which a comment is sent, which finds out that a browser is gone."""

_dumps = json.JSONEncoder(separators=(",", ":"), default=str).encode


@dataclass(frozen=True, slots=True)
class _Batch:
    before: int
    """Conversations in all batches before it."""
    end: int
    """Conversations up to its own end, which is also its event's id."""
    event: bytes


class Publisher:
    """Where the capture's thread puts what browsers are to see; `events` is for the server's thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._batches: deque[_Batch] = deque()
        self._size = 0
        self._told = 0
        self._open: tuple[float, Sequence[Mapping[str, Any]]] = (0.0, ())
        self._health: Mapping[str, Any] = {}
        self._besides = b""
        self._closed = False
        self._listeners: set[_Listener] = set()

    def publish(
        self,
        records: Sequence[Mapping[str, Any] | str],
        open: Sequence[Mapping[str, Any]],
        health: Mapping[str, Any],
        besides: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell what is new; some ten times a second.

        Args:
            records: conversations that have ended since the last call, as `Conversation.as_dict()` gives them, or
                each as a line of JSON already, which costs a fraction.
            open: conversations that are open now, as far as they are known.
            health: figures of the capture: `packets` and `dropped` so far, `open` (conversations, also those that are
                not in the list), and whatever else there is.
            besides: `attempts` and `bypasses`, the newest first, with `all attempts` and `all bypasses`, how many
                there were; None where nothing has changed.
        """
        before, end = self._told, self._told + len(records)
        texts = [record if isinstance(record, str) else _dumps(record) for record in records]
        event = _event("records", f"[{','.join(texts)}]", end) if records else b""
        with self._lock:
            self._open, self._health = (time.monotonic(), open), health
            if besides is not None:
                self._besides = _event("besides", _dumps(besides))
            if records:
                self._batches.append(_Batch(before, end, event))
                self._told = end
                self._size += len(event) + _OVERHEAD
                while self._size > self._kept and len(self._batches) > 1:
                    self._size -= len(self._batches.popleft().event) + _OVERHEAD
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()

    def close(self) -> None:
        """The capture has ended: what is in the ring is still sent, then every stream ends."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()

    @property
    def watched(self) -> bool:
        """Whether a browser is there."""
        return bool(self._listeners)

    async def events(self, after: int) -> AsyncIterator[bytes]:
        """Events for one browser that has had `after` conversations (the id of its last batch), until the end."""
        listener = _Listener(asyncio.get_running_loop())
        with self._lock:
            self._listeners.add(listener)
        reader = _Reader(self, after)
        try:
            yield b": welcome\nretry: 1000\n\n"
            while True:
                closed = self._closed  # before the rest is told, so that nothing of it is missed
                for event in reader.state():
                    yield event
                while event := reader.batch():
                    yield event
                if closed:
                    yield _event("end", "{}")
                    return
                if not self._closed and not await listener.wait(HEARTBEAT):
                    yield b":\n\n"
        finally:
            with self._lock:
                self._listeners.discard(listener)


class _Listener:
    """Wakes a browser's coroutine from another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        self._event.clear()
        return True


class _Reader:
    """One browser's place in the ring."""

    def __init__(self, publisher: Publisher, after: int) -> None:
        self._publisher = publisher
        self._after = after if after <= publisher._told else 0
        self._last_state = 0.0
        self._besides = b""

    def batch(self) -> bytes:
        """The next batch's event, in front of it what was missed; empty when there is none."""
        with self._publisher._lock:
            batches = self._publisher._batches
            place = bisect_right(batches, self._after, key=_end)
            if place == len(batches):
                return b""
            batch = batches[place]
        missed = batch.before - self._after
        self._after = batch.end
        return (_event("missed", _dumps({"conversations": missed})) if missed > 0 else b"") + batch.event

    def state(self) -> list[bytes]:
        """Open conversations, health, and what is new besides, not more often than each PACE."""
        publisher = self._publisher
        now = time.monotonic()
        if now - self._last_state < PACE and not publisher._closed:
            return []
        self._last_state = now
        with publisher._lock:
            (then, conversations), health, besides = publisher._open, publisher._health, publisher._besides
        if not then:
            return []
        fresh = [] if besides is self._besides else [besides]
        self._besides = besides
        state = {"time": then, "count": health.get("open", len(conversations)), "conversations": conversations}
        return [_event("health", _dumps(health)), _event("current", _dumps(state)), *fresh]


def _end(batch: _Batch) -> int:
    return batch.end


def _event(kind: str, data: str, number: int | None = None) -> bytes:
    """One server-sent event; JSON has no line ends, so the data is one line."""
    identity = "" if number is None else f"id: {number}\n"
    return f"{identity}event: {kind}\ndata: {data}\n\n".encode()
