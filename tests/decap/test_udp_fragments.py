"""Fragments of RFC 1928 s7 become the datagram that they are of, or are counted."""

from __future__ import annotations

import pytest

from socks5sniff.decap.udp_fragments import MAX_DATA, Fragments

HERE, THERE = ("192.0.2.1", 53), ("192.0.2.2", 53)


@pytest.mark.parametrize(
    ("arriving", "whole", "lost"),
    [
        ([(1, HERE, b"a"), (2, HERE, b"b"), (0x83, HERE, b"c")], [b"abc"], 0),
        ([(0x81, HERE, b"alone")], [b"alone"], 0),
        ([(1, HERE, b"a"), (0x83, HERE, b"c")], [], 2),
        ([(2, HERE, b"b"), (0x83, HERE, b"c")], [], 2),
        ([(1, HERE, b"old"), (1, HERE, b"a"), (0x82, HERE, b"b")], [b"ab"], 1),
        ([(1, HERE, b"a"), (0x82, THERE, b"b")], [], 2),
        ([(1, HERE, b"a")], [], 1),
        ([(1, HERE, bytes(MAX_DATA)), (0x82, HERE, b"b")], [], 2),
    ],
    ids=["three", "one", "a hole", "no first", "begun again", "two places", "unfinished", "too long"],
)
def test_fragments(arriving: list[tuple[int, tuple[str, int], bytes]], whole: list[bytes], lost: int) -> None:
    fragments = Fragments()
    found = [fragments.add(*one) for one in arriving]
    fragments.give_up()
    assert ([octets for octets in found if octets is not None], fragments.lost) == (whole, lost)
