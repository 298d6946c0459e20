"""Packets taken out of their batches, to be sent to another process: those of some flows, with their octets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.columns import Datagrams, Segments

_NOTHING = np.empty(0, np.uint8)
_COMMON = ("frame", "time", "capture", "source", "destination", "length", "captured", "network")
_SEGMENTS = (*_COMMON, "sequence", "acknowledgment", "flags", "clock")
_DATAGRAMS = (*_COMMON, "ident")
_Columns = TypeVar("_Columns", Segments, Datagrams)


class Chosen(NamedTuple):
    """Some packets of a batch."""

    columns: Segments | Datagrams
    rows: NDArray[np.intp]


def segments_of(chosen: Sequence[tuple[Segments, NDArray[np.intp]]]) -> Segments:
    """The chosen segments, with their octets in a memory of their own."""
    octets, columns = _gathered(chosen, _SEGMENTS)
    return Segments(octets=octets, spill=_NOTHING, **columns)


def datagrams_of(chosen: Sequence[tuple[Datagrams, NDArray[np.intp]]]) -> Datagrams:
    """The chosen datagrams, with their octets in a memory of their own."""
    octets, columns = _gathered(chosen, _DATAGRAMS)
    return Datagrams(octets=octets, spill=_NOTHING, **columns)


def rows_of(columns: _Columns, rows: NDArray[np.intp] | NDArray[np.bool_]) -> _Columns:
    """Some rows, in the same memory."""
    names = _SEGMENTS if isinstance(columns, Segments) else _DATAGRAMS
    taken = {name: getattr(columns, name)[rows] for name in (*names, "payload")}
    return type(columns)(octets=columns.octets, spill=columns.spill, **taken)


def later(columns: _Columns, frames: int, captures: NDArray[np.uint16]) -> _Columns:
    """The same packets, so many frames later, their `capture` looked up in `captures`."""
    columns.frame = columns.frame + frames
    columns.capture = captures[columns.capture]
    return columns


def _gathered(
    chosen: Sequence[tuple[Segments | Datagrams, NDArray[np.intp]]], names: Sequence[str]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.generic]]]:
    memories = [_octets(columns, rows) for columns, rows in chosen] or [_NOTHING]
    found: dict[str, NDArray[np.generic]] = {
        name: np.concatenate([getattr(columns, name)[rows] for columns, rows in chosen])
        if chosen
        else np.empty(0, _TYPES[name])
        for name in names
    }
    captured = found["captured"]
    found["payload"] = np.cumsum(captured) - captured
    return np.concatenate(memories), found


def _octets(columns: Segments | Datagrams, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    memory = columns.octets if not len(columns.spill) else np.concatenate((columns.octets, columns.spill))
    start, length = columns.payload[rows], columns.captured[rows]
    total = int(length.sum())
    at = np.repeat(start - (np.cumsum(length) - length), length) + np.arange(total)
    found: NDArray[np.uint8] = memory[at]
    return found


_TYPES = {
    **{"frame": np.int64, "time": np.int64, "capture": np.uint16, "source": np.uint64, "destination": np.uint64},
    **{"length": np.int64, "captured": np.int64, "network": np.int32, "sequence": np.uint32},
    **{"acknowledgment": np.uint32, "flags": np.uint8, "clock": np.int64, "ident": np.int32},
}
