"""Columns of values as columns of text: many numbers, times and addresses written at once.

A text column is a matrix of uint32, a row each value, whose octets are ASCII, NUL wherever there is nothing: inside,
too, since a number is put together from groups of three digits, each in four octets of its own. Whoever prints takes
the NULs out. Everything here gives exactly what Python's own formatting gives, which a test holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import gmtime, strftime

import numpy as np
from numpy.typing import NDArray

Text = NDArray[np.uint32]
"""A text column, uint32[n, w]."""

SECOND = 1_000_000_000


def _words(texts: Sequence[bytes]) -> NDArray[np.uint32]:
    return np.frombuffer(b"".join(text.ljust(4, b"\0") for text in texts), np.uint32)


def _word(text: bytes) -> np.uint32:
    word: np.uint32 = np.frombuffer(text.ljust(4, b"\0"), np.uint32)[0]
    return word


# Groups of three digits: with leading zeros, and (from 1000 on) without.
_DIGITS = _words([b"%03d" % number for number in range(1000)] + [b"%d" % number for number in range(1000)])
_LEADING = _words([b""] + [b"%d" % number for number in range(1, 1000)])
# The same behind a decimal point: whole, and (from 1000 on) without zeros at the end.
_FRACTION = _words(
    [b"%03d" % number for number in range(1000)] + [(b"%03d" % number).rstrip(b"0") for number in range(1000)]
)
_OCTET_DOT = _words([b"%d." % number for number in range(256)])
_OCTET = _words([b"%d" % number for number in range(256)])
_NULL = _word(b"null")
_POINT = _word(b".")
_ZERO = _word(b"0")
_EXPONENTS = _words([b"e-09", b"e-08", b"e-07", b"e-06", b"e-05"])
_TENS = 10 ** np.arange(5)


def integers(values: NDArray[np.int64]) -> Text:
    """Numbers from 0 on, in decimal."""
    largest = int(values.max()) if len(values) else 0
    if largest < 1000:
        return _DIGITS[values + 1000][:, None]
    groups = []
    rest = values
    while largest >= 1000:
        higher = rest // 1000
        groups.append(rest - higher * 1000)
        rest, largest = higher, largest // 1000
    groups.append(rest)
    groups.reverse()
    columns = [_LEADING[groups[0]]]
    begun = groups[0] > 0
    for group in groups[1:-1]:
        columns.append(np.where(begun, _DIGITS[group], _LEADING[group]))
        begun = begun | (group > 0)
    columns.append(_DIGITS[groups[-1] + 1000 * ~begun])
    return np.stack(columns, 1)


def times(values: NDArray[np.int64]) -> Text:
    """Nanoseconds since 1970 as `2026-11-22T08:39:01.123456789`, without the zone."""
    seconds = values // SECOND
    fraction = values - seconds * SECOND
    distinct, index = np.unique(seconds, return_inverse=True)
    whole = strings([strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second)).encode() for second in distinct.tolist()])
    return np.concatenate((whole[index], np.stack(_nine(fraction), 1)), 1)


def _nine(fraction: NDArray[np.int64]) -> list[NDArray[np.uint32]]:
    micro = fraction // 1000
    milli = micro // 1000
    return [_DIGITS[milli], _DIGITS[micro - milli * 1000], _DIGITS[fraction - micro * 1000]]


def seconds(values: NDArray[np.int64], missing: NDArray[np.bool_] | None = None) -> Text:
    """Nanoseconds as seconds, as `repr(value / 1e9)` writes them; `null` where they are `missing`."""
    small = (values > 0) & (values < 100_000)
    large = (values < 0) | (values >= 10**15)
    plain = np.where(small | large, 0, values)
    if missing is not None:
        plain = np.where(missing, 0, plain)
    whole = plain // SECOND
    fraction = plain - whole * SECOND
    micro = fraction // 1000
    milli = micro // 1000
    middle, low = micro - milli * 1000, fraction - micro * 1000
    ends_high = (low == 0) & (middle == 0)
    first = _FRACTION[milli + 1000 * ends_high]
    first[ends_high & (milli == 0)] = _ZERO
    text = np.column_stack(
        (
            integers(whole),
            np.full(len(values), _POINT),
            first,
            _FRACTION[middle + 1000 * (low == 0)],
            _FRACTION[low + 1000],
        )
    )
    if small.any():
        text = _patched(text, small, _tiny(values[small]))
    if large.any():
        text = _patched(text, large, strings([repr(value / 1e9).encode() for value in values[large].tolist()]))
    if missing is not None and missing.any():
        text = _patched(text, missing, np.full((int(missing.sum()), 1), _NULL))
    return text


def decimal(values: NDArray[np.int64], digits: int) -> Text:
    """Nanoseconds as seconds with three or six digits behind the point; the others are left out."""
    whole = values // SECOND
    groups = _nine(values - whole * SECOND)[: digits // 3]
    return np.column_stack((integers(whole), np.full(len(values), _POINT), *groups))


def rounded(values: NDArray[np.int64], digits: int) -> Text:
    """Nanoseconds as seconds, as `f"{value / 1e9:.6f}"` (or `.3f`) writes them."""
    unit = 10 ** (9 - digits)
    # In the middle between two, the binary fraction decides.
    unsure = (values % unit == unit // 2) | (values < 0) | (values >= 10**15)
    plain = np.where(unsure, 0, values)
    text = decimal((plain + unit // 2) // unit * unit, digits)
    return replaced(text, unsure, [f"{value / 1e9:.{digits}f}".encode() for value in values[unsure].tolist()])


def _tiny(values: NDArray[np.int64]) -> Text:
    """Below a ten-thousandth of a second Python writes an exponent: `1.25e-06`."""
    power = sum((values >= ten).astype(np.intp) for ten in (10, 100, 1000, 10_000))
    mantissa = values * _TENS[4 - power]
    lead = mantissa // 10_000
    rest = mantissa - lead * 10_000
    high, low = rest // 10, rest % 10
    return np.column_stack(
        (
            _DIGITS[lead + 1000],
            np.where(rest > 0, _POINT, np.uint32(0)),
            _FRACTION[high + 1000 * (low == 0)],
            _LEADING[low],
            _EXPONENTS[power],
        )
    )


def ipv4(numbers: NDArray[np.int64]) -> Text:
    """IPv4 addresses as dotted quads."""
    return np.column_stack(
        (
            _OCTET_DOT[numbers >> 24 & 255],
            _OCTET_DOT[numbers >> 16 & 255],
            _OCTET_DOT[numbers >> 8 & 255],
            _OCTET[numbers & 255],
        )
    )


def strings(texts: Sequence[bytes]) -> Text:
    """Some texts, none of which holds a NUL."""
    width = max(1, -(-max(map(len, texts), default=0) // 4))
    return np.array(texts, f"S{width * 4}").view(np.uint32).reshape(len(texts), width)


def octets(matrix: NDArray[np.uint8]) -> Text:
    """Texts that lie in a matrix of octets already, NUL behind each; its width is a multiple of four."""
    return np.ascontiguousarray(matrix).view(np.uint32)


def replaced(text: Text, rows: NDArray[np.bool_], others: Sequence[bytes]) -> Text:
    """A text column with other texts in some of its rows."""
    return _patched(text, rows, strings(others)) if len(others) else text


def _patched(text: Text, rows: NDArray[np.bool_], others: Text) -> Text:
    if others.shape[1] > text.shape[1]:
        more = np.zeros((len(text), others.shape[1] - text.shape[1]), np.uint32)
        text = np.concatenate((text, more), 1)
    at = np.flatnonzero(rows)
    text[at] = 0
    text[at, : others.shape[1]] = others
    return text


def same(one: Text, other: Text) -> NDArray[np.bool_]:
    """Which rows of two columns have the same octets; the columns may differ in width."""
    width = min(one.shape[1], other.shape[1])
    equal: NDArray[np.bool_] = (one[:, :width] == other[:, :width]).all(1)
    return equal & ~one[:, width:].any(1) & ~other[:, width:].any(1)


def plain(row: NDArray[np.uint32]) -> str:
    """One text of a text column."""
    return row.tobytes().translate(None, b"\0").decode("ascii")
