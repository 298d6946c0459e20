"""One capture file that is being written, and how many frames really are in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import FrameBatch, Interface
from ..capture.writer import Blocks, PcapngWriter, PcapWriter
from .behind import BehindFile, RawFile
from .engine import Counts


def writer_class(name: str) -> type[PcapngWriter] | type[PcapWriter]:
    """What writes a file of that name: pcap where it ends so, pcapng otherwise."""
    return PcapWriter if name.lower().endswith(".pcap") else PcapngWriter


class CaptureFile:
    """Writes frames behind the caller's back; see `BehindFile`.

    Attributes:
        name: the file's.
        began: nanoseconds since 1970.
        frames: how many are in the file, as far as `settle` has looked.
    """

    def __init__(self, file: RawFile, name: str, interfaces: Sequence[Interface], snaplen: int, now: int) -> None:
        """Begins the file.

        Raises:
            OutputError: the format cannot hold frames of these interfaces.
        """
        self.name = name
        self.began = now
        self.frames = 0
        self._behind = BehindFile(file, name)
        self._writer = writer_class(name)(self._behind)
        self._writer.add_interfaces(interfaces, snaplen)
        self._marks: deque[tuple[int, int]] = deque()
        """Where pieces end, and how many frames they hold."""

    @property
    def octets(self) -> int:
        """Its size when all is written."""
        return self._behind.tell()

    @property
    def waiting(self) -> int:
        """Octets that are not in the file yet."""
        return self._behind.waiting

    @property
    def stalled(self) -> str | None:
        """Why nothing can be written at the moment."""
        return self._behind.stalled

    @property
    def unsettled(self) -> int:
        """Frames that are not in the file yet."""
        return sum(count for _, count in self._marks)

    def blocks(self, batch: FrameBatch) -> Blocks:
        """A batch's frames as they will stand in the file, or in one that follows it."""
        return self._writer.blocks(batch)

    def fileno(self) -> int:
        return self._behind.fileno()

    def write(self, blocks: Blocks, comments: Mapping[int, str], kept: NDArray[np.bool_] | None, count: int) -> None:
        """Write `count` frames of a batch; see `PcapngWriter.write_blocks`.

        Raises:
            OutputError: earlier ones could not be written.
        """
        self._writer.write_blocks(blocks, comments, kept)
        self._marks.append((self._behind.tell(), count))

    def flush(self) -> None:
        """Raises OutputError where something could not be written."""
        self._writer.flush()

    def sync(self) -> None:
        """Wait until all is written, or cannot be."""
        self._behind.sync()

    def settle(self) -> int:
        """How many frames have come into the file since the last call."""
        settled = 0
        while self._marks and self._marks[0][0] <= self._behind.written:
            settled += self._marks.popleft()[1]
        self.frames += settled
        return settled

    def finish(self, now: int, counts: Sequence[Counts | None]) -> None:
        """End the file with what each interface received and dropped meanwhile; see `join`.

        Raises:
            OutputError: something could not be written.
        """
        for index, count in enumerate(counts):
            if count is not None:
                self._writer.statistics(index, now, count.received, count.dropped, self.began)
        self._writer.close()

    def abandon(self) -> None:
        """Write nothing more; see `join`."""
        self._behind.close()

    def hurry(self) -> None:
        """Space on a full disk is waited for no longer."""
        self._behind.hurry()

    def join(self, waits: Callable[[], bool]) -> bool:
        """Whether the file is closed; asks again and again whether to wait for that.

        Raises:
            OSError: something could not be written.
        """
        while not self._behind.join(0.05):
            if not waits():
                return False
        return True
