"""Packets taken out of their batches, to be sent to another process: those of some flows, with their octets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import Datagrams, Segments
from socks5sniff.streams.slots import Rows

from .thinning import Thinned, thinned

_NOTHING = np.empty(0, np.uint8)
_COMMON = ("frame", "time", "capture", "source", "destination", "length", "captured", "network")
_SEGMENTS = (*_COMMON, "sequence", "acknowledgment", "flags", "clock", "process")
_TOLD = ("source", "destination", "length", "time", "sequence", "acknowledgment", "flags", "process")
"""What is looked at to leave packets out."""
_DATAGRAMS = (*_COMMON, "ident")
_Columns = TypeVar("_Columns", Segments, Datagrams)


def segments_of(chosen: Sequence[tuple[Segments, NDArray[np.intp]]]) -> Segments:
    """The chosen segments, with their octets in a memory of their own."""
    octets, columns = _gathered(chosen, _SEGMENTS)
    return Segments(octets=octets, spill=_NOTHING, **columns)


def thin_segments_of(
    chosen: Sequence[tuple[Segments, NDArray[np.intp]]],
    whose: NDArray[np.intp],
    wants: NDArray[np.uint8],
) -> tuple[Segments, Thinned]:
    """The chosen segments without those that change nothing but counters; see `thinned`."""
    left = thinned(_columns(chosen, _TOLD), whose, wants)
    ends = np.cumsum([0, *(len(rows) for _, rows in chosen)])
    bounds = np.searchsorted(left.rows, ends).tolist()
    kept = [
        (segments, rows[left.rows[begin:end] - before])
        for (segments, rows), begin, end, before in zip(chosen, bounds, bounds[1:], ends.tolist(), strict=False)
    ]
    columns = _columns(kept, _SEGMENTS)
    memories = [_NOTHING]
    memories += [
        _octets(segments, rows, ~left.bare[begin:end])
        for (segments, rows), begin, end in zip(kept, bounds, bounds[1:], strict=False)
    ]
    columns["captured"] = captured = np.where(left.bare, 0, columns["captured"])
    columns["payload"] = np.cumsum(captured) - captured
    return Segments(octets=np.concatenate(memories), spill=_NOTHING, **columns, weight=left.weight), left


def datagrams_of(chosen: Sequence[tuple[Datagrams, NDArray[np.intp]]]) -> Datagrams:
    """The chosen datagrams, with their octets in a memory of their own."""
    octets, columns = _gathered(chosen, _DATAGRAMS)
    return Datagrams(octets=octets, spill=_NOTHING, **columns)


class Numbers(NamedTuple):
    """What a stretch's numbers are in the whole capture.

    Attributes:
        frames: before it.
        captures, networks, processes: those of interfaces, networks and processes, by the stretch's.
    """

    frames: int
    captures: NDArray[np.uint16]
    networks: NDArray[np.int32]
    processes: NDArray[np.int32]

    def packets(self, columns: _Columns) -> _Columns:
        """Packets with these numbers."""
        columns.frame = columns.frame + self.frames
        columns.capture = self.captures[columns.capture]
        columns.network = self.networks[columns.network]
        if isinstance(columns, Segments) and columns.process is not None:
            process = self.processes[np.abs(columns.process)] * np.sign(columns.process)
            columns.process = process if process.any() else None
        return columns

    def flows(self, columns: Rows) -> Rows:
        """Columns of the flow table with these numbers."""
        found = dict(columns)
        for name in ("first_frame", "last_frame", "close_frame"):
            found[name] = columns[name] + self.frames
        found["capture"] = self.captures[columns["capture"]]
        for name in ("network0", "network1"):
            network = columns[name]
            found[name] = np.where(network < 0, network, self.networks[np.maximum(network, 0)])
        return found


def joined(parts: Sequence[_Columns]) -> _Columns:
    """Packets of several parts, in the order of the capture."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([part.frame for part in parts]), kind="stable")
    names = _SEGMENTS if isinstance(parts[0], Segments) else _DATAGRAMS
    _, columns = _gathered([(part, np.arange(len(part))) for part in parts], names)
    octets = np.concatenate([_octets(part, np.arange(len(part)), None) for part in parts])
    columns = {name: column[order] for name, column in columns.items()}
    found: Any = type(parts[0])(octets=octets, spill=_NOTHING, **columns)
    if isinstance(found, Segments):
        weights = [np.ones(len(part), np.int64) if part.weight is None else part.weight for part in _only(parts)]
        found.weight = np.concatenate(weights)[order]
    return found  # type: ignore[no-any-return]


def _only(parts: Sequence[Segments | Datagrams]) -> list[Segments]:
    return [part for part in parts if isinstance(part, Segments)]


def _gathered(
    chosen: Sequence[tuple[Segments | Datagrams, NDArray[np.intp]]], names: Sequence[str]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    memories = [_octets(columns, rows, None) for columns, rows in chosen] or [_NOTHING]
    found = _columns(chosen, names)
    captured = found["captured"]
    found["payload"] = np.cumsum(captured) - captured
    return np.concatenate(memories), found


def _columns(
    chosen: Sequence[tuple[Segments | Datagrams, NDArray[np.intp]]], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    return {
        name: np.concatenate([_column(columns, name)[rows] for columns, rows in chosen])
        if chosen
        else np.empty(0, _TYPES[name])
        for name in names
    }


def _column(columns: Segments | Datagrams, name: str) -> NDArray[Any]:
    column: NDArray[Any] | None = getattr(columns, name)
    return np.zeros(len(columns), _TYPES[name]) if column is None else column


def _octets(
    columns: Segments | Datagrams, rows: NDArray[np.intp], wanted: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    rows = rows[columns.captured[rows] > 0] if wanted is None else rows[wanted & (columns.captured[rows] > 0)]
    start, end = columns.payload[rows], columns.payload[rows] + columns.captured[rows]
    memory, spill, size = columns.octets.data, columns.spill.data, len(columns.octets)
    pieces = [
        memory[begin:stop] if begin < size else spill[begin - size : stop - size]
        for begin, stop in zip(start.tolist(), end.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(pieces), np.uint8)


_TYPES = {
    "frame": np.int64, "time": np.int64, "capture": np.uint16, "source": np.uint64, "destination": np.uint64,
    "length": np.int64, "captured": np.int64, "network": np.int32, "sequence": np.uint32,
    "acknowledgment": np.uint32, "flags": np.uint8, "clock": np.int64, "ident": np.int32,
    "process": np.int32,
}
