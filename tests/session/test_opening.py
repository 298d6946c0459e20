"""The first octets of a connection: exactly which of them may open SOCKS."""

from __future__ import annotations

import pytest

from socks5sniff.session.opening import (
    PREAMBLE_LIMIT,
    Foreign,
    Opening,
    find_client,
    find_greeting,
    foreign_name,
    looks_like_request,
    printable,
    sound_methods,
    sound_so_far,
)

OCTETS = range(256)
REQUEST = b"\5\1\0\1"


def allowed(place: int) -> set[int]:
    """What may stand at a place of a request's first four octets."""
    heads = ((octet, REQUEST[:place] + bytes([octet]) + REQUEST[place + 1 :]) for octet in OCTETS)
    return {octet for octet, head in heads if looks_like_request(head)}


def test_how_a_request_begins() -> None:
    """RFC 1928 s4, and Tor's RESOLVE and RESOLVE_PTR."""
    assert [allowed(place) for place in range(4)] == [{5}, {1, 2, 3, 0xF0, 0xF1}, {0}, {1, 3, 4}]
    assert [looks_like_request(REQUEST[:size]) for size in range(5)] == [None, None, None, None, True]
    assert looks_like_request(REQUEST + b"\xff" * 6) is True
    assert looks_like_request(b"\5\4") is False


def test_which_methods_a_client_may_list() -> None:
    """Assigned ones (IANA) and private ones, none twice; never that none is acceptable."""
    assert {octet for octet in OCTETS if sound_methods(bytes([octet]))} == {*range(10), *range(0x80, 0xFF)} - {4}
    assert sound_methods(b"\0\2")
    assert not sound_methods(b"\2\2")
    assert sound_methods(b"")


def test_what_a_user_id_may_hold() -> None:
    assert {octet for octet in OCTETS if printable(bytes([octet]))} == {*range(0x20, 256)} - {0x7F}
    assert printable(b"")


def test_a_socks4_request_so_far() -> None:
    commands = {octet for octet in OCTETS if sound_so_far(bytes([4, octet]))}
    assert commands == {1, 2, 0xF0, 0xF1}
    head = b"\4\1\0\x50\x0a\0\0\1"
    assert all(sound_so_far(head[:size]) for size in range(1, 9))
    assert sound_so_far(head + b"me\0\x01")
    assert not sound_so_far(head + b"m\x01")
    assert sound_so_far(b"\4\1\x01\x01\x01\x01\x01\x01")


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        *((word + b" /", "HTTP") for word in (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT")),
        (b"TRACE *", "HTTP"), (b"PATCH /", "HTTP"), (b"PRI *", "HTTP"), (b"HTTP/1.1 200", "HTTP"),
        (b"SSH-2.0", "SSH"), (b"\x16\x03\x01", "TLS"), (b"\x06\0", "SOCKS6"), (b"\x06", "SOCKS6"),
        (b"GETTER", None), (b"get /", None), (b"HTTP", None), (b"SSH2", None), (b"\x16\x04", None), (b"\x16", None),
        (b"\x07\x03", None), (b"", None),
    ],
)  # fmt: skip
def test_protocols_with_a_name(octets: bytes, name: str | None) -> None:
    assert foreign_name(octets) == name
    if octets:
        assert (find_client((octets, b""), 0, 0) == Foreign(name)) == (name is not None)


LONG = b"x" * PREAMBLE_LIMIT


@pytest.mark.parametrize(
    ("octets", "place"),
    [
        (b"\5\1\0", 0), (b"\5\1\0\5", 0), (b"\5\1\2\1", 0), (b"\5\1\0\2", None), (b"\5\1", None), (b"\5", None),
        (b"\5\0", None), (b"\5\2\0", None), (b"\5\2\0\0", None), (b"\5\5\1\0", 1), (b"ab\5\1\0", 2),
        (LONG + b"\5\1\0", PREAMBLE_LIMIT), (LONG + b"x\5\1\0", None), (LONG[:-1] + b"\5\5\1\0", PREAMBLE_LIMIT),
        (LONG + b"\5\5\1\0", None), (b"", None),
    ],
)  # fmt: skip
def test_where_a_greeting_lies_behind_other_octets(octets: bytes, place: int | None) -> None:
    """A sound one, that ends them or has a request or a login behind it; within the limit."""
    assert find_greeting(octets) == place


@pytest.mark.parametrize(
    ("octets", "side", "mark", "found"),
    [
        ((b"\5", b""), 0, 0, Opening(0, (0, 0))),
        ((b"\4", b""), 0, 0, Opening(0, (0, 0))),
        ((b"\5", b"hello"), 0, 0, Opening(0, (0, 5))),
        ((b"\5", LONG), 0, 0, Opening(0, (0, PREAMBLE_LIMIT))),
        ((b"\5", LONG + b"x"), 0, 0, None),
        ((b"x", b""), 0, 0, None),
        ((LONG, b""), 0, 0, None),
        ((LONG + b"x", b""), 0, 0, Foreign(None)),
        # The TCP server: `05`, `05 00` may be a selection before its time.
        ((b"", b"\5"), 1, 0, None),
        ((b"", b"\5\0"), 1, 0, None),
        ((b"", b"\5\1"), 1, 0, Opening(1, (0, 0))),
        ((b"", b"\5\0\1"), 1, 0, Opening(1, (0, 0))),
        ((b"hi", b"\4\1"), 1, 2, Opening(1, (2, 0))),
        ((b"", LONG), 1, 0, None),
        ((b"", LONG + b"x"), 1, 0, Foreign(None)),
        ((b"", LONG + b"\5"), 1, 0, None),
        ((b"", LONG + b"x\5"), 1, 0, Foreign(None)),
        # A greeting of the TCP server behind other octets counts with a choice that fits.
        ((b"hi\5\0", b"yo\5\1\0"), 0, 2, Opening(1, (2, 2))),
        ((b"hi\5\xff", b"yo\5\1\0"), 0, 2, Opening(1, (2, 2))),
        ((b"hi\5", b"yo\5\1\0"), 0, 2, None),
        ((b"hi\5\2", b"yo\5\1\0"), 0, 2, None),
    ],
)
def test_who_opens(octets: tuple[bytes, bytes], side: int, mark: int, found: Opening | Foreign | None) -> None:
    assert find_client(octets, side, mark) == found
