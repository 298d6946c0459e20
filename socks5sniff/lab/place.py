"""What a scenario has for itself, so that the captures of all scenarios together are one plausible capture.

The proxy and the servers are the same in all. The client, its ports, the time and the sequence numbers differ: else
the connections of two scenarios could not be told apart, and what one client learned from DNS would be another's.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

EPOCH = 1_767_225_600_000_000_000
"""2026-01-01 00:00:00 UTC, in nanoseconds."""

SPACING = 300_000_000_000
"""Nanoseconds from the start of one scenario to that of the next; none takes as long."""

PORTS = 16
"""Ports that each scenario has for itself on every host."""


class Place(NamedTuple):
    """One scenario's own."""

    begins: int = EPOCH
    """Nanoseconds since 1970."""
    client: str = "192.0.2.10"
    client6: str = "2001:db8:10::10"
    first_port: int = 40001
    """The first that is given out on any host."""
    connections: int = 0
    """Connections that were there before: sequence numbers go on from them."""


def place(number: int) -> Place:
    """The place of the scenario with this number, from 0 to 1999."""
    if not 0 <= number < 2000:
        raise ValueError(f"there is no place for scenario {number}")
    return Place(
        EPOCH + number * SPACING,
        # 198.18.0.0/15 and 2001:2::/48 are set aside for tests of network devices (RFC 2544, RFC 5180).
        f"198.18.{number // 100}.{number % 100 + 1}",
        str(ip_address(f"2001:2:0:{number // 100}::{number % 100 + 1:x}")),
        32_768 + number * PORTS,
        number * 100,
    )
