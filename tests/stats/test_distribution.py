"""Quantiles, held against numpy's and against the values themselves."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.stats.distribution import ERROR, Distribution

FRACTIONS = [0.5, 0.9, 0.95, 0.99]
seconds = st.integers(0, 10**15).map(lambda nanoseconds: nanoseconds / 1e9)


def of(values: list[float], sketched: bool = False) -> Distribution:
    found = Distribution()
    if sketched:
        found.sketch()
    for value in values:
        found.add(value)
    return found


def test_nothing() -> None:
    for sketched in (False, True):
        empty = of([], sketched)
        assert (len(empty), empty.largest, empty.quantiles(FRACTIONS)) == (0, None, [None] * 4)


@given(st.lists(seconds, min_size=1, max_size=300), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_exact_quantiles_are_numpys(values: list[float], fractions: list[float]) -> None:
    found = of(values)
    assert found.quantiles(fractions) == pytest.approx(np.quantile(values, fractions).tolist(), rel=1e-12, abs=1e-15)
    assert (len(found), found.largest, found.exact) == (len(values), max(values), True)


def test_interpolation_by_hand() -> None:
    found = of([0.4, 0.1, 0.2, 0.3])
    assert found.quantiles([0, 0.5, 0.9, 1]) == pytest.approx([0.1, 0.25, 0.37, 0.4])


@given(st.lists(seconds, min_size=1, max_size=300))
def test_a_sketch_stays_within_its_error(values: list[float]) -> None:
    found = of(values, sketched=True)
    assert not found.exact
    assert (len(found), found.largest) == (len(values), max(values))
    exact = np.quantile(values, FRACTIONS).tolist()
    assert found.quantiles(FRACTIONS) == pytest.approx(exact, rel=ERROR * 1.0001, abs=1.1e-9)


def test_a_sketch_of_a_million_takes_few_bins() -> None:
    generator = random.Random(1)
    values = [generator.lognormvariate(-5, 3) for _ in range(200_000)]
    found = of(values, sketched=True)
    exact = np.quantile(values, FRACTIONS).tolist()
    assert found.quantiles(FRACTIONS) == pytest.approx(exact, rel=ERROR * 1.0001)
    assert len(found._bins) < 3_300


@given(st.lists(seconds, max_size=60), st.lists(seconds, max_size=60), st.booleans(), st.booleans())
def test_merging(first: list[float], second: list[float], first_sketched: bool, second_sketched: bool) -> None:
    parts = of(first, first_sketched), of(second, second_sketched)
    before = parts[1].quantiles(FRACTIONS)
    parts[0].merge(parts[1])
    whole = of(first + second, first_sketched or second_sketched)
    assert parts[0].quantiles(FRACTIONS) == whole.quantiles(FRACTIONS)
    assert (len(parts[0]), parts[0].largest, parts[0].exact) == (len(whole), whole.largest, whole.exact)
    assert parts[1].quantiles(FRACTIONS) == before


@given(st.lists(seconds, max_size=60))
def test_sketching_late_is_sketching_early(values: list[float]) -> None:
    late = of(values)
    late.sketch()
    late.sketch()
    assert late.quantiles(FRACTIONS) == of(values, sketched=True).quantiles(FRACTIONS)


def test_times_that_no_capture_holds() -> None:
    found = of([1e300, 2e300], sketched=True)
    assert found.quantiles([0.5]) == pytest.approx([1e10], rel=ERROR * 1.0001)
    assert found.largest == 2e300
