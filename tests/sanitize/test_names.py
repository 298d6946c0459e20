"""Names: what stands for them has their form, and DNS messages are rewritten whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRRMX, DNSRRSRV, EDNS0ClientSubnet

from socks5sniff.sanitize import Options
from socks5sniff.sanitize.messages import places
from socks5sniff.sanitize.pseudonyms import Pseudonyms
from socks5sniff.sanitize.replacements import Replacements

KEY = bytes(range(32))
NAMES = Pseudonyms(KEY)


@given(st.binary(max_size=255))
def test_lengths_stay(name: bytes) -> None:
    assert len(NAMES.host(name)) == len(name)
    assert len(NAMES.user(name)) == len(name)


@given(st.from_regex(r"[a-z0-9-]{4,20}(\.[a-z0-9-]{2,20}){1,4}", fullmatch=True))
def test_dots_stay_and_domains_are_shared(name: str) -> None:
    octets = name.encode()
    new = NAMES.host(octets)
    assert [at for at, octet in enumerate(new) if octet == 0x2E] == [at for at, c in enumerate(name) if c == "."]
    assert new != octets
    assert NAMES.host(b"api." + octets).endswith(b"." + new)
    assert NAMES.host(octets.upper()).lower() == new


@pytest.mark.parametrize(
    ("name", "end"),
    [
        (b"abcdefgh.onion", b".onion"),
        (b"4.3.2.1.in-addr.arpa", b".in-addr.arpa"),
        (b"sp.v2.udp-over-tcp.arpa", b"sp.v2.udp-over-tcp.arpa"),
        (b"localhost", b"localhost"),
    ],
)
def test_what_says_the_kind_of_a_name_stays(name: bytes, end: bytes) -> None:
    assert NAMES.host(name).endswith(end)


@pytest.mark.parametrize("text", [b"198.51.100.7", b"8.8.8.8", b"255.255.255.255", b"192.168.100.200"])
def test_an_address_in_text_is_one_afterwards(text: bytes) -> None:
    from ipaddress import IPv4Address

    assert IPv4Address(NAMES.host(text).decode()) != IPv4Address(text.decode())


def test_an_ipv6_address_in_text_is_one_afterwards() -> None:
    from ipaddress import IPv6Address

    assert IPv6Address(NAMES.host(b"2001:db8::a:1").decode())
    assert NAMES.host(b"[2001:db8::1]")[:1] == b"["


def rewritten(octets: bytes, options: Options) -> bytes:
    replaced = Replacements(options, KEY, {bytes((203, 0, 113, 9))})
    found = bytearray(octets)
    for start, end, what in places(octets, options):
        found[start:end] = replaced(octets[start:end], what)
    return bytes(found)


def test_a_message_is_rewritten_whole() -> None:
    """Made and read by scapy."""
    message = DNS(
        id=7, qr=1, qd=DNSQR(qname="www.vault.example.org"),
        an=[
            DNSRR(rrname="www.vault.example.org", type="CNAME", rdata="edge.vault.example.org"),
            DNSRR(rrname="edge.vault.example.org", type="A", rdata="203.0.113.9"),
            DNSRRMX(rrname="vault.example.org", exchange="mx.vault.example.org"),
            DNSRRSRV(rrname="_x._tcp.vault.example.org", target="srv.vault.example.org", port=5),
            DNSRR(rrname="vault.example.org", type="TXT", rdata=[b"v=spf1 vault.example.org"]),
        ],
    ).compress()  # fmt: skip
    octets = bytes(message)
    new = rewritten(octets, Options(destinations=True))
    assert len(new) == len(octets)
    assert b"vault" not in new
    read, host = DNS(new), Pseudonyms(KEY).host
    assert read.qd[0].qname == host(b"www.vault.example.org") + b"."
    assert read.an[0].rdata == host(b"edge.vault.example.org") + b"."
    assert read.an[1].rrname == read.an[0].rdata
    assert read.an[1].rdata != "203.0.113.9"
    assert read.an[2].exchange == host(b"mx.vault.example.org") + b"."
    assert read.an[3].target == host(b"srv.vault.example.org") + b"."
    assert set(read.an[4].rdata[0]) == set(b"x")


def test_addresses_alone_leave_names_but_those_that_stand_for_addresses() -> None:
    options = Options(addresses=True)
    for name, stays in (("www.vault.example.org", True), ("9.113.0.203.in-addr.arpa", False)):
        octets = bytes(DNS(qd=DNSQR(qname=name)))
        assert (rewritten(octets, options) == octets) is stays


def test_a_clients_network_becomes_zeros() -> None:
    from scapy.layers.dns import DNSRROPT

    subnet = EDNS0ClientSubnet(source_plen=24, address="203.0.113.0")
    octets = bytes(DNS(qd=DNSQR(qname="a.example.org"), ar=DNSRROPT(rdata=[subnet])))
    assert b"\xcb\0\x71" in octets
    assert b"\xcb\0\x71" not in rewritten(octets, Options(addresses=True))


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    options = Options(users=True, destinations=True, addresses=True)
    assert len(rewritten(octets, options)) == len(octets)
