"""A file that is written by a thread of its own: a disk that stalls does not hold up who writes."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from io import FileIO


class BehindFile:
    """What is used of a binary file that is open for writing.

    Each `write` is one piece: a file that cannot be written any more is cut behind its last whole piece.

    Attributes:
        name: the file's.
        waiting: octets that are not in the file yet.
    """

    def __init__(self, file: FileIO) -> None:
        self.name = file.name
        self.waiting = 0
        self._file = file
        self._position = 0
        self._error: OSError | None = None
        self._pieces: queue.SimpleQueue[bytes | memoryview | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, piece: bytes | memoryview) -> int:
        """Have octets written; they must not change any more.

        Raises:
            OSError: earlier ones could not be.
        """
        self.flush()
        with self._changed:
            self.waiting += len(piece)
        self._position += len(piece)
        self._pieces.put(piece)
        return len(piece)

    def flush(self) -> None:
        """Does not wait.

        Raises:
            OSError: what was to be written could not be.
        """
        if self._error is not None:
            raise self._error

    def tell(self) -> int:
        """Octets that were to be written so far."""
        return self._position

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        """Close the file as soon as all is written; see `join`."""
        self._pieces.put(None)

    def sync(self) -> None:
        """Wait until all is written, or cannot be."""
        with self._changed:
            self._changed.wait_for(lambda: not self.waiting)

    def join(self) -> None:
        """After `close`: wait until the file is closed.

        Raises:
            OSError: something could not be written.
        """
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        good = 0
        while (piece := self._pieces.get()) is not None:
            if self._error is None:
                try:
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[self._file.write(rest) or 0 :]
                    good += len(piece)
                except OSError as error:
                    self._error = error
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._file.fileno(), good)
            with self._changed:
                self.waiting -= len(piece)
                self._changed.notify_all()
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error
