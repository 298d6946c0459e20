"""How far captures have been read, so that another process can read on from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..errors import Socks5sniffError
from .batch import Interface, Process


class Position(NamedTuple):
    """A place between two frames of one capture, or of several that are merged.

    Captures that are neither `ended` nor `begun` lie behind it as a whole.

    Attributes:
        frames: before it.
        clock: ns, the latest time by then.
        ended: captures that are read, by their places among the names; also those that came to nothing.
        begun: by place, frames of those that are read in part.
        interfaces, processes: that frames before it refer to.
        faults: what captures before it ended with.
    """

    frames: int = 0
    clock: int = -(1 << 62)
    ended: tuple[int, ...] = ()
    begun: Mapping[int, int] = {}
    interfaces: tuple[Interface, ...] = ()
    processes: tuple[Process, ...] = ()
    faults: tuple[Socks5sniffError, ...] = ()


class Halts(NamedTuple):
    """Where a reading may halt to note down how far it has come.

    Attributes:
        wanted: asked where it may; told whether no capture is read in part there.
        reached: called where it was wanted, once whoever reads has taken all frames before.
    """

    wanted: Callable[[bool], bool]
    reached: Callable[[Position], None]
