"""The scenarios, by subject. Importing the package fills `SCENARIOS`."""

from __future__ import annotations

from socks5sniff.lab.scenarios import (
    commands,
    framing,
    impairments,
    methods,
    misbehaviour,
    others,
    replies,
    socks4,
    udp,
)
from socks5sniff.lab.scenarios.registry import SCENARIOS, Scenario

__all__ = [
    "SCENARIOS",
    "Scenario",
    "commands",
    "framing",
    "impairments",
    "methods",
    "misbehaviour",
    "others",
    "replies",
    "socks4",
    "udp",
]
