"""Addresses: from text, to text, to octets."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.codec import Address, ipv4_text, ipv6_text


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", Address(1, b"\xc0\0\2\1", 80)),
        ("::1", Address(4, bytes(15) + b"\1", 80)),
        ("[::1]", Address(4, bytes(15) + b"\1", 80)),
        ("2001:DB8::", Address(4, b"\x20\x01\x0d\xb8" + bytes(12), 80)),
        ("example.org", Address(3, b"example.org", 80)),
        ("b\u00fccher.example", Address(3, b"b\xc3\xbccher.example", 80)),
        ("192.0.2.256", Address(3, b"192.0.2.256", 80)),
        ("[not-an-address]", Address(3, b"[not-an-address]", 80)),
        ("", Address(3, b"", 80)),
    ],
)
def test_from_text(host: str, address: Address) -> None:
    assert Address.from_text(host, 80) == address


def test_each_type_from_text() -> None:
    assert Address.ipv4("192.0.2.1", 1) == Address(1, b"\xc0\0\2\1", 1)
    assert Address.ipv6("::1", 2) == Address(4, bytes(15) + b"\1", 2)
    assert Address.domain("192.0.2.1", 3) == Address(3, b"192.0.2.1", 3)
    assert Address.domain(b"\xff\0", 4) == Address(3, b"\xff\0", 4)


@pytest.mark.parametrize(
    ("build", "host"),
    [
        (Address.ipv4, "example.org"),
        (Address.ipv6, "192.0.2.1"),
        (Address.ipv6, "[::1]"),
        (Address.domain, "a" * 256),
        (Address.from_text, "a" * 256),
    ],
)
def test_text_that_does_not_fit_is_refused(build: Callable[[str, int], Address], host: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        build(host, 1)


@pytest.mark.parametrize(
    ("address", "type_name", "text", "whole"),
    [
        (Address(1, b"\xc0\0\2\1", 443), "ipv4", "192.0.2.1", "192.0.2.1:443"),
        (Address(4, bytes(15) + b"\1", 443), "ipv6", "::1", "[::1]:443"),
        (Address(3, b"example.org", 443), "domain", "example.org", "example.org:443"),
        (Address(3, b"b\xc3\xbccher", 443), "domain", "b\u00fccher", "b\u00fccher:443"),
        (Address(3, b"a\xff\xc3b", 443), "domain", r"a\xff\xc3b", r"a\xff\xc3b:443"),
        (Address(3, b"", 443), "domain", "", ":443"),
        # Values that no decoder gives: still no exception.
        (Address(1, b"abc", 443), "ipv4", "abc", "abc:443"),
        (Address(9, b"abc", 443), "unknown-0x09", "abc", "abc:443"),
    ],
)
def test_text(address: Address, type_name: str, text: str, whole: str) -> None:
    assert (address.type_name, address.text, str(address)) == (type_name, text, whole)


def test_unspecified() -> None:
    assert Address(1, bytes(4), 1080).is_unspecified
    assert Address(4, bytes(16), 0).is_unspecified
    assert not Address(1, b"\0\0\0\1", 0).is_unspecified
    assert not Address(3, b"", 0).is_unspecified


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        # RFC 5952 s4: no leading zeros, lower case, the longest run shortened, the first of equal ones, never one alone
        ("2001 0db8 0000 0000 0000 0000 0002 0001", "2001:db8::2:1"),
        ("2001 0db8 0000 0001 0001 0001 0001 0001", "2001:db8:0:1:1:1:1:1"),
        ("2001 0000 0000 0001 0000 0000 0000 0001", "2001:0:0:1::1"),
        ("2001 0db8 0000 0000 0001 0000 0000 0001", "2001:db8::1:0:0:1"),
        ("2001 0DB8 AAAA 0000 0000 0000 0000 0000", "2001:db8:aaaa::"),
        ("0000 0000 0000 0000 0000 0000 0000 0000", "::"),
        ("0010 0000 0000 0010 0000 0000 0000 0100", "10:0:0:10::100"),
        # s5: the IPv4-mapped prefix is well known
        ("0000 0000 0000 0000 0000 ffff c000 0201", "::ffff:192.0.2.1"),
        ("0000 0000 0000 0000 0000 0000 c000 0201", "::c000:201"),
    ],
)
def test_ipv6_text(groups: str, text: str) -> None:
    assert ipv6_text(bytes.fromhex(groups)) == text


@given(st.lists(st.sampled_from([b"\0\0", b"\0\x10", b"\x10\0", b"\xab\xcd", b"\0\1"]), min_size=8, max_size=8))
@example([b"\0\0"] * 5 + [b"\xff\xff"] + [b"\0\1"] * 2)
@settings(max_examples=500, deadline=None)
def test_ipv6_text_agrees_with_the_standard_library(groups: list[bytes]) -> None:
    octets = b"".join(groups)
    assert IPv6Address(ipv6_text(octets)).packed == octets
    if not octets.startswith(bytes(10) + b"\xff\xff"):
        assert ipv6_text(octets) == str(IPv6Address(octets))


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_text_agrees_with_the_standard_library(octets: bytes) -> None:
    assert ipv4_text(octets) == str(IPv4Address(octets))


@given(st.integers(0, 255), st.binary(max_size=40), st.integers(0, 65535))
def test_text_never_raises(kind: int, host: bytes, port: int) -> None:
    assert str(Address(kind, host, port)).endswith(f":{port}")
