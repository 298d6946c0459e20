"""The programs measured: socks5sniff, and others that read captures.

The others do less (`tcpdump` copies packets, dpkt and scapy here only parse headers) or something else (`tshark`
dissects everything, `ndpiReader` names protocols). Each is told to do what comes nearest.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from typing import NamedTuple

OURS = "socks5sniff"

_FIELDS = (
    *("frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "socks.command", "socks.username"),
    *("socks.remote_name", "socks.dst", "socks.dstV6", "socks.port", "socks.results"),
)

_DPKT = """
import sys, dpkt
found = 0
with open(sys.argv[1], "rb") as file:
    for _, octets in dpkt.pcap.Reader(file):
        tcp = dpkt.ethernet.Ethernet(octets).data.data
        if isinstance(tcp, dpkt.tcp.TCP) and tcp.dport == 1080 and tcp.data[:1] == b"\\5":
            found += 1
print(found)
"""

_SCAPY = """
import sys
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import PcapReader
found = 0
with PcapReader(sys.argv[1]) as packets:
    for packet in packets:
        if TCP in packet and packet[TCP].dport == 1080 and bytes(packet[TCP].payload)[:1] == b"\\5":
            found += 1
print(found)
"""


class Program(NamedTuple):
    """A program that reads a capture."""

    name: str
    command: Callable[[str], list[str]]
    """The command line for a capture."""
    slow: bool = False
    """Run once only."""


def _tshark(capture: str) -> list[str]:
    fields = [argument for field in _FIELDS for argument in ("-e", field)]
    # Without this preference tshark gathers a 200 MB HTTP body in one piece and does not end.
    whole = ["-o", "http.desegment_body:FALSE"] if "bulk" in capture else []
    return ["tshark", "-n", "-r", capture, *whole, "-Y", "socks", "-T", "fields", *fields]


SNIFF = Program(OURS, lambda capture: [sys.executable, "-m", "socks5sniff", "read", "--format", "jsonl", capture])

PEERS = (
    Program("tcpdump", lambda capture: ["tcpdump", "-r", capture, "-w", "/dev/null"]),
    Program("ndpiReader", lambda capture: ["ndpiReader", "-q", "-i", capture]),
    Program("tshark", _tshark),
    Program("dpkt", lambda capture: [sys.executable, "-c", _DPKT, capture], slow=True),
    Program("scapy", lambda capture: [sys.executable, "-c", _SCAPY, capture], slow=True),
)

TARGETS: dict[str, dict[str, float]] = {
    "churn": {"tshark": 10, "ndpiReader": 1.4},
    "many": {"tshark": 8, "ndpiReader": 1.4},
    "bulk": {"tshark": 30, "tcpdump": 0.67},
    "noise": {"tshark": 25, "ndpiReader": 5},
    "midstream": {"ndpiReader": 5},
    "dialogues": {"ndpiReader": 1},
    "slow": {"ndpiReader": 1},
    "lossy": {"ndpiReader": 1},
    "mixed": {"ndpiReader": 2},
}
"""How many times faster than a peer socks5sniff is to be, by capture; 0.67 is one and a half times the peer's time."""

PEAK_TARGET = 200 * 1000 * 1000
"""Octets of memory that no capture may exceed, however long it is."""


def installed(program: Program) -> bool:
    """Whether it can be run here."""
    if program.name in ("dpkt", "scapy"):
        return importlib.util.find_spec(program.name) is not None
    return shutil.which(program.name) is not None
