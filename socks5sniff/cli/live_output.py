"""Where `live` writes lines and records: standard output, or files that are appended to.

Writing never waits: a reader who does not read holds up neither the capture nor its end, and a full disk is waited for
while all else goes on.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO

from socks5sniff.capture.creating import Owner, open_to_write
from socks5sniff.errors import OutputError
from socks5sniff.live.behind import BehindFile
from socks5sniff.live.rotation import Rotation, Series

BEHIND_OCTETS = 256 << 20
"""Octets that may wait for the disk or the reader; what comes beyond that is left out, and counted."""


class LiveOutput:
    """A text stream; see `sinks.Writer`.

    Attributes:
        lost: lines that were left out.
        encoding: of the text; what it does not have is escaped.
    """

    def __init__(self, begin: Callable[[], BehindFile], encoding: str, say: Callable[[str], None]) -> None:
        """Begins the first file.

        Args:
            begin: opens the file, and the next one after `follow`.
            encoding: of the text.
            say: told of a full disk, and of space that is there again.

        Raises:
            OutputError: the file cannot be opened.
        """
        self.lost = 0
        self._begin = begin
        self.encoding = encoding
        self._say = say
        self._text: list[str] = []
        self._file = begin()
        self._ended: list[BehindFile] = []
        self._stalled = False

    @property
    def name(self) -> str:
        """For messages."""
        return self._file.name

    @property
    def is_terminal(self) -> bool:
        return os.isatty(self._file.fileno())

    @property
    def is_file(self) -> bool:
        """It is a regular file: nobody waits for its lines."""
        return stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    @property
    def octets(self) -> int:
        """Written to the present file, and to be written."""
        return self._file.tell()

    @property
    def waiting(self) -> int:
        """Octets that are not written yet."""
        return sum(file.waiting for file in (*self._ended, self._file))

    def isatty(self) -> bool:
        return self.is_terminal

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> None:
        """Whole lines are written out with the next `flush`."""
        self._text.append(text)

    def flush(self) -> None:
        """Have everything written.

        Raises:
            BrokenPipeError: the reader has gone away.
            OutputError: something could not be written.
        """
        with self._failures():
            if self._text and self.waiting > BEHIND_OCTETS:
                self.lost += sum(text.count("\n") for text in self._text)
                self._text.clear()
            elif self._text:
                self._file.write("".join(self._text).encode(self.encoding, "backslashreplace"))
                self._text.clear()
            self._file.flush()
        self._tell()

    def follow(self) -> None:
        """End the file, and begin the next.

        Raises:
            OutputError: it cannot be opened; then the present one stays.
        """
        self.flush()
        following = self._begin()
        self._file.close()
        self._ended.append(self._file)
        self._file = following
        with self._failures():
            self._ended = [file for file in self._ended if not file.join(0)]

    def close(self, waits: Callable[[], bool]) -> None:
        """Write all that is left.

        Args:
            waits: asked again and again whether to wait for a reader who does not read.

        Raises:
            BrokenPipeError: the reader has gone away.
            OutputError: something could not be written.
        """
        self.flush()
        self._file.close()
        for file in (*self._ended, self._file):
            file.hurry()
            with self._failures():
                while not file.join(0.05):
                    if not waits():
                        raise OutputError(f"{file.name}: {file.waiting:,} octets are left unwritten, nobody reads them")
        if self.lost:
            raise OutputError(f"{self.name}: {self.lost:,} lines were left out, it could not be written for too long")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            left = f", {self.waiting:,} octets are left unwritten" if self.waiting else ""
            raise OutputError(f"{self.name}: {error.strerror or error}{left}") from error

    def _tell(self) -> None:
        stalled = self._file.stalled
        if bool(stalled) != self._stalled:
            self._stalled = bool(stalled)
            if stalled:
                self._say(f"{self.name}: {stalled}; what is to be written waits for space")
            else:
                self._say(f"{self.name}: there is space again")


class RecordFiles:
    """The files of `-o`: appended to, cut by a rotation, opened again.

    Attributes:
        output: writes them.
    """

    def __init__(
        self, path: str, rotation: Rotation, private: bool, owner: Owner | None, say: Callable[[str], None]
    ) -> None:
        """Raises OutputError where the file cannot be opened."""
        self._series = Series(path, rotation)
        self._rotation = rotation
        self._private = private
        self._owner = owner
        self._began = time.time()
        self.output = LiveOutput(self._open, "utf-8", say)

    def look(self) -> None:
        """Begin a new file where it is time to; called some ten times a second."""
        if self._rotation.due(self.output.octets, time.time() - self._began):
            self.output.follow()

    def reopen(self) -> None:
        """Begin a new file, or open the one of that name again, which somebody may have moved away."""
        self.output.follow()

    def _open(self) -> BehindFile:
        self._began = time.time()
        path = str(self._series.next(time.time_ns()))
        file = BehindFile(open_to_write(path, private=self._private, append=True, owner=self._owner), path)
        self._series.tidy()
        return file


def standard_output(say: Callable[[str], None], descriptor: int = 1) -> LiveOutput:
    """Standard output, or (2) standard error.

    Raises:
        OutputError: it is closed.
    """
    stream = sys.stdout if descriptor == 1 else sys.stderr
    name = "standard output" if descriptor == 1 else "standard error"
    if stream is None:
        raise OutputError(f"{name}: it is closed")
    stream.flush()
    encoding = stream.encoding if stream.isatty() else "utf-8"
    return LiveOutput(lambda: BehindFile(FileIO(os.dup(descriptor), "wb"), name), encoding, say)
