"""The interfaces of this machine, and what they are called on each system.

What differs between the systems is here, in `rights` (what to tell who may not capture), and in the engines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import RightsError, Socks5sniffError
from .engine import WINDOWS_LOOPBACK, Settings

_LEGACY_LOOPBACK = "Npcap Loopback Adapter"
_LOOPBACKS = frozenset({"lo", "lo0", WINDOWS_LOOPBACK, _LEGACY_LOOPBACK})

_LINK_TYPES = {1: "Ethernet", 772: "Ethernet", 519: "IP", 768: "IP", 769: "IP", 776: "IP", 65534: "IP", 512: "cooked"}
"""By Linux's hardware type (ARPHRD_); all others are captured cooked."""


class Row(Protocol):
    """One interface as scapy's table has it (`conf.ifaces`)."""

    name: str
    network_name: str
    description: str
    ips: Any
    """Lists of addresses by IP version."""
    flags: Any
    """Shown as names with `+` between them: UP, LOOPBACK, RUNNING, …"""
    type: int
    """Linux: ARPHRD_; elsewhere -1."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What `socks5sniff interfaces` shows of an interface.

    Attributes:
        name: what `--iface` takes.
        description: the system's words for it, empty where it is the name.
        addresses: IPv4 and IPv6.
        link_type: what its frames begin with.
        up: it is in use.
        loopback: it is this machine's loopback interface.
        problem: why this user may not capture there, None when nothing stands against it.
    """

    name: str
    description: str
    addresses: tuple[str, ...]
    link_type: str
    up: bool
    loopback: bool
    problem: str | None


def system_name(name: str, platform: str = sys.platform) -> str:
    """What the system calls an interface: `lo` is its loopback interface wherever it is; other names stay."""
    if name not in ("lo", "lo0"):
        return name
    if platform == "win32":
        return WINDOWS_LOOPBACK
    return "lo" if platform.startswith("linux") else "lo0"


def facts(rows: Iterable[Row], problem: Callable[[str], str | None], platform: str = sys.platform) -> list[Facts]:
    """The interfaces of scapy's table, loopback first.

    Args:
        rows: the table.
        problem: tells why this user may not capture on an interface.
        platform: `sys.platform` of the system.
    """
    found = []
    for row in rows:
        flags = str(row.flags).split("+")
        name = row.network_name or row.name
        loopback = "LOOPBACK" in flags or name in _LOOPBACKS
        description = row.description if row.description not in (name, "") else row.name if row.name != name else ""
        found.append(
            Facts(
                name=name,
                description=description,
                addresses=tuple(dict.fromkeys([*row.ips.get(4, ()), *row.ips.get(6, ())])),
                link_type=_link_type(row.type, loopback, platform),
                up="UP" in flags or (platform == "win32" and loopback),
                loopback=loopback,
                problem=problem(name),
            )
        )
    found.sort(key=lambda one: (not one.loopback, not one.up))
    return found


def list_interfaces() -> list[Facts]:
    """The interfaces of this machine."""
    import scapy.arch  # noqa: F401 (fills the table)
    from scapy.config import conf

    return facts(conf.ifaces.values(), problem_finder())


def problem_finder(platform: str = sys.platform) -> Callable[[str], str | None]:
    """Tells for any interface why this user may not capture there, by trying."""
    if platform.startswith("linux"):
        reason = _linux_problem()
        return lambda name: reason
    from .pcap import open_problem

    return open_problem


def _linux_problem() -> str | None:
    """The same on every interface: asked of the one that is all of them, in the way that `live` asks."""
    from .opening import open_engine

    try:
        open_engine("auto", Settings(("any",), buffer=1 << 20)).close()
    except RightsError:
        return "needs root (CAP_NET_RAW) or the group wireshark"
    except Socks5sniffError as fault:
        return str(fault)
    return None


def _link_type(hardware: int, loopback: bool, platform: str) -> str:
    if platform.startswith("linux"):
        return _LINK_TYPES.get(hardware, "cooked")
    if loopback:
        return "LOOP" if platform.startswith("openbsd") else "NULL"
    return "Ethernet"
