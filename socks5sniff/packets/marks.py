"""What is noted of a frame beside its addresses: the network it came from, its datagram's identification, its process.

Columns by row of the batch, made when the first header asks for them: a capture without tags has none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import Process

_LIMIT = 65_536
"""Networks and processes that are told apart; later ones count as unknown. A capture has a handful of each."""


_INNER = (1 << 40) - 1
"""Of a network's key, what says nothing of the one around it."""


class NetworkKind(NamedTuple):
    """A kind of number that tells networks apart."""

    name: str
    code: int
    replaces: bool
    """It names a network of its own: what was said outside the tunnel (the carrier's VLAN) says nothing about it."""


VLAN = NetworkKind("vlan", 0, False)
VNI = NetworkKind("vni", 1, True)
SERVICE = NetworkKind("i-sid", 2, True)
KEY = NetworkKind("gre key", 3, True)
INSTANCE = NetworkKind("instance", 4, True)


class Networks:
    """Small numbers for networks, each a VLAN, a VNI or the like, maybe within another (stacked tags).

    Attributes:
        names: the networks by number: `vlan 10`, `vni 5001`, `vlan 100, vlan 10`. Number 0 is none, named "".
    """

    def __init__(self) -> None:
        self.names = [""]
        self._numbers: dict[int, int] = {}

    def within(self, outer: NDArray[np.int32], kind: NetworkKind, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """The networks with these numbers (below 2**32), inside those of `outer`."""
        keys = numbers | kind.code << 32
        if not kind.replaces:
            keys |= outer.astype(np.int64) << 40
        if (keys == keys[0]).all():
            return np.full(len(keys), self._number(int(keys[0]), kind), np.int32)
        distinct, place = np.unique(keys, return_inverse=True)
        numbered = np.array([self._number(key, kind) for key in distinct.tolist()], np.int32)
        found: NDArray[np.int32] = numbered.take(place.ravel())
        return found

    def learn(self, other: Networks) -> NDArray[np.int32]:
        """Know what another process has numbered: the numbers here, by number there."""
        found = [0]
        for key, name in zip(other._numbers, other.names[1:], strict=True):
            found.append(self._named(key & _INNER | found[key >> 40] << 40, name))
        return np.array(found, np.int32)

    def _number(self, key: int, kind: NetworkKind) -> int:
        outer = self.names[key >> 40]
        return self._named(key, f"{outer}, " * bool(outer) + f"{kind.name} {key & 0xFFFFFFFF}")

    def _named(self, key: int, name: str) -> int:
        number = self._numbers.get(key)
        if number is None:
            if len(self.names) >= _LIMIT:
                return 0
            number = self._numbers[key] = len(self.names)
            self.names.append(name)
        return number


class Processes:
    """Small numbers for processes.

    Attributes:
        known: the processes by number. Number 0 is none.
    """

    def __init__(self) -> None:
        self.known = [Process(0, "")]
        self._numbers: dict[Process, int] = {}

    def number(self, process: Process) -> int:
        """The number of a process; 0 where it says neither pid nor name."""
        if process.pid <= 0 and not process.name:
            return 0
        number = self._numbers.get(process)
        if number is None:
            if len(self.known) >= _LIMIT:
                return 0
            number = self._numbers[process] = len(self.known)
            self.known.append(process)
        return number


class FrameMarks:
    """What is noted of the frames of one batch, by row.

    Attributes:
        network: int32, numbers of `Networks`; None while no frame has a tag.
        ident: int32, identification of the IPv4 packet of a UDP datagram, -1 of an IPv6 one; None where there is none.
        process: int32, see `Segments.process`; None where no frame names one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.network: NDArray[np.int32] | None = None
        self.ident: NDArray[np.int32] | None = None
        self.process: NDArray[np.int32] | None = None

    def enter(self, networks: Networks, kind: NetworkKind, row: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """These rows are in networks with these numbers."""
        if not len(row):
            return
        if self.network is None:
            self.network = np.zeros(self._size, np.int32)
        self.network[row] = networks.within(self.network[row], kind, numbers)

    def identify(self, row: NDArray[np.int64], idents: NDArray[np.int32] | int) -> None:
        """The identifications of these rows."""
        if self.ident is None:
            self.ident = np.full(self._size, -1, np.int32)
        self.ident[row] = idents

    def attribute(self, row: NDArray[np.int64], processes: NDArray[np.int32]) -> None:
        """The processes of these rows."""
        if self.process is None:
            self.process = np.zeros(self._size, np.int32)
        self.process[row] = processes
