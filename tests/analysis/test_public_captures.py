"""Captures that nobody here made: what is SOCKS in them is found, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from socks5sniff import read
from socks5sniff.errors import DamagedInputError
from socks5sniff.record import Conversation

SOCKS = {
    "socks.pcap": 4,
    "shadowsocks.pcap": 1,
    "tls_heur__shadowsocks-tcp.pcapng": 1,
    "tls_heur__trojan-tcp-tls.pcapng": 1,
    "tls_heur__vmess-tcp-tls.pcapng": 1,
    "tls_heur__vmess-tcp.pcapng": 1,
    "tls_heur__vmess-websocket.pcapng": 1,
}
DAMAGED = {"fuzz-2021-10-13.pcap"}
"""Its only record claims half a megabyte and has 215 octets."""


def conversations(path: Path) -> list[Conversation]:
    try:
        return list(read(str(path)))
    except DamagedInputError:
        assert path.name in DAMAGED
        return []


def test_the_ten_socks_conversations_among_541_captures_and_no_other(shared_captures: Path):
    found = {path.name: len(conversations(path)) for path in sorted((shared_captures / "ndpi").iterdir())}
    assert {name: count for name, count in found.items() if count} == SOCKS


def test_dnp3_begins_like_socks5_on_both_sides_and_is_not(shared_captures: Path):
    assert conversations(shared_captures / "ndpi" / "dnp3.pcap") == []
    # Not because of its port: on a port the user names it is reported as what it is not.
    for record in read(str(shared_captures / "ndpi" / "dnp3.pcap"), ports=[20000]):
        assert record.protocol is None


@pytest.mark.parametrize(
    ("name", "destinations", "tunnels"),
    [
        (
            "ndpi/socks.pcap",
            ["www.google.com:80", "93.184.216.119:80", "www.example.com:80", "93.184.216.119:80"],
            ["http"] * 4,
        ),
        ("ndpi/tls_heur__vmess-tcp.pcapng", ["[2a00:1450:4006:80d::200e]:443"], ["tls"]),
        ("zeek/socks4-null.pcap", ["192.150.187.12:80"], ["http"]),
        ("zeek/socks-with-ssl.pcap", ["www.google.com:443"], ["tls"]),
    ],
)
def test_what_was_asked_for_and_what_went_through(
    shared_captures: Path, name: str, destinations: list[str], tunnels: list[str]
):
    records = sorted(read(str(shared_captures / name)), key=lambda record: record.id)
    assert [str(record.destination) for record in records] == destinations
    assert [record.tunnel and record.tunnel.protocol for record in records] == tunnels
    assert {record.outcome for record in records} == {"succeeded"}


def test_several_captures_at_once_are_one_reading_in_time_order(shared_captures: Path):
    names = [str(shared_captures / "zeek" / name) for name in ("socks.pcap", "socks-auth.pcap", "socks4-null.pcap")]
    records = sorted(read(names), key=lambda record: record.id)
    assert [record.start_ns for record in records] == sorted(record.start_ns for record in records)
    assert {record.capture for record in records} == set(names)
