"""The interfaces of each system, from tables as scapy gives them there, and frames as their engines deliver them."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.cli import main
from socks5sniff.live.engine import LINK_LOOP, LINK_NULL, WINDOWS_LOOPBACK
from socks5sniff.live.interfaces import facts, system_name
from socks5sniff.packets import PacketReader


@dataclass
class Row:
    """One of scapy's interfaces."""

    name: str
    network_name: str
    description: str
    ips: dict[int, list[str]] = field(default_factory=dict)
    flags: str = "UP+RUNNING"
    type: int = -1


LINUX = [
    Row("eth0", "eth0", "eth0", {4: ["192.0.2.2"], 6: ["fe80::1"]}, "UP+BROADCAST+RUNNING+MULTICAST", 1),
    Row("wg0", "wg0", "wg0", {4: ["10.0.0.1"]}, "UP+POINTTOPOINT", 65534),
    Row("can0", "can0", "can0", {}, "", 280),
    Row("lo", "lo", "lo", {4: ["127.0.0.1"], 6: ["::1"]}, "UP+LOOPBACK+RUNNING", 772),
]
MACOS = [
    Row("en0", "en0", "en0", {4: ["192.0.2.3"]}, "UP+BROADCAST+RUNNING"),
    Row("lo0", "lo0", "lo0", {4: ["127.0.0.1"], 6: ["::1", "fe80::1"]}, "UP+LOOPBACK+RUNNING"),
]
WINDOWS_NPCAP = [
    Row("Ethernet", r"\Device\NPF_{8C3A}", "Intel(R) Ethernet Connection", {4: ["192.0.2.4"]}, "UP+RUNNING+OK"),
    Row("Software Loopback", WINDOWS_LOOPBACK, "Software Loopback Interface 1", {4: ["127.0.0.1"]}, "LOOPBACK"),
]
WINDOWS_OLD_NPCAP = [
    Row("Npcap Loopback Adapter", "Npcap Loopback Adapter", "Npcap Loopback Adapter", {4: ["127.0.0.1"]}, "UP"),
]
WINDOWS_WITHOUT_NPCAP: list[Row] = []


def allowed(name: str) -> None:
    return None


@pytest.mark.parametrize(
    ("name", "platform", "expected"),
    [
        ("lo", "linux", "lo"),
        ("lo0", "linux", "lo"),
        ("lo", "darwin", "lo0"),
        ("lo", "freebsd14", "lo0"),
        ("lo", "openbsd7", "lo0"),
        ("lo", "win32", WINDOWS_LOOPBACK),
        ("eth0", "linux", "eth0"),
        ("any", "linux", "any"),
        (r"\Device\NPF_{8C3A}", "win32", r"\Device\NPF_{8C3A}"),
    ],
)
def test_lo_is_loopback_on_every_system(name: str, platform: str, expected: str) -> None:
    assert system_name(name, platform) == expected


def test_linux() -> None:
    found = facts(LINUX, allowed, "linux")
    assert [(one.name, one.link_type, one.up, one.loopback) for one in found] == [
        ("lo", "Ethernet", True, True),
        ("eth0", "Ethernet", True, False),
        ("wg0", "IP", True, False),
        ("can0", "cooked", False, False),
    ]
    assert found[0].addresses == ("127.0.0.1", "::1")
    assert found[0].description == ""


@pytest.mark.parametrize(("platform", "link_type"), [("darwin", "NULL"), ("freebsd14", "NULL"), ("openbsd7", "LOOP")])
def test_macos_and_bsd(platform: str, link_type: str) -> None:
    loopback, ethernet = facts(MACOS, allowed, platform)
    assert (loopback.name, loopback.link_type, loopback.loopback) == ("lo0", link_type, True)
    assert (ethernet.name, ethernet.link_type) == ("en0", "Ethernet")


def test_windows_with_npcap() -> None:
    loopback, ethernet = facts(WINDOWS_NPCAP, allowed, "win32")
    assert (loopback.name, loopback.link_type, loopback.up) == (WINDOWS_LOOPBACK, "NULL", True)
    assert loopback.description == "Software Loopback Interface 1"
    assert (ethernet.name, ethernet.description) == (r"\Device\NPF_{8C3A}", "Intel(R) Ethernet Connection")


def test_windows_with_an_old_npcap() -> None:
    (loopback,) = facts(WINDOWS_OLD_NPCAP, allowed, "win32")
    assert loopback.loopback
    assert loopback.link_type == "NULL"


def test_windows_without_npcap_has_no_interface_to_capture_on() -> None:
    assert facts(WINDOWS_WITHOUT_NPCAP, allowed, "win32") == []


def test_why_one_may_not_capture_is_told_for_each() -> None:
    found = facts(LINUX, lambda name: None if name == "lo" else f"not on {name}", "linux")
    assert [one.problem for one in found] == [None, "not on eth0", "not on wg0", "not on can0"]


IPV4 = bytes.fromhex("45000028000000004006000000000000") + IPv4Address("127.0.0.1").packed
IPV4 = IPV4[:12] + IPv4Address("127.0.0.1").packed * 2
IPV6 = bytes.fromhex("6000000000140640") + IPv6Address("::1").packed * 2
TCP = struct.pack(">HHIIBBHHH", 40000, 1080, 7, 0, 0x50, 2, 65535, 0, 0)


@pytest.mark.parametrize("family", [10, 23, 24, 26, 28, 30])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("link_type", [LINK_NULL, LINK_LOOP])
def test_loopback_frames_of_every_system_are_understood(link_type: int, order: str, family: int) -> None:
    frames = [struct.pack(order + "I", 2) + IPV4 + TCP, struct.pack(order + "I", family) + IPV6 + TCP]
    sizes = np.array([len(frame) for frame in frames], np.int64)
    batch = FrameBatch(
        octets=np.frombuffer(b"".join(frames), np.uint8),
        offset=np.cumsum(sizes) - sizes,
        captured=sizes,
        length=sizes,
        time=np.zeros(2, np.int64),
        first_number=1,
        interface=np.zeros(2, np.uint16),
        interfaces=[Interface("lo0", "lo0", link_type)],
    )
    reader = PacketReader()
    segments, _ = reader.read(batch)
    assert [(end & 0xFFFF, reader.addresses.endpoint_address(end)) for end in segments.destination.tolist()] == [
        (1080, "127.0.0.1"),
        (1080, "::1"),
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_the_command_lists_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interfaces"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["interface", "kind", "state", "link", "type", "addresses", "may", "capture"]
    loopback = next(row for row in rows if row.startswith("lo "))
    assert loopback.split()[1:4] == ["loopback", "up", "Ethernet"]
    assert "127.0.0.1" in loopback
