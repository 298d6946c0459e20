"""Programs that know no SOCKS, asked what they find in a capture."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.wireshark.run import tshark

CHECKS = [
    *("--disable-protocol", "socks"),
    *(part for name in ("ip", "tcp", "udp") for part in ("-o", f"{name}.check_checksum:TRUE")),
]
WARNING = 0x600000
"""Severity of Wireshark's warnings; errors are above."""


class Side(NamedTuple):
    endpoint: str
    octets: bytes


def fields(capture: Path, *names: str, only: str = "") -> list[list[str]]:
    """A row for each packet that passes the display filter; the values of one field are a list with `|`."""
    wanted = [part for name in names for part in ("-e", name)]
    chosen = ["-Y", only] if only else []
    out = tshark(capture, *CHECKS, *chosen, "-T", "fields", "-E", "aggregator=|", *wanted, lua=False)
    return [line.split("\t") for line in out.splitlines()]


def warnings(capture: Path) -> list[str]:
    """What Wireshark warns of, an RST apart, and checksums that are wrong."""
    names = ("frame.number", "_ws.expert.severity", "_ws.expert.message")
    sums = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status")
    found = []
    for frame, severity, message, *status in fields(capture, *names, *sums):
        pairs = zip(severity.split("|"), message.split("|"), strict=False)
        found += [f"{frame}: {text}" for level, text in pairs if level and int(level) >= WARNING]
        found += [f"{frame}: {name} {bad}" for name, bad in zip(sums, status, strict=True) if "0" in bad.split("|")]
    return [text for text in found if "Connection reset (RST)" not in text]


def streams(capture: Path, numbers: Iterable[int]) -> dict[int, tuple[Side, Side]]:
    """What `follow,tcp,raw` gives of some streams."""
    orders = [part for number in numbers for part in ("-z", f"follow,tcp,raw,{number}")]
    found: dict[int, tuple[Side, Side]] = {}
    for part in tshark(capture, *CHECKS, "-q", *orders, lua=False).split("Follow: ")[1:]:
        (number,) = re.findall(r"^Filter: tcp\.stream eq (\d+)$", part, re.MULTILINE)
        ends = re.findall(r"^Node \d: (\S+)$", part, re.MULTILINE)
        hexes = [re.findall(rf"^{tab}((?:[0-9a-f]{{2}})+)$", part, re.MULTILINE) for tab in ("", "\t")]
        one, other = (Side(end, bytes.fromhex("".join(lines))) for end, lines in zip(ends, hexes, strict=True))
        found[int(number)] = one, other
    return found


def protocols(capture: Path) -> set[str]:
    """What nDPI recognises flows as."""
    if shutil.which("ndpiReader") is None:
        pytest.skip("ndpiReader is not installed")
    done = subprocess.run(["ndpiReader", "-i", str(capture)], capture_output=True, text=True, check=True)
    return set(re.findall(r"^\s+(\S+)\s+packets: \d+\s+bytes: \d+\s+flows: \d+", done.stdout, re.MULTILINE))
