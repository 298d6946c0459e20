"""Many strings at once: all are found, wherever they lie."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.sanitize.search import Search, worth

LETTERS = st.sampled_from(b"abAB.\x00")


def octets(least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.lists(LETTERS, min_size=least, max_size=most).map(bytes)


@given(st.lists(octets(4, 12), min_size=1, max_size=6), st.lists(octets(0, 30), max_size=8), st.randoms())
def test_as_a_regular_expression_finds_them(strings, between, random) -> None:
    text = b"".join(part + random.choice(strings) for part in between)
    wanted = sorted({string.lower() for string in strings if worth(string)}, key=len, reverse=True)
    expected = [] if not wanted else [
        (found.start(), len(found[0]))
        for found in re.finditer(b"|".join(map(re.escape, wanted)), text.lower())
    ]  # fmt: skip
    found = Search((string, 0) for string in strings).find(np.frombuffer(text, np.uint8))
    assert [(hit.at, hit.length) for hit in found] == expected


def test_many_short_strings() -> None:
    strings = [b"%04x" % (number * 7919 % 65536) for number in range(300)]
    text = b"--".join(strings[::3])
    found = Search((string, 0) for string in strings).find(np.frombuffer(text, np.uint8))
    assert {text[hit.at : hit.at + hit.length] for hit in found} >= {string for string in strings[::3] if worth(string)}


def test_what_is_everywhere_is_not_looked_for() -> None:
    assert not any(map(worth, (b"", b"abc", b"xxxxxxxxxx", b"abab", bytes(8))))
    assert all(map(worth, (b"abcd", b"8.8.8.8", b"secret")))
