"""Writing what is captured to files while it is analysed.

What is written is readable at any time. A thread writes it: a disk that is too slow costs frames of the file, which
are counted, and none of the analysis. A full disk is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import FrameBatch, Interface
from ..capture.creating import Owner, open_to_write
from ..errors import OutputError
from .behind import RawFile
from .capture_file import CaptureFile
from .engine import Counts
from .holding import Held, Holding
from .rotation import Rotation, Series

BEHIND_OCTETS = 256 << 20
"""Octets that the disk may be behind."""

Wanted = Callable[[], Collection[int]]


class Saving:
    """The file or files of one capture.

    Attributes:
        frames: how many are in the files.
        lost: how many are not, because the disk was too slow or full.
        series: the files' names.
        failure: why nothing more is written, None as long as all is well.
    """

    def __init__(
        self,
        path: str,
        interfaces: Sequence[Interface],
        snaplen: int,
        rotation: Rotation,
        counts: Callable[[], Sequence[Counts | None]],
        now: int,
        say: Callable[[str], None],
        owner: Owner | None = None,
    ) -> None:
        """Begins the first file, readable by its owner only.

        Args:
            path: of the file, `-` for standard output; what ends in .pcap is pcap, all else pcapng.
            interfaces: of the batches to come.
            snaplen: octets at which frames are cut.
            rotation: when to begin a new one.
            counts: gives the interfaces' counts, for the end of a file.
            now: nanoseconds since 1970.
            say: told when frames cannot be written, and when they can be again.
            owner: whose the files are to be.

        Raises:
            OutputError: the first file cannot be written, or cannot hold these frames.
        """
        self.frames = self.lost = 0
        self.failure: OutputError | None = None
        self.series = Series(path, rotation)
        self._path = path
        self._rotation = rotation
        self._described = (interfaces, snaplen, owner)
        self._counts = counts
        self._say = say
        self._holding = Holding()
        self._ended: list[CaptureFile] = []
        self._base: Sequence[Counts | None] = ()
        self._stalled = False
        self._begin(now)

    @property
    def path(self) -> str:
        """The file that is being written."""
        return self._file.name

    @property
    def folder(self) -> Path:
        return Path(self._path).absolute().parent

    @property
    def waiting(self) -> int:
        """Octets that the disk is behind."""
        return sum(file.waiting for file in (*self._ended, self._file))

    def take(self, batch: FrameBatch, now: int, streams: NDArray[np.int64] | None = None) -> None:
        """Take a copy of a batch.

        Args:
            batch: the frames.
            now: nanoseconds since 1970.
            streams: the number of the stream each frame belongs to, by which `write` selects; None to keep all.
        """
        if self.failure is not None:
            self.lost += len(batch) if streams is None else 0
        elif len(batch):
            self._holding.add(Held(self._file.blocks(batch), batch.first_number, now, streams))

    def comment(self, frame: int, text: Callable[[], str]) -> None:
        """Comment the frame of that number, if it is still held back; a later comment replaces an earlier one.

        Args:
            frame: its number.
            text: gives the comment when the frame is written.
        """
        self._holding.comment(frame, text)

    def write(self, now: int, wanted: Wanted = frozenset, everything: bool = False) -> None:
        """Write what has been held back long enough, or everything.

        Args:
            now: nanoseconds since 1970.
            wanted: gives the streams whose frames are written, where `take` was told streams.
            everything: hold nothing back.
        """
        if self.failure is not None:
            return
        try:
            self._file.flush()
            for held in self._holding.due(now, everything):
                self._write(held, wanted)
                self._rotate(now)
            self._file.flush()
            self._rotate(now)
        except OutputError as error:
            self._fail(error)
        self._settle()
        self._tell()

    def reopen(self, now: int) -> None:
        """Begin a new file, unless the one that is being written still is where it was begun."""
        if self.failure is not None or self._path == "-":
            return
        try:
            if not self._rotation.active and os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno())):
                return
        except OSError:
            pass  # it has been moved away
        try:
            self._follow(now)
        except OutputError as error:
            self._fail(error)

    def close(self, now: int, wanted: Wanted = frozenset, waits: Callable[[], bool] = lambda: True) -> None:
        """Write all that is held back, and end the file.

        Args:
            now: nanoseconds since 1970.
            wanted: see `write`.
            waits: asked again and again whether to wait for a disk or reader that is slow.
        """
        self.write(now, wanted, everything=True)
        try:
            if self.failure is None:
                self._finish(now)
        except OutputError as error:
            self._fail(error)
        for file in self._ended:
            file.hurry()
        self._join(waits)

    def sync(self) -> None:
        """Wait until the file holds all that was written."""
        self._file.sync()

    def _begin(self, now: int) -> None:
        interfaces, snaplen, owner = self._described
        name = str(self.series.next(now))
        file: RawFile = _stdout() if name == "-" else open_to_write(name, private=True, owner=owner)
        try:
            self._file = CaptureFile(file, "standard output" if name == "-" else name, interfaces, snaplen, now)
        except OutputError as error:
            file.close()
            raise OutputError(f"{name}: {error}") from None
        self.series.tidy()

    def _write(self, held: Held, wanted: Wanted) -> None:
        kept = None
        if held.streams is not None:
            streams = wanted()
            kept = np.isin(held.streams, np.fromiter(streams, np.int64, len(streams)))
        count = len(held.blocks.starts) if kept is None else int(kept.sum())
        if self.waiting > BEHIND_OCTETS:
            self.lost += count
        elif count:
            self._file.write(held.blocks, {row: text() for row, text in held.comments.items()}, kept, count)

    def _rotate(self, now: int) -> None:
        if self._rotation.due(self._file.octets, (now - self._file.began) / 1e9) and not self._file.stalled:
            self._follow(now)

    def _follow(self, now: int) -> None:
        """End the file, and begin another."""
        self._finish(now)
        self._join(lambda: False)
        self._begin(now)
        self._file.flush()

    def _finish(self, now: int) -> None:
        """End the file with what each interface received and dropped while it was written."""
        counts = self._counts()
        self._ended.append(self._file)
        self._file.finish(now, [_since(count, before) for count, before in _pairs(counts, self._base)])
        self._base = counts

    def _join(self, waits: Callable[[], bool]) -> None:
        """See how files that were closed have ended: those that have, or all of them."""
        for file in [*self._ended]:
            try:
                if not file.join(waits):
                    continue
            except OSError as error:
                self._fail(OutputError(f"{file.name}: cannot be written: {error.strerror}"), error)
            self._ended.remove(file)
            self.frames += file.settle()
            self.lost += file.unsettled

    def _settle(self) -> None:
        self.frames += sum(file.settle() for file in (*self._ended, self._file))

    def _tell(self) -> None:
        """Of a disk that is full, and of space that is there again."""
        stalled = self._file.stalled
        if bool(stalled) != self._stalled and self.failure is None:
            self._stalled = bool(stalled)
            if stalled:
                self._say(f"{self.path}: {stalled}; saving waits for space, the analysis goes on")
            else:
                self._say(f"{self.path}: there is space again, saving goes on")

    def _fail(self, error: OutputError, cause: BaseException | None = None) -> None:
        """Nothing more is written. The file ends with its last whole block, so that it stays readable.

        Raises:
            BrokenPipeError: the reader of the file went away.
        """
        if self.failure is None:
            self.failure = error
            if not isinstance(cause or error.__cause__, BrokenPipeError):
                self._say(f"{error}; the analysis goes on, nothing more is saved")
        self.lost += self._holding.clear()
        if self._file not in self._ended:
            self._ended.append(self._file)
            self._file.abandon()


def _stdout() -> RawFile:
    """Standard output, for a thread that may still write to it when all else has ended."""
    return FileIO(os.dup(1), "wb")


def _pairs(
    counts: Sequence[Counts | None], before: Sequence[Counts | None]
) -> list[tuple[Counts | None, Counts | None]]:
    return [*zip(counts, before or [None] * len(counts), strict=True)]


def _since(count: Counts | None, before: Counts | None) -> Counts | None:
    if count is None or before is None:
        return count
    return Counts(count.received - before.received, count.dropped - before.dropped)
