"""What every live engine is given, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..capture.batch import FrameBatch, Interface

SNAPLEN = 262_144
"""Octets of a frame that are kept unless less is asked for: libpcap's largest, so that no frame of any interface is
cut, BIG TCP on the loopback interface included."""

BUFFER = 64 << 20
"""Octets of memory that an engine with a buffer in the kernel needs."""

WINDOWS_LOOPBACK = r"\Device\NPF_Loopback"
"""What Npcap calls the loopback interface."""

LINK_ETHERNET, LINK_RAW, LINK_NULL, LINK_LOOP, LINK_SLL2 = 1, 101, 0, 108, 276
"""LINKTYPE_ values that interfaces have."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to capture.

    Attributes:
        names: interfaces, as the system calls them.
        filter: a capture filter in libpcap's syntax, empty for none.
        snaplen: octets of each frame to keep.
        promiscuous: also take frames that are for other machines.
        buffer: octets of memory, per interface, that hold frames until they are analysed; 0 for what the engine needs.
    """

    names: tuple[str, ...]
    filter: str = ""
    snaplen: int = SNAPLEN
    promiscuous: bool = False
    buffer: int = 0


class Counts(NamedTuple):
    """Frames of one interface since the capture began."""

    received: int
    """Frames that passed the filter, the dropped ones included."""
    dropped: int
    """Frames that were lost because nobody took them in time."""


class Engine(Protocol):
    """Frames from one or more interfaces as they come.

    Attributes:
        name: `ring`, `scapy` or `dumpcap`.
        interfaces: what the batches' interface numbers mean.
        notices: what the user should know, a line each, oldest first; who shows them takes them out.
    """

    name: str
    interfaces: list[Interface]
    notices: list[str]

    def wait(self, seconds: float) -> FrameBatch | None:
        """The next frames, numbered from 1 on; None where none came within that time.

        The octets of a batch are valid until the next call.

        Raises:
            InputError: the interface went away, and this engine cannot wait for its return.
        """
        ...

    def counts(self) -> Sequence[Counts | None]:
        """Counts per interface so far; None where the engine does not know them (yet)."""
        ...

    def close(self) -> None:
        """Stop. `counts` may be asked once more."""
        ...
