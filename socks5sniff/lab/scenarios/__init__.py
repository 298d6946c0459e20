"""The scenarios, by subject. Importing the package fills `SCENARIOS`."""

from __future__ import annotations

from socks5sniff.lab.scenarios import (
    commands,
    framing,
    headers,
    impairments,
    methods,
    misbehaviour,
    others,
    replies,
    socks4,
    udp,
    udp_in_tcp,
)
from socks5sniff.lab.scenarios.registry import SCENARIOS, Scenario

__all__ = [
    "SCENARIOS",
    "Scenario",
    "commands",
    "framing",
    "headers",
    "impairments",
    "methods",
    "misbehaviour",
    "others",
    "replies",
    "socks4",
    "udp",
    "udp_in_tcp",
]
