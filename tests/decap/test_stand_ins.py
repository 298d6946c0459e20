"""Addresses that stand for names: the same for the same name, different for different ones, never a real host's."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.decap import stand_ins
from socks5sniff.decap.stand_ins import NETWORKS, StandIns

CLIENTS = {4: "192.0.2.1", 6: "2001:db8:ffff::1"}


def stand_in(given_: StandIns, name: str, version: int = 4) -> str:
    return str(ip_address(given_.pair(CLIENTS[version], name)[1]))


def test_they_are_the_same_in_every_capture() -> None:
    """Written down once: whoever has files of an earlier version finds the same addresses in new ones."""
    given_ = StandIns([])
    assert [stand_in(given_, name) for name in ("www.example.com", "WWW.Example.com.")] == ["198.19.159.197"] * 2
    assert stand_in(given_, "www.example.com", 6) == "2001:db8:47c0:be34:379b:d26a:3287:bfb7"
    assert [*given_.names.values()] == ["www.example.com"] * 2


@given(
    st.lists(st.sampled_from([f"host{number}.example" for number in range(600)]), unique=True), st.sampled_from((4, 6))
)
def test_every_name_has_its_own(names: list[str], version: int) -> None:
    given_ = StandIns([])
    found = [stand_in(given_, name, version) for name in names]
    assert len(set(found)) == len(names)
    assert all(ip_address(address) in NETWORKS[version] for address in found)
    assert [given_.names[ip_address(address).packed] for address in found] == names


def test_a_real_host_keeps_its_address() -> None:
    taken = stand_in(StandIns([]), "www.example.com")
    given_ = StandIns([taken, "www.example.com"])
    assert stand_in(given_, "www.example.com") != taken
    assert stand_in(given_, taken) == taken


def test_addresses_stand_for_themselves() -> None:
    given_ = StandIns([])
    assert given_.pair("192.0.2.1", "198.51.100.7") == (bytes((192, 0, 2, 1)), bytes((198, 51, 100, 7)))
    assert given_.pair("2001:db8::1", "::1") == (ip_address("2001:db8::1").packed, ip_address("::1").packed)
    assert not given_.names


@pytest.mark.parametrize(("here", "there"), [("192.0.2.1", "2001:db8::1"), ("2001:db8::1", "192.0.2.1")])
def test_of_two_versions_ipv4_takes_the_form_of_ipv6(here: str, there: str) -> None:
    mapped = [address if ":" in address else f"::ffff:{address}" for address in (here, there)]
    assert StandIns([]).pair(here, there) == tuple(ip_address(address).packed for address in mapped)


def test_names_are_told_once() -> None:
    given_ = StandIns([])
    stand_in(given_, "one.example")
    first = given_.fresh()
    stand_in(given_, "two.example")
    stand_in(given_, "one.example")
    assert ([*first.values()], [*given_.fresh().values()], given_.fresh()) == (["one.example"], ["two.example"], {})


def test_more_names_than_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    from ipaddress import IPv4Network

    monkeypatch.setitem(stand_ins.NETWORKS, 4, IPv4Network("198.18.0.0/29"))
    given_ = StandIns([])
    found = {stand_in(given_, f"host{number}.example") for number in range(10)}
    assert found == {f"198.18.0.{host}" for host in range(1, 7)}
    assert given_.shared == 4
