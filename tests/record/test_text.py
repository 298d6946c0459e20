"""Columns of text say exactly what Python's own formatting says of each value."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from socks5sniff.record import iso_time, text

COUNTS = st.lists(st.integers(0, 10**18) | st.integers(0, 2000) | st.integers(0, 8).map(lambda n: 10**n), min_size=1)
SPANS = st.lists(
    st.integers(-(10**6), 10**17)
    | st.integers(0, 10**6)
    | st.integers(0, 10**6).map(lambda n: n * 1_000_000 + 500_000)
    | st.integers(0, 10**9).map(lambda n: n * 1000 + 500),
    min_size=1,
)
"""Nanoseconds, among them those that lie in the middle between two milliseconds or microseconds."""


def shown(column: text.Text) -> list[str]:
    return [text.plain(row) for row in column]


@given(COUNTS)
def test_whole_numbers(values: list[int]) -> None:
    assert shown(text.integers(np.array(values, np.int64))) == [str(value) for value in values]


@example([1, 2, 99_999, 100_000, 10**15 - 1, 10**15])
@given(SPANS)
def test_seconds_as_json_has_them(values: list[int]) -> None:
    assert shown(text.seconds(np.array(values, np.int64))) == [repr(value / 1e9) for value in values]


@given(SPANS)
def test_seconds_to_some_digits(values: list[int]) -> None:
    column = np.array(values, np.int64)
    assert shown(text.rounded(column, 6)) == [f"{value / 1e9:.6f}" for value in values]
    assert shown(text.rounded(column, 3)) == [f"{value / 1e9:.3f}" for value in values]


@given(COUNTS)
def test_seconds_since_1970_are_cut(values: list[int]) -> None:
    cut = [f"{value // 10**9}.{value % 10**9 // 1000:06d}" for value in values]
    assert shown(text.decimal(np.array(values, np.int64), 6)) == cut


@given(COUNTS)
def test_times(values: list[int]) -> None:
    assert shown(text.times(np.array(values, np.int64))) == [iso_time(value)[:-1] for value in values]
