"""The one value every capture source produces: a batch of frames as columns.

A batch holds about 16,000 frames (fewer where a pipe runs dry), so that its columns stay in cache.
No Python object is made per frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

INTERFACE_LIMIT = 65_536
"""Interfaces of one reading: a frame's interface is a 16-bit number."""


class Interface(NamedTuple):
    """One interface of one capture: what a frame needs to be understood."""

    capture: str
    """Name of the capture file as the user gave it, `-` for standard input, or the live interface's name."""
    name: str
    """Interface name, empty where the file does not tell."""
    link_type: int
    """LINKTYPE_ value (https://www.tcpdump.org/linktypes.html), not a platform's DLT_ value."""


class Process(NamedTuple):
    """A process that a capture names as one end of its frames."""

    pid: int
    name: str


@dataclass(slots=True, eq=False, repr=False)
class FrameBatch:
    """Frames as parallel columns of equal length n.

    Attributes:
        octets: uint8, 1-D: the memory that the frames lie in. Valid only until the next batch is asked for:
            whoever keeps octets longer copies them.
        offset: int64[n], where each frame starts in `octets`.
        captured: int64[n], octets of the frame that are there. `offset + captured <= len(octets)` always holds.
        length: int64[n], octets of the frame on the wire (never less than `captured`).
        time: int64[n], nanoseconds since 1970-01-01 UTC, as the file says (may go backwards).
        first_number: number of the first frame, from 1, counted over the whole reading; the others follow it.
        interface: uint16[n], index into `interfaces`.
        interfaces: all interfaces known so far; grows, never changes.
        process: int32[n], the process that each frame belongs to: `processes[k]` sent it where the number is k,
            received it where it is -k, 0 where that is not known. None where the capture names no processes.
        processes: all processes known so far; grows, never changes. The first is none.
    """

    octets: NDArray[np.uint8]
    offset: NDArray[np.int64]
    captured: NDArray[np.int64]
    length: NDArray[np.int64]
    time: NDArray[np.int64]
    first_number: int
    interface: NDArray[np.uint16]
    interfaces: list[Interface]
    process: NDArray[np.int32] | None = None
    processes: list[Process] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offset)

    def frame(self, row: int) -> bytes:
        """A copy of one frame's captured octets."""
        start = int(self.offset[row])
        return self.octets[start : start + int(self.captured[row])].tobytes()
