"""Columns of integers in as few octets as they need, for their way to another process.

What a stretch says of its connections is what several processes cost most beside their work, so it is worth some
arithmetic: times that lie within an hour, frame numbers within a piece, sequence numbers next to each other need one
to four of the eight octets that they have in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.streams.flows import NO_TIME

_KINDS = (np.uint8, np.uint16, np.uint32)
_STEP = 1000
"""Most captures tell microseconds, in nanoseconds."""

Columns = Mapping[str, NDArray[Any]]


class Narrow(NamedTuple):
    """A column.

    Attributes:
        values: what each value is above `least`, in steps; 0 for NO_TIME if it `lacks` some.
        beside: it is counted from another column.
        kind: its own type.
    """

    values: NDArray[Any]
    least: int
    step: int
    lacks: bool
    beside: bool
    kind: np.dtype[Any]


def narrow(column: NDArray[Any], beside: NDArray[Any] | None = None) -> NDArray[Any] | Narrow:
    """A column in fewer octets, or as it is where that does not work.

    Args:
        column: any; what is not of integers of eight octets stays as it is.
        beside: another one whose values are near, which is known where it is made wide again.
    """
    if column.dtype.kind not in "iu" or column.dtype.itemsize != 8 or not len(column):
        return column
    values = column.view(np.int64)
    lacks = values == NO_TIME
    found = _narrow(values, lacks, column.dtype, False)
    if beside is not None and (found is None or found.values.itemsize > 1):
        near = _narrow(values - beside.view(np.int64), lacks, column.dtype, True)
        if near is not None and (found is None or near.values.itemsize < found.values.itemsize):
            found = near
    return column if found is None else found


def wide(found: NDArray[Any] | Narrow, beside: NDArray[Any] | None = None) -> NDArray[Any]:
    """The column."""
    if not isinstance(found, Narrow):
        return found
    values = found.values.astype(np.int64) * found.step + found.least
    if found.beside:
        assert beside is not None, "it was there before"
        values += beside.view(np.int64)
    if found.lacks:
        values[found.values == 0] = NO_TIME
    return values.view(found.kind)


def _narrow(values: NDArray[np.int64], lacks: NDArray[np.bool_], kind: np.dtype[Any], beside: bool) -> Narrow | None:
    some = bool(lacks.any())
    there = values[~lacks] if some else values
    least, most = (int(there.min()), int(there.max())) if len(there) else (0, 0)
    step = _STEP if most - least >= 1 << 16 and not ((there - least) % _STEP).any() else 1
    span = (most - least) // step + some
    for narrower in _KINDS:
        if span < 1 << (8 * np.dtype(narrower).itemsize):
            codes = (values - least) // step + some
            if some:
                codes[lacks] = 0
            least = (least - some * step - NO_TIME) % (1 << 64) + NO_TIME  # which wraps, as numpy's sums do
            return Narrow(codes.astype(narrower), least, step, some, beside, kind)
    return None


NEAR = {
    "last_time": "first_time",
    "close_time": "last_time",
    "close_clock": "close_time",
    "syn_time": "first_time",
    "syn_ack_time": "syn_time",
    "clocks": "first_time",
    "last_frame": "first_frame",
    "close_frame": "last_frame",
    "next0": "base0",
    "next1": "base1",
    "fin0": "next0",
    "fin1": "next1",
    "fin_heard0": "next1",
    "fin_heard1": "next0",
}
"""Columns of a flow table, and others that are near: these come first."""


def narrow_rows(columns: Columns) -> dict[str, NDArray[Any] | Narrow]:
    """Columns that belong together."""
    return {name: narrow(column, columns.get(NEAR.get(name, ""))) for name, column in columns.items()}


def wide_rows(found: Mapping[str, NDArray[Any] | Narrow]) -> dict[str, NDArray[Any]]:
    """The columns."""
    columns: dict[str, NDArray[Any]] = {}

    def of(name: str) -> NDArray[Any]:
        if name not in columns:
            near = NEAR.get(name, "")
            columns[name] = wide(found[name], of(near) if near in found else None)
        return columns[name]

    return {name: of(name) for name in found}
