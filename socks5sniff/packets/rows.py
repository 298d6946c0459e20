"""Rows of a batch that have come to the same kind of header, and how their octets are gathered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.int64]
Structured = NDArray[Any]


class Rows(NamedTuple):
    """Packets whose next header starts at `at`. All columns have one length."""

    row: Column
    """Row in the batch, ascending."""
    at: Column
    """Where the next header starts in the memory."""
    end: Column
    """Where the captured octets end; never beyond the memory."""
    wire: Column
    """Where the octets ended on the wire; not less than `at`."""
    source: NDArray[np.uint64]
    """Endpoint without a port, once an IP header was read."""
    destination: NDArray[np.uint64]

    def take(self, chosen: NDArray[np.intp]) -> Rows:
        """The chosen rows."""
        row, at, end, wire, source, destination = self
        return Rows(
            row.take(chosen),
            at.take(chosen),
            end.take(chosen),
            wire.take(chosen),
            source.take(chosen),
            destination.take(chosen),
        )

    @property
    def size(self) -> int:
        """Number of rows (`len` of a named tuple is the number of its columns)."""
        return len(self.row)


_NAMES = 1024
"""Kinds that are counted each: a capture has a handful, one that was made up could have any number."""


@dataclass(slots=True)
class Skipped:
    """Frames that gave neither a segment nor a datagram, by reason.

    Attributes:
        other: evidently carry neither TCP nor UDP: ARP, ICMP and the like.
        cut: a header is not wholly in the captured octets.
        malformed: header lengths that can't be true, or headers nested without end.
        unsupported: could hold TCP or UDP in what nobody here can read; `names` says in what.
        fragments: IP fragments whose packet never got complete, or that contradicted others.
        names: the unsupported ones by what they are: `EtherType 0x8926`, `link type 147 (USER0)`.
    """

    other: int = 0
    cut: int = 0
    malformed: int = 0
    unsupported: int = 0
    fragments: int = 0
    names: dict[str, int] = field(default_factory=dict)

    def unread(self, name: str, count: int) -> None:
        """So many more frames of a kind that could hold TCP or UDP, but cannot be read."""
        if count:
            self.unsupported += count
            if len(self.names) >= _NAMES and name not in self.names:
                name = "other kinds"
            self.names[name] = self.names.get(name, 0) + count

    def add(self, other: Skipped) -> None:
        """Those of another part of the capture, too."""
        for name in ("other", "cut", "malformed", "unsupported", "fragments"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, count in other.names.items():
            self.names[name] = self.names.get(name, 0) + count

    @property
    def not_understood(self) -> dict[str, int]:
        """Frames that could have held TCP or UDP, by what is in the way, most frequent first."""
        reasons = self.names | {
            "headers that the capture cut off": self.cut,
            "malformed headers": self.malformed,
            "IP fragments without the others": self.fragments,
        }
        return {name: count for name, count in sorted(reasons.items(), key=lambda pair: -pair[1]) if count}

    @property
    def total(self) -> int:
        """All of them."""
        return self.other + self.cut + self.malformed + self.unsupported + self.fragments


def gather(memory: NDArray[np.uint8], at: Column, layout: np.dtype[Any]) -> Structured:
    """One value per place. Every value must lie wholly in the memory.

    Overlapping void items of the layout's size make numpy copy each with one memcpy, about 3 ns, whatever its size;
    a structured or two-dimensional view of the same memory is copied field by field.
    """
    size = layout.itemsize
    items: NDArray[np.void] = np.ndarray(
        (max(len(memory) - size + 1, 0),), dtype=np.dtype((np.void, size)), buffer=memory, strides=(1,)
    )
    return items[at].view(layout)


U8 = np.dtype("u1")
U16 = np.dtype(">u2")
U32 = np.dtype(">u4")
U64 = np.dtype(">u8")


def layout(size: int, **fields: tuple[str, int]) -> np.dtype[Any]:
    """A header's layout: each field's type and offset, in a header of `size` octets."""
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": size,
        }
    )


def present(rows: Rows, skipped: Skipped, size: int) -> Rows:
    """Rows whose next `size` octets were captured; counts the others."""
    behind = rows.at + size
    there = behind <= rows.end
    if there.all():
        return rows
    # Where the wire did not have the octets either, the lengths lie, whatever was captured.
    lying = int((behind > rows.wire).sum())
    kept = rows.take(np.flatnonzero(there))
    skipped.malformed += lying
    skipped.cut += rows.size - kept.size - lying
    return kept


def pick(good: NDArray[np.bool_], rows: Rows, header: Structured) -> tuple[Rows, Structured, int]:
    """The good rows with their headers, and how many are not."""
    if good.all():
        return rows, header, 0
    chosen = np.flatnonzero(good)
    return rows.take(chosen), header[chosen], rows.size - len(chosen)
