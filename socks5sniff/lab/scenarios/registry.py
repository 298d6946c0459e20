"""The table of scenarios."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from socks5sniff.lab.place import Place, place
from socks5sniff.lab.scene import Scene

Play = Callable[[Scene], Awaitable[None]]


class Scenario(NamedTuple):
    """One scenario; its capture is `NAME.pcapng`, its truth `NAME.json`."""

    name: str
    about: str
    play: Play
    number: int
    """Stays the same when scenarios are added behind it in its module."""

    @property
    def place(self) -> Place:
        """Its time, client and so on."""
        return place(self.number)


SCENARIOS: dict[str, Scenario] = {}

SUBJECTS = (
    "commands",
    "methods",
    "framing",
    "replies",
    "misbehaviour",
    "socks4",
    "udp",
    "impairments",
    "others",
    "headers",
    "udp_in_tcp",
)
"""The modules of scenarios: each has a hundred numbers, so a new one is put behind the others."""


def add(name: str, about: str, play: Play) -> None:
    """Put a scenario into the table."""
    if name in SCENARIOS:
        raise ValueError(f"there are two scenarios called {name}")
    subject = play.__module__.rpartition(".")[2]
    before = sum(known.play.__module__ == play.__module__ for known in SCENARIOS.values())
    SCENARIOS[name] = Scenario(name, about, play, SUBJECTS.index(subject) * 100 + before)


def scenario(about: str) -> Callable[[Play], Play]:
    """Put a function into the table under its own name."""

    def register(play: Play) -> Play:
        add(getattr(play, "__name__").replace("_", "-"), about, play)  # noqa: B009
        return play

    return register
