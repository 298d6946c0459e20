"""A file that is written by a thread of its own: nothing that holds up the file holds up who writes.

A disk that is slow, a disk that is full and a reader who does not read are waited for, there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import stat
import threading
from typing import Protocol

RETRY = 0.5
"""Seconds between tries while a disk is full."""

_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


class RawFile(Protocol):
    """What is used of an unbuffered binary file that is open for writing; a regular one with O_APPEND."""

    def write(self, octets: memoryview, /) -> int | None: ...
    def fileno(self) -> int: ...
    def close(self) -> object: ...


class BehindFile:
    """What is used of a binary file that is open for writing.

    Each `write` is one piece: a file that cannot be written any more ends with a whole piece. The thread starts with
    the first `flush`: until then the program can still give up rights, which belong to each thread. What was written
    before is what the file begins with, also when somebody else has emptied it (as logrotate's copytruncate does).

    Attributes:
        name: the file's.
        waiting: octets that are not in the file yet.
        written: octets of the pieces that are in the file.
        stalled: why nothing can be written at the moment, None when all is well.
    """

    def __init__(self, file: RawFile, name: str) -> None:
        self.name = name
        self.waiting = self.written = 0
        self.stalled: str | None = None
        self._file = file
        self._opening = b""
        self._error: OSError | None = None
        self._pieces: queue.SimpleQueue[bytes | memoryview | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def write(self, piece: bytes | memoryview) -> int:
        """Have octets written; they must not change any more.

        Raises:
            OSError: earlier ones could not be.
        """
        self._check()
        if self._thread.ident is None:
            self._opening += piece
        with self._changed:
            self.waiting += len(piece)
        self._pieces.put(piece)
        return len(piece)

    def flush(self) -> None:
        """Have it written from now on; does not wait.

        Raises:
            OSError: what was to be written could not be.
        """
        self._start()
        self._check()

    def tell(self) -> int:
        """Octets that were to be written so far."""
        return self.written + self.waiting

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        """Close the file as soon as all is written; see `join`."""
        self._pieces.put(None)
        self._start()

    def hurry(self) -> None:
        """From now on a disk that is full is not waited for: what cannot be written is left out."""
        self._leaving.set()

    def sync(self) -> None:
        """Wait until all is written, or cannot be."""
        self._start()
        with self._changed:
            self._changed.wait_for(lambda: not self.waiting)

    def join(self, seconds: float | None = None) -> bool:
        """After `close`: wait until the file is closed, or for so long; whether it is.

        Raises:
            OSError: something could not be written.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        self._check()
        return True

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is None:
                try:
                    self._put(piece)
                except OSError as error:
                    self._error = error
            with self._changed:
                self.waiting -= len(piece)
                if self._error is None:
                    self.written += len(piece)
                self._changed.notify_all()
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error

    def _put(self, piece: bytes | memoryview) -> None:
        """Write a piece whole, or not at all."""
        if self._opening and self.written and _size(self._file) == 0:
            piece = b"".join((self._opening, piece))
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[self._file.write(rest) or self._pause() :]
            except OSError as error:
                _cut(self._file, len(piece) - len(rest))
                if error.errno not in _FULL or self._leaving.is_set():
                    raise
                self.stalled = error.strerror
                rest = memoryview(piece)
                self._leaving.wait(RETRY)
        self.stalled = None

    def _pause(self) -> int:
        """Somebody else has made the file not wait."""
        self._leaving.wait(0.01)
        return 0


def _size(file: RawFile) -> int | None:
    """Of a regular file."""
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _cut(file: RawFile, octets: int) -> None:
    """Take back the last octets that were written, where that can be."""
    size = _size(file)
    if octets and size is not None:
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), max(size - octets, 0))
