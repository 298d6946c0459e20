"""A piece of an archive: what is analysed as one stretch, by whichever process."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from socks5sniff import __version__
from socks5sniff.analysis.forms import Forms
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.merge import kept, open_captures
from socks5sniff.capture.slices import Decoder, Read, Slice, room
from socks5sniff.capture.slices import read as read_slice
from socks5sniff.capture.source import is_growing
from socks5sniff.errors import DamagedInputError, Socks5sniffError, VersionError
from socks5sniff.packets import secret
from socks5sniff.streams.flows import NO_TIME

from .messages import Outline, Settings
from .stretch import Stretch


class Piece(NamedTuple):
    """Files that are read as one, or a slice of one.

    Attributes:
        names: of the files, in the order in which they were given.
        places: of these among all.
        first: ns, of the first frame.
        size: octets of these files, as stored.
        slice: where it is only a part of a file.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    first: int
    size: int
    slice: Slice | None = None

    @property
    def octets(self) -> int:
        """How many are read."""
        return self.size if self.slice is None else self.slice.end - self.slice.begin

    @property
    def partial(self) -> bool:
        """It is a part of a file."""
        return self.octets < self.size

    @property
    def begins(self) -> bool:
        """It is not the later part of a file."""
        return self.slice is None or not self.slice.begin

    def joined(self, other: Piece) -> Piece:
        """The files of both."""
        both = sorted(zip((*self.places, *other.places), (*self.names, *other.names), strict=True))
        places, names = zip(*both, strict=True)
        return Piece(names, places, min(self.first, other.first), self.size + other.size)


class Task(NamedTuple):
    """What to analyse, and what must be the same in every process.

    Attributes:
        clock: see `Stretch`.
        secret, version: of the process that asks.
    """

    piece: Piece
    settings: Settings
    clock: int = NO_TIME
    secret: bytes = b""
    version: str = __version__


class Result(NamedTuple):
    """What came of a piece.

    Attributes:
        rest, decoder: see `slices.Read`; of a slice only.
        fault: what it ended with.
        notes: what is said of files that are still being written.
        growing: of a slice, its file is still being written, and that is what is wrong with it.
        worker: of a cluster, the address of the one that has analysed it.
    """

    outline: Outline
    rest: int
    decoder: Decoder | None
    fault: Socks5sniffError | None
    notes: Sequence[str] = ()
    growing: bool = False
    worker: str = ""


class Memories:
    """Where pieces were read into, to be used again: memory that is new costs as much as to read into it."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> mmap.mmap:
        """So many octets, or some more."""
        for number, memory in enumerate(self._free):
            if len(memory) >= size:
                return self._free.pop(number)
        self._free.clear()  # too small for pieces as they are now
        # Not a `bytearray`, which would be cleared before it is read into.
        return mmap.mmap(-1, size + (size >> 3), access=mmap.ACCESS_COPY)

    def give(self, stretch: Stretch) -> None:
        """A stretch that is finished has no use for its memory."""
        if stretch.memory is not None:
            self._free.append(stretch.memory)
            stretch.memory = None


def analyse(task: Task, forms: Forms | None = None, memories: Memories | None = None) -> tuple[Stretch, Result]:
    """Analyse a piece.

    Args:
        task: what to do.
        forms: what others have taught.
        memories: to read into.

    Raises:
        VersionError: this process has another version than the one that asks.
    """
    if task.version != __version__:
        raise VersionError(
            f"a worker has socks5sniff {__version__}, and this is {task.version}: install the same version on both"
        )
    secret.share(task.secret)
    stretch = Stretch(task.settings, task.clock, forms)
    part = task.piece.slice
    if part is not None:
        stretch.memory = (memories or Memories()).take(room(part))
    end: list[Read | Socks5sniffError] = []
    notes: list[str] = []
    stretch.read(_frames(task.piece, stretch.memory, end, notes))
    last = end[0] if end else None
    if not isinstance(last, Read):
        return stretch, Result(stretch.outline(), 0, None, last, notes)
    fault = last.fault
    if part is not None and fault is not None and fault.truncated and is_growing(part.name, part.end):
        return stretch, Result(stretch.outline(), last.rest, last.decoder, fault, growing=True)
    return stretch, Result(stretch.outline(), last.rest, last.decoder, fault)


def _frames(
    piece: Piece, memory: mmap.mmap | None, end: list[Read | Socks5sniffError], notes: list[str]
) -> Iterator[FrameBatch]:
    """The frames, in memories that stay."""
    if piece.slice is not None and memory is not None:
        for step in read_slice(piece.slice, [], memory):
            if isinstance(step, Read):
                end.append(step)
            else:
                yield step
        return
    try:
        for batch in open_captures(piece.names, note=notes.append):
            yield kept(batch)
    except Socks5sniffError as fault:
        end.append(fault)


def at_frame(fault: Socks5sniffError, frames: int) -> Socks5sniffError:
    """A fault of a slice, told of the file, which has so many frames before it."""
    if isinstance(fault, DamagedInputError):
        return DamagedInputError(fault.name, fault.offset, fault.frame + frames, fault.what)
    return fault
