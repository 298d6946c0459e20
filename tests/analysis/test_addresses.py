"""Which addresses mean something only on their own host, or in their own network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.analysis.association import is_loopback, is_private

LOOPBACK = ("127.0.0.0/8", "::1/128")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")


def is_in(host: str, networks: tuple[str, ...]) -> bool:
    address = ip_address(host)
    return any(address in ip_network(network) for network in networks)


def edges() -> list[str]:
    """The first and last address of each network, and those beside them."""
    found = []
    for network in map(ip_network, LOOPBACK + PRIVATE):
        for address in (network.network_address, network.broadcast_address):
            found += [str(address + step) for step in (-1, 0, 1) if not (step > 0 and int(address) == 2**128 - 1)]
    return found


@pytest.mark.parametrize("host", edges())
def test_at_the_edges_of_networks(host: str) -> None:
    assert is_loopback(host) == is_in(host, LOOPBACK)
    assert is_private(host) == is_in(host, LOOPBACK + PRIVATE)


@pytest.mark.parametrize("host", ["fc0::", "fd::1", "fe8::1", "feb:1::", "10a::1", "fc00::", "fdff::1", "febf::1"])
def test_groups_have_four_digits_or_less(host: str) -> None:
    test_at_the_edges_of_networks(host)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None))  # type: ignore[union-attr]
def test_anywhere(address: object) -> None:
    test_at_the_edges_of_networks(str(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_the_form_of_ipv6(address: object) -> None:
    assert is_loopback(f"::ffff:{address}") == is_in(str(address), LOOPBACK)
    assert is_private(f"::ffff:{address}") == is_in(str(address), LOOPBACK + PRIVATE)
