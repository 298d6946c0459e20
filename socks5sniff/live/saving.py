"""Writing what is captured to pcapng files while it is analysed.

Frames are held back for a moment before they are written: that a conversation is SOCKS, and what comes of it, is
known a few packets after its first one, which is to carry the comment. What is written is readable at any time. A
thread writes it: a disk that is too slow costs frames of the file, which are counted, and none of the analysis.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from time import localtime, strftime

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import FrameBatch, Interface
from ..capture.writer import Blocks, PcapngWriter
from ..errors import OutputError
from .behind import BehindFile
from .engine import Counts

HOLD = 500_000_000
"""Nanoseconds that frames are held back."""
HOLD_OCTETS = 64 << 20
"""Octets held back at most; then the oldest are written sooner."""
BEHIND_OCTETS = 256 << 20
"""Octets that the disk may be behind."""


Wanted = Callable[[], Collection[int]]


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to begin a new file, and how many to keep; 0 for never, and for all.

    Attributes:
        size: octets of a file, about.
        seconds: age of a file.
        keep: files to keep; older ones of this capture are deleted.
    """

    size: int = 0
    seconds: float = 0
    keep: int = 0

    @property
    def active(self) -> bool:
        return bool(self.size or self.seconds)


@dataclass(slots=True)
class _Held:
    """A batch that waits to be written."""

    blocks: Blocks
    first_number: int
    taken: int
    streams: NDArray[np.int64] | None
    comments: dict[int, Callable[[], str]] = field(default_factory=dict)


class Saving:
    """The file or files of one capture.

    Attributes:
        frames: how many have been written.
        lost: how many have not, because the disk was too slow.
        files: how many have been begun.
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
        complain: Callable[[OutputError], None],
    ) -> None:
        """Begins the first file, readable by its owner only.

        Args:
            path: of the file; with a rotation, number and time come before its ending.
            interfaces: of the batches to come.
            snaplen: octets at which frames are cut.
            rotation: when to begin a new one.
            counts: gives the interfaces' counts, for the end of a file.
            now: nanoseconds since 1970.
            complain: told when nothing more can be written.

        Raises:
            OutputError: the first file cannot be written.
        """
        self.frames = self.lost = self.files = 0
        self.failure: OutputError | None = None
        self._path = Path(path)
        self._interfaces = interfaces
        self._snaplen = snaplen
        self._rotation = rotation
        self._counts = counts
        self._complain = complain
        self._names: deque[Path] = deque()
        self._held: deque[_Held] = deque()
        self._held_octets = 0
        self._base: Sequence[Counts | None] = ()
        self._closing: list[BehindFile] = []
        self._begin(now)

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._names[-1]

    @property
    def folder(self) -> Path:
        return self._path.absolute().parent

    def give_to(self, uid: int, gid: int) -> None:
        """Make the file another user's."""
        os.fchown(self._file.fileno(), uid, gid)

    def take(self, batch: FrameBatch, now: int, streams: NDArray[np.int64] | None = None) -> None:
        """Take a copy of a batch.

        Args:
            batch: the frames.
            now: nanoseconds since 1970.
            streams: the number of the stream each frame belongs to, by which `write` selects; None to keep all.
        """
        if self.failure is None and len(batch):
            blocks = self._writer.blocks(batch)
            self._held.append(_Held(blocks, batch.first_number, now, streams))
            self._held_octets += len(blocks.octets)

    def comment(self, frame: int, text: Callable[[], str]) -> None:
        """Comment the frame of that number, if it is still held back; a later comment replaces an earlier one.

        Args:
            frame: its number.
            text: gives the comment when the frame is written.
        """
        for held in reversed(self._held):
            row = frame - held.first_number
            if row >= 0:
                if row < len(held.blocks.starts):
                    held.comments[row] = text
                return

    def write(self, now: int, wanted: Wanted = frozenset, everything: bool = False) -> None:
        """Write what has been held back long enough, or everything.

        Args:
            now: nanoseconds since 1970.
            wanted: gives the streams whose frames are written, where `take` was told streams.
            everything: hold nothing back.
        """
        try:
            while self._held and self.failure is None:
                held = self._held[0]
                if not everything and held.taken > now - HOLD and self._held_octets <= HOLD_OCTETS:
                    break
                self._held.popleft()
                self._held_octets -= len(held.blocks.octets)
                self._write(held, wanted)
                self._rotate(now)
            if self.failure is None:
                self._writer.flush()
                self._rotate(now)
        except OutputError as error:
            self._fail(error)

    def close(self, now: int, wanted: Wanted = frozenset) -> None:
        """Write all that is held back, and end the file."""
        self.write(now, wanted, everything=True)
        if self.failure is None:
            try:
                self._finish(now)
            except OutputError as error:
                self._fail(error)
        self._join(wait=True)

    def sync(self) -> None:
        """Wait until the file holds all that was written."""
        self._file.sync()

    def _begin(self, now: int) -> None:
        path = self._path
        if self._rotation.active:
            stamp = strftime("%Y%m%d%H%M%S", localtime(now / 1e9))
            path = path.with_name(f"{path.stem}_{self.files + 1:05d}_{stamp}{path.suffix}")
        try:
            raw = FileIO(str(path), "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
            if hasattr(os, "fchmod"):
                os.fchmod(raw.fileno(), 0o600)  # the file may have been there with another mode
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}") from error
        self._file = BehindFile(raw)
        self._names.append(path)
        self.files += 1
        self._began = now
        self._writer = PcapngWriter(self._file)
        self._writer.add_interfaces(self._interfaces, self._snaplen)
        while self._rotation.keep and len(self._names) > self._rotation.keep:
            with contextlib.suppress(OSError):
                self._names.popleft().unlink()

    def _write(self, held: _Held, wanted: Wanted) -> None:
        kept = None
        if held.streams is not None:
            streams = wanted()
            kept = np.isin(held.streams, np.fromiter(streams, np.int64, len(streams)))
        count = len(held.blocks.starts) if kept is None else int(kept.sum())
        if self._file.waiting > BEHIND_OCTETS:
            self.lost += count
        else:
            self._writer.write_blocks(held.blocks, {row: text() for row, text in held.comments.items()}, kept)
            self.frames += count

    def _rotate(self, now: int) -> None:
        if self._due(now):
            self._finish(now)
            self._join(wait=False)
            self._begin(now)

    def _due(self, now: int) -> bool:
        size, seconds = self._rotation.size, self._rotation.seconds
        return bool((size and self._file.tell() >= size) or (seconds and now - self._began >= seconds * 1e9))

    def _finish(self, now: int) -> None:
        """End the file with what each interface received and dropped while it was written."""
        counts = self._counts()
        for index, count in enumerate(counts):
            before = self._base[index] if self._base else None
            if count is not None:
                received, dropped = (count.received, count.dropped)
                if before is not None:
                    received, dropped = received - before.received, dropped - before.dropped
                self._writer.statistics(index, now, received, dropped, self._began)
        self._base = counts
        self._writer.close()
        self._closing.append(self._file)

    def _join(self, wait: bool) -> None:
        """See how files that were closed have ended: those that have, or all of them."""
        for file in [file for file in self._closing if wait or not file.waiting]:
            self._closing.remove(file)
            try:
                file.join()
            except OSError as error:
                self._fail(OutputError(f"{file.name}: cannot be written: {error.strerror}"))

    def _fail(self, error: OutputError) -> None:
        """Nothing more is written. The file ends with its last whole block, so that it stays readable."""
        if self.failure is None:
            self.failure = error
            self._complain(error)
        self._held.clear()
        self._file.close()
