"""Endpoints as numbers, and back."""

from __future__ import annotations

import struct
from base64 import b64encode
from hashlib import sha1
from ipaddress import IPv6Address, ip_address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.packets import IPV6, AddressBook, address_text
from socks5sniff.packets.community import community_ids

from .samples import RAW, batch_of, ipv6, read, tcp

PACKED = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


def columns_of(addresses: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Addresses as `intern` takes them."""
    both = np.frombuffer(b"".join(addresses), np.uint64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


@given(PACKED, st.integers(0, 65535))
def test_an_endpoint_gives_back_what_it_was_made_of(packed: bytes, port: int) -> None:
    book = AddressBook()
    endpoint = book.make(packed, port)
    assert (book.packed(endpoint), book.port(endpoint)) == (packed, port)
    assert bool(endpoint & IPV6) == (len(packed) == 16)
    assert 0 <= endpoint < 1 << 64


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20), max_size=5))
def test_columns_and_single_addresses_agree(batches: list[list[bytes]]) -> None:
    book = AddressBook()
    for addresses in batches:
        endpoints = book.intern(*columns_of(addresses)).tolist()
        assert [book.packed(endpoint) for endpoint in endpoints] == addresses
        assert endpoints == [book.make(packed, 0) for packed in addresses]
        assert len(set(endpoints)) == len(set(addresses))


def test_more_addresses_than_the_cache_has_slots() -> None:
    book = AddressBook()
    addresses = [number.to_bytes(16, "big") for number in range(100_000)]
    first = book.intern(*columns_of(addresses))
    assert len(book) == 100_000
    assert (book.intern(*columns_of(addresses)) == first).all()


def test_retain_forgets_all_others_and_an_index_means_one_address() -> None:
    book = AddressBook()
    addresses = [number.to_bytes(16, "big") for number in range(10)]
    before = book.intern(*columns_of(addresses)).tolist()
    book.retain(endpoint >> 16 for endpoint in before[:3])
    assert len(book) == 3
    assert [book.packed(endpoint) for endpoint in before[:3]] == addresses[:3]
    with pytest.raises(KeyError):
        book.packed(before[5])
    with pytest.raises(KeyError):
        book.endpoint_address(before[5])
    after = book.intern(*columns_of(addresses)).tolist()
    assert after == before
    others = book.intern(*columns_of([number.to_bytes(16, "big") for number in range(10, 2000)])).tolist()
    assert set(others).isdisjoint(before)


def test_books_agree_on_indices_in_any_order() -> None:
    addresses = [number.to_bytes(16, "big") for number in range(50)]
    one, other = AddressBook(), AddressBook()
    found = one.intern(*columns_of(addresses))
    assert (other.intern(*columns_of(addresses[::-1])) == found[::-1]).all()
    third = AddressBook()
    third.learn(one.known())
    assert [third.packed(endpoint) for endpoint in found.tolist()] == addresses
    assert [third.make(packed, 0) >> 16 for packed in addresses] == (found >> np.uint64(16)).tolist()
    with pytest.raises(ValueError, match="same hash"):
        third.learn({int(found[0]) >> 16 & (1 << 47) - 1: bytes(16)[:-1] + b"x"})


def test_fragments_outlive_their_addresses() -> None:
    payload = tcp(b"x" * 100)
    frames = [
        ipv6(44, bytes((6, 0, 0, 1)) + bytes(4) + payload[:40]),
        ipv6(44, bytes((6, 0, 0, 40)) + bytes(4) + payload[40:]),
    ]
    _, _, reader = read(batch_of(frames[:1], RAW))
    reader.addresses.retain(())
    segments, _, _ = read(batch_of(frames[1:], RAW), reader)
    assert [found.source for found in segments] == [("2001:db8::1", 40000)]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("0:0:0:0:0:0:0:0", "::"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:DB8::ABCD", "2001:db8::abcd"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("::192.0.2.1", "::c000:201"),
        ("fe80::", "fe80::"),
    ],
)
def test_text_is_that_of_rfc_5952(address: str, text: str) -> None:
    book = AddressBook()
    assert book.endpoint_address(book.make(IPv6Address(address).packed, 1)) == text
    assert IPv6Address(text) == IPv6Address(address)


def test_ipv4_text() -> None:
    assert address_text(bytes((192, 0, 2, 1))) == "192.0.2.1"
    assert AddressBook().endpoint_address(0xC0000201 << 16 | 80) == "192.0.2.1"


@pytest.mark.parametrize(("packed", "port"), [(b"", 1), (b"12345", 1), (b"1234", -1), (b"1234", 65536)])
def test_what_is_no_endpoint(packed: bytes, port: int) -> None:
    with pytest.raises(ValueError, match=r"octets|outside"):
        AddressBook().make(packed, port)


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "expected"),
    [
        (("128.232.110.120", 34855), ("66.35.250.204", 80), 6, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    ],
)
def test_community_id(source: tuple[str, int], destination: tuple[str, int], protocol: int, expected: str) -> None:
    book = AddressBook()
    here = book.make(ip_address(source[0]).packed, source[1])
    there = book.make(ip_address(destination[0]).packed, destination[1])
    assert book.community_id(here, there, protocol) == expected
    assert book.community_id(there, here, protocol) == expected


ENDS = st.integers(0, (1 << 48) - 1)


@given(st.lists(st.tuples(ENDS, ENDS).map(sorted), min_size=1, max_size=5), st.sampled_from([6, 17]))
def test_community_ids_of_many_flows_at_once(ends: list[list[int]], protocol: int) -> None:
    """Version 1 of the specification (github.com/corelight/community-id-spec), by hashlib's SHA-1."""
    low, high = (np.array(column, np.uint64) for column in zip(*ends, strict=True))
    found = [bytes(row).decode() for row in community_ids(low, high, protocol)]
    assert found == [
        b64encode(
            sha1(struct.pack(">HIIBBHH", 0, one >> 16, other >> 16, protocol, 0, one & 0xFFFF, other & 0xFFFF)).digest()
        ).decode()
        for one, other in ends
    ]
