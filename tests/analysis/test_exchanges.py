"""Dialogues as columns, against each dialogue as a list of rows: their order, what fits, and what was said."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from socks5sniff.analysis.exchanges import CLIENT_OCTETS, PLACES, PROXY_OCTETS, arrange
from socks5sniff.streams.heads import SHORT
from tests.streams.rows import Row, in_columns, one_by_one

SIZES = [*range(1, 10), SHORT - 1, SHORT, SHORT + 1, 3 * SHORT]


class Dialogue(NamedTuple):
    """What a flow said, in the order of the capture; who is side 0, and what was acknowledged of each side."""

    rows: list[Row]
    turn: int
    heard: tuple[int, int]


def dialogue(draw: Random, slot: int) -> Dialogue:
    """Segments that mostly go on where their side stands and have heard all of the other one."""
    ends, rows = [0, 0], list[Row]()
    for _ in range(draw.randint(1, 16)):
        way, size = draw.randint(0, 1), draw.choice(SIZES)
        odd = draw.choice(["no"] * 24 + ["again", "copy", "away", "early", "cut", "unheard", "ahead"])
        if odd in ("again", "copy") and rows:
            same = rows[-1] if odd == "again" else draw.choice(rows)
            octets = draw.choice([same.octets, same.octets, same.octets[:-1] + b"\xff", same.octets + b"\0"])
            rows.append(same._replace(frame=len(rows), octets=octets))
            continue
        offset = ends[way] + (draw.randint(-9, 9) if odd == "away" else 0)
        heard = {"unheard": -1, "ahead": ends[1 - way] + 1}.get(odd, ends[1 - way])
        lacking = draw.randint(1, 3) if odd == "cut" else 0
        at = 0 if odd == "early" else len(rows)
        rows.insert(at, Row(slot, way, offset, heard, len(rows), 7 * len(rows), draw.randbytes(size), lacking))
        ends[way] = max(ends[way], offset + size + lacking)
    turn, more = draw.randint(0, 1), draw.choice([(0, 0), (0, 0), (1, 0), (0, 1), (-1, -1)])
    return Dialogue(rows, turn, (ends[turn] + more[0], ends[1 - turn] + more[1]))


class Plain(NamedTuple):
    """What is told of one dialogue."""

    rows: list[Row]
    sides: list[int]
    orderly: list[bool]
    said: tuple[int, int]
    whole: bool
    client: bytes
    proxy: bytes


def plainly(dialogue: Dialogue) -> Plain:
    """One row after another, as it was said: a segment comes behind what its sender had said and heard by then."""
    ordered = sorted(dialogue.rows, key=lambda row: max(row.offset, 0) + max(row.heard, 0))
    rows = [row for before, row in zip([None, *ordered], ordered, strict=False) if not is_copy(before, row)]
    sides = [row.way ^ dialogue.turn for row in rows]
    said, fits, orderly = [0, 0], True, list[bool]()
    first = bytearray(CLIENT_OCTETS + SHORT), bytearray(PROXY_OCTETS + SHORT)
    for place, (row, side) in enumerate(zip(rows, sides, strict=True)):
        fits = fits and row.offset == said[side] and not row.lacking and row.heard <= said[1 - side]
        orderly.append(fits)
        if fits:
            said[side] += len(row.octets)
            if place < PLACES and row.offset < len(first[side]) - SHORT:
                first[side][row.offset : row.offset + min(len(row.octets), SHORT)] = row.octets[:SHORT]
    whole = fits and all(heard <= end for heard, end in zip(dialogue.heard, said, strict=True))
    starts = bytes(first[0][:CLIENT_OCTETS]), bytes(first[1][:PROXY_OCTETS])
    return Plain(rows, sides, orderly, (said[0], said[1]), whole, *starts)


def is_copy(before: Row | None, row: Row) -> bool:
    return before is not None and before._replace(frame=0, time=0, heard=0) == row._replace(frame=0, time=0, heard=0)


@pytest.mark.parametrize("seed", range(40))
def test_dialogues_are_told_as_each_by_itself(seed: int) -> None:
    draw = Random(seed)
    said = [dialogue(draw, slot) for slot in range(1 + seed % 20)]
    found = arrange(
        in_columns([row for each in said for row in each.rows]),
        np.array([each.turn for each in said], np.uint8),
        np.array([each.heard for each in said], np.int64).T,
    )
    assert found.size == len(said)
    rows = one_by_one(found.rows)
    for number, expected in enumerate(map(plainly, said)):
        mine = slice(int(found.start[number]), int(found.start[number] + found.counts[number]))
        assert rows[mine] == expected.rows
        assert found.group[mine].tolist() == [number] * len(expected.rows)
        assert found.place[mine].tolist() == [*range(len(expected.rows))]
        assert found.side[mine].tolist() == expected.sides
        assert found.orderly[mine].tolist() == expected.orderly
        assert tuple(found.said[:, number].tolist()) == expected.said
        assert found.whole[number] == expected.whole
        assert found.client[number].tobytes() == expected.client
        assert found.proxy[number].tobytes() == expected.proxy
