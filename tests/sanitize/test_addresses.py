"""Addresses: Crypto-PAn as published, and what is kept."""

from __future__ import annotations

import sys
from ipaddress import ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from socks5sniff.errors import MissingError
from socks5sniff.sanitize.addresses import AddressMap, CryptoPan

PUBLISHED = bytes.fromhex("1522178d33a4cf80130a5b1649907d10d8988f837979652762574c2d2a842202")
"""The key of the authors' sample trace."""
MAP = AddressMap(bytes(range(32)))
BLOCKS = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")


def ip(text: str) -> bytes:
    return ip_address(text).packed


def shared(one: bytes, other: bytes) -> int:
    """Bits that two addresses begin with alike."""
    differing = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) * 8 - differing.bit_length()


@pytest.mark.parametrize(
    ("key", "address", "expected"),
    [
        (PUBLISHED, "128.11.68.132", "135.242.180.132"),
        (PUBLISHED, "129.118.74.4", "134.136.186.123"),
        (b"32-char-str-for-AES-key-and-pad.", "192.0.2.1", "192.0.125.244"),
        (PUBLISHED, "2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e"),
    ],
)
def test_as_published(key: bytes, address: str, expected: str) -> None:
    assert CryptoPan(key)(ip(address)) == ip(expected)


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_the_published_algorithm_keeps_prefixes(one: bytes, other: bytes) -> None:
    pan = CryptoPan(PUBLISHED)
    assert shared(pan(one), pan(other)) == shared(one, other)


@given(st.binary(min_size=4, max_size=4), st.integers(16, 31), st.integers(0, 1 << 16))
def test_networks_stay_together(one: bytes, bits: int, rest: int) -> None:
    other = (int.from_bytes(one, "big") ^ (1 << 31 - bits | rest & (1 << 31 - bits) - 1)).to_bytes(4, "big")
    assert shared(one, other) == bits
    assert shared(MAP.ip(one), MAP.ip(other)) in (bits, 32 * (one[0] in (0, 127) or one[0] > 223) + bits)


@given(st.sampled_from([4, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_an_address_stays_what_it_is(address: bytes) -> None:
    before, after = ip_address(address), ip_address(MAP.ip(address))
    assert len(MAP.ip(address)) == len(address)
    for said in ("is_loopback", "is_multicast", "is_unspecified", "is_link_local"):
        assert getattr(before, said) == getattr(after, said)
    if before.version == 4:
        assume(before.is_private or before.is_global)
        assert before.is_multicast or not before.is_global or not after.is_loopback


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_are_kept(block: str) -> None:
    from ipaddress import ip_network

    network = ip_network(block)
    seen = {MAP.ip((int(network.network_address) + n).to_bytes(4, "big")) for n in range(300)}
    assert len(seen) == 300
    assert all(ip_address(address) in network for address in seen)


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.251", "::", "::1", "ff02::1"])
def test_what_names_nobody_stays(address: str) -> None:
    assert MAP.ip(ip(address)) == ip(address)


def test_embedded_addresses_go_with_their_own() -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert MAP.ip(ip(f"{prefix}198.51.100.7"))[12:] == MAP.ip(ip("198.51.100.7"))
    assert MAP.ip(ip("fe80::1"))[:8] == ip("fe80::")[:8]
    assert MAP.ip(ip("ff02::1:ff12:3456"))[13:] == MAP.mac(b"\x33\x33\xff\x12\x34\x56")[3:]


def test_mac_addresses() -> None:
    mac = MAP.mac(bytes.fromhex("001122334455"))
    assert mac != bytes.fromhex("001122334455")
    assert mac[0] & 3 == 2
    for kept in ("ffffffffffff", "01005e0000fb", "000000000000", "333300000001"):
        assert MAP.mac(bytes.fromhex(kept)).hex() == kept


def test_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(MissingError, match=r"socks5sniff\[sanitize\]"):
        AddressMap(bytes(32))
