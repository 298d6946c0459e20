"""What flows said first: rows in columns, kept in parts, against a list of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.streams import heads
from socks5sniff.streams.heads import SHORT, HeadRows, Heads, mark

from .rows import Row, in_columns, one_by_one

SLOTS = 8


SIZES = st.sampled_from([1, 2, SHORT - 1, SHORT, SHORT + 1, 3 * SHORT])
"""Octets of a row: at the edge of what is kept in columns, and far from it."""


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    numbers = st.integers(0, 9)
    octets = SIZES.flatmap(lambda size: st.binary(min_size=size, max_size=size))
    ways = st.integers(0, 1)
    row = st.builds(Row, st.integers(0, SLOTS - 1), ways, numbers, numbers, numbers, numbers, octets, st.integers(0, 2))
    return draw(st.lists(row, max_size=12))


@given(some_rows())
def test_octets_are_the_same_however_they_are_asked_for(rows: list[Row]) -> None:
    found = in_columns(rows)
    expected = [row.octets for row in rows]
    assert found.each(np.arange(len(rows))) == expected
    assert found.each(np.arange(len(rows))[::-1]) == expected[::-1]
    assert [found.octets(row) for row in range(len(rows))] == expected
    assert [segment[-1] for segment in found.segments()] == expected
    assert found.beyond == sum(len(octets) for octets in expected if len(octets) > SHORT)


def test_no_rows_are_rows_of_which_there_are_none() -> None:
    found = HeadRows.none()
    assert [len(column) for column in found] == [0] * len(found)
    some = in_columns([Row(1, 0, 0, 0, 0, 0, b"x")])
    assert one_by_one(HeadRows.join([found, some, found])) == one_by_one(some)


@given(some_rows())
def test_marks_are_equal_where_the_first_octets_are(rows: list[Row]) -> None:
    found = in_columns(rows).marks(np.arange(len(rows))).tolist()
    assert 0 not in found
    assert found == [mark(row.octets) for row in rows]
    firsts = [(row.octets[:SHORT], min(len(row.octets), SHORT)) for row in rows]
    assert len(set(found)) == len(set(firsts))


CHOSEN = st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS)
STEPS = st.one_of(
    st.tuples(st.just("add"), some_rows()),
    st.tuples(st.just("look"), CHOSEN),
    st.tuples(st.just("take"), CHOSEN, CHOSEN),
    st.tuples(st.just("of"), st.lists(st.integers(0, SLOTS - 1), unique=True)),
    st.tuples(st.just("later"), st.integers(1, 100)),
)


@pytest.mark.parametrize("parts", [1, 3, 32])
@given(steps=st.lists(STEPS, max_size=20))
def test_what_is_kept_is_what_a_list_of_rows_keeps(parts: int, steps: list[tuple[object, ...]]) -> None:
    """However many parts it lies in; what is asked for comes by flow, in the order of the capture."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(heads, "PARTS", parts)
        kept, model = Heads(), list[Row]()
        for step, *given_ in steps:
            if step == "add":
                (rows,) = given_
                kept.add(in_columns(rows))
                model += rows
            elif step == "later":
                (frames,) = given_
                kept.later(frames)
                model = [row._replace(frame=row.frame + frames) for row in model]
            elif step == "of":
                (slots,) = given_
                found = one_by_one(kept.of(np.array(slots, np.intp)))
                assert found == [row._replace(slot=slots.index(row.slot)) for row in model if row.slot in slots]
            else:
                chosen = given_[0]
                found = one_by_one((kept.look if step == "look" else kept.take)(*map(np.array, given_)))
                assert found == sorted((row for row in model if chosen[row.slot]), key=lambda row: row.slot)
                if step == "take":
                    model = [row for row in model if given_[1][row.slot] and not chosen[row.slot]]
            assert kept.slots().tolist() == sorted({row.slot for row in model})
        assert (kept.octets > 0) == bool(model)
