"""The scenarios, by subject. Importing the package fills `SCENARIOS`."""

from __future__ import annotations

from socks5sniff.proxy.scenarios import (
    commands,
    framing,
    methods,
    misbehaviour,
    mischief,
    others,
    replies,
    socks4,
    udp,
)
from socks5sniff.proxy.scenarios.registry import SCENARIOS, Scenario

__all__ = [
    "SCENARIOS",
    "Scenario",
    "commands",
    "framing",
    "methods",
    "misbehaviour",
    "mischief",
    "others",
    "replies",
    "socks4",
    "udp",
]
