"""A pipe that is read by a thread of its own, as fast as it is written: who writes into it need not wait for us."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque

GATHER = 0.08
"""Seconds for which octets are gathered while there are few."""
MANY = 1 << 20
"""Octets that are not gathered any longer."""

_F_SETPIPE_SZ = 1031
_PIPE = 1 << 20
"""Octets of a pipe, which unprivileged programs may ask for unless the system says otherwise (pipe(7))."""


class Drain:
    """Octets that have come and were not taken yet.

    Attributes:
        held_up: the writer had to wait because too much was not taken.
    """

    def __init__(self, descriptor: int, limit: int) -> None:
        """Reads from `descriptor` with the first `take`, `limit` octets ahead at most."""
        self.held_up = False
        self._descriptor = descriptor
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._ended = self._discards = False
        self._last = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        if sys.platform.startswith("linux"):
            import fcntl

            try:
                fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)
            except OSError:
                return  # a user with many pipes may not

    def take(self, seconds: float) -> bytes | None:
        """What has come; waits for so long. None where nothing came, empty at the end."""
        self._start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._pieces or self._ended, seconds):
                return None
            rest = self._last + GATHER - time.monotonic()
            self._changed.wait_for(lambda: self._waiting >= MANY or self._ended, max(rest, 0))
            octets = b"".join(self._pieces)
            self._pieces.clear()
            self._waiting = 0
            self._changed.notify_all()
        self._last = time.monotonic()
        return octets

    def discard(self) -> None:
        """Nothing more will be taken; the writer can write to its end."""
        with self._changed:
            self._discards = True
            self._changed.notify_all()
        self._start()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        while octets := self._read():
            with self._changed:
                if self._waiting >= self._limit and not self._discards:
                    self.held_up = True
                    self._changed.wait_for(lambda: self._waiting < self._limit or self._discards)
                if not self._discards:
                    self._pieces.append(octets)
                    self._waiting += len(octets)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, _PIPE)
        except OSError:
            return b""
