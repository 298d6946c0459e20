"""Datagrams as columns, against the codec and a plain list: their headers, what is kept of them, and copies."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from socks5sniff.analysis.datagrams import (
    COPY,
    MAX_HEADER,
    MAX_INITIAL,
    Copies,
    Places,
    UdpRows,
    header_like,
    headers_of,
)
from socks5sniff.codec import Address, AddressType, Decoded, decode_udp_header
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams
from socks5sniff.streams.heads import SHORT

QUERY = b"\0\7\1\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1"
INITIAL = b"\xc3\0\0\0\1\x08" + bytes(20)
NAMES = [b"a.example", b"", b"with space", b"n" * 70, b"n" * 77, b"n" * 78, b"n" * 90, b"n" * 255]


def columns(
    payloads: Sequence[bytes], captured: Sequence[int], times: Sequence[int], idents: Sequence[int]
) -> Datagrams:
    """Datagrams between two endpoints, one behind the other in memory."""
    count, lengths = len(payloads), np.array([*map(len, payloads)], np.int64)
    ends = np.full(count, 5 << 16 | 7, np.uint64)
    return Datagrams(
        octets=np.frombuffer(b"".join(payloads) + bytes(64), np.uint8),
        spill=np.empty(0, np.uint8),
        frame=np.arange(1, count + 1),
        time=np.array(times, np.int64),
        capture=np.zeros(count, np.uint16),
        source=ends,
        destination=ends + np.uint64(1),
        payload=np.cumsum(lengths) - lengths,
        length=lengths,
        captured=np.array(captured, np.int64),
        network=np.zeros(count, np.int32),
        ident=np.array(idents, np.int32),
    )


def header(draw: Random) -> bytes:
    """A header that is mostly right."""
    name = draw.choice(NAMES)
    kind = draw.choice([b"\1" + draw.randbytes(4), b"\4" + draw.randbytes(16), b"\3" + bytes([len(name)]) + name])
    if draw.randrange(9) == 0:
        kind = bytes([draw.choice([0, 2, 5, 0xFF])]) + kind[1:]
    reserved, fragment = draw.choice([b"\0\0"] * 6 + [b"\0\1", b"\1\0"]), draw.choice([0, 0, 0, 0, 1, 0x82])
    return reserved + bytes([fragment]) + kind + draw.choice([b"\0\x35", b"\1\xbb", b"\xff\xff", b"\0\0"])


def payload(draw: Random) -> bytes:
    inside = draw.choice([QUERY, INITIAL, draw.randbytes(7), b""])
    if inside and draw.randrange(4) == 0:  # nearly that
        at = draw.randrange(min(len(inside), 12))
        inside = inside[:at] + draw.randbytes(1) + inside[at + 1 :]
    whole = header(draw) + inside + bytes(draw.choice([0, 0, 60, 100, 600, 3000]))
    return whole[: draw.randrange(30)] if draw.randrange(5) == 0 else whole


def kept(octets: bytes) -> bytes:
    """Much of what asks DNS or opens QUIC, or has a long name before that; else the first octets."""
    begin = octets[:SHORT].ljust(SHORT, b"\0")
    size = {1: 10, 4: 22}.get(begin[3], 7 + begin[4])
    far = begin[3] == 3 and size > SHORT - 12
    inside = begin[min(size, SHORT - 12) :]
    opens = inside[0] >= 0xC0 and inside[1:5] in (b"\0\0\0\1", b"\x6b\x33\x43\xcf")
    asks = inside[2] & 0xF8 == 0 and inside[4:10] == b"\0\1\0\0\0\0"
    if opens or far:
        return octets[: 2 * MAX_HEADER + MAX_INITIAL]
    return octets[: 2 * MAX_HEADER if asks else SHORT]


@pytest.mark.parametrize("seed", range(12))
def test_headers_are_those_that_the_codec_reads(seed: int) -> None:
    draw, book = Random(seed), AddressBook()
    payloads = [payload(draw) for _ in range(1 + 40 * seed)]
    captured = [draw.choice([len(each), len(each), draw.randint(0, len(each))]) for each in payloads]
    datagrams = columns(payloads, captured, [0] * len(payloads), [0] * len(payloads))
    chosen = np.flatnonzero(np.array([draw.randrange(9) for _ in payloads]))
    rows, places = UdpRows.of(datagrams, chosen), Places(book)
    found = headers_of(rows, places, book)
    like = {*header_like(datagrams, chosen).tolist()}
    for at, row in enumerate(chosen.tolist()):
        octets = payloads[row][: captured[row]]
        assert rows.octets(at) == kept(octets)
        expected = decode_udp_header(octets)
        assert (row in like) == (octets[:2] == b"\0\0" and octets[3:4] in (b"\1", b"\3", b"\4"))
        assert bool(found.whole[at]) == isinstance(expected, Decoded)
        if not isinstance(expected, Decoded):
            assert found.odd[at]
            assert (found.size[at] > 0) == (octets[3:4] in (b"\1", b"\3", b"\4"))
            continue
        assert found.size[at] == expected.length
        assert (found.reserved[at], found.fragment[at]) == (expected.frame.reserved, expected.frame.fragment)
        assert bool(found.odd[at]) == bool(expected.deviations or expected.frame.fragment)
        check_place(places, int(found.key[at]), expected.frame.destination)


def check_place(places: Places, key: int, address: Address) -> None:
    """A key is an endpoint, or stands for a name."""
    named = address.type == AddressType.DOMAIN
    assert places.host(key) == (address.host if named else address.text)
    assert key & 0xFFFF == address.port
    assert places.endpoint(key) == (None if named else key)


@pytest.mark.parametrize("seed", range(20))
def test_copies_are_the_same_again_within_a_short_time(seed: int) -> None:
    """Of several, each is compared with the one before it; what has no number is none."""
    draw, copies, before = Random(seed), Copies(), list[tuple[bytes, int, int]]()
    first = draw.choice([0, 10 * COPY])
    for _ in range(6):
        payloads = [draw.choice([b"a", b"b", b"", b"a" * SHORT + b"x", b"a" * SHORT + b"yy"]) for _ in range(12)]
        times = sorted(first + draw.randrange(5 * COPY // 2) for _ in payloads)
        times = [draw.choice([time, time // COPY * COPY]) for time in times]
        idents = [draw.choice([-1, 0, 1]) for _ in payloads]
        rows = UdpRows.of(columns(payloads, [*map(len, payloads)], times, idents), np.arange(len(payloads)))
        expected = []
        for octets, time, ident in zip(payloads, times, idents, strict=True):
            known = [then for *same, then in before if same == [octets, ident]]
            expected.append(ident < 0 or not known or abs(time - known[-1]) > COPY)
            before += [(octets, ident, time)] * (ident >= 0)
        assert copies.fresh(rows).tolist() == expected
        latest = max((time for *_, time in before), default=0)
        before = [each for each in before if each[-1] > latest - COPY]
        first = latest + draw.choice([0, 1, COPY - 1, COPY, COPY + 1])


def test_datagrams_differ_in_anything_that_tells() -> None:
    """Payload's beginning, length, number, and who sends it to whom."""
    datagrams = columns([b"a" * 100, b"a" * 100, b"a" * 101, b"b" * 100], [100] * 4, [0] * 4, [7] * 4)
    rows = UdpRows.of(datagrams, np.array([0, 1, 2, 3]))
    assert Copies().fresh(rows).tolist() == [True, False, True, True]
    for name in ("source", "destination", "ident"):
        other = rows._replace(**{name: getattr(rows, name) + np.arange(4, dtype=getattr(rows, name).dtype)})
        assert Copies().fresh(other).all()
