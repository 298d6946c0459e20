"""Rows of what flows said first, one by one, and put into columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from socks5sniff.streams.heads import SHORT, HeadRows


class Row(NamedTuple):
    """A row by itself; so many octets behind `octets` are `lacking`."""

    slot: int
    way: int
    offset: int
    heard: int
    frame: int
    time: int
    octets: bytes
    lacking: int = 0


def in_columns(rows: list[Row]) -> HeadRows:
    short = b"".join(row.octets[:SHORT].ljust(SHORT, b"\0") for row in rows)
    long = np.full(len(rows), None, np.object_)
    for place, row in enumerate(rows):
        if len(row.octets) > SHORT:
            long[place] = row.octets
    slot, way, offset, heard, frame, time, octets, lacking = zip(*rows, strict=True) if rows else ((),) * 8
    captured = np.array([*map(len, octets)], np.int64)
    return HeadRows(
        np.array(slot, np.intp),
        np.array(way, np.uint8),
        np.array(offset, np.int64),
        np.array(heard, np.int64),
        captured + np.array(lacking, np.int64),
        captured,
        np.array(frame, np.int64),
        np.array(time, np.int64),
        np.frombuffer(short, np.uint8).reshape(len(rows), SHORT).copy(),
        long,
    )


def one_by_one(found: HeadRows) -> list[Row]:
    rows = zip(found.slot.tolist(), found.segments(), strict=True)
    return [
        Row(slot, way, offset, heard, frame, time, octets, length - len(octets))
        for slot, (way, offset, length, heard, frame, time, octets) in rows
    ]
