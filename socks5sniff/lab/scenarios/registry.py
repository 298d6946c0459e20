"""The table of scenarios."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from socks5sniff.lab.scene import Scene

Play = Callable[[Scene], Awaitable[None]]


class Scenario(NamedTuple):
    """One scenario; its capture is `NAME.pcapng`, its truth `NAME.json`."""

    name: str
    about: str
    play: Play


SCENARIOS: dict[str, Scenario] = {}


def add(name: str, about: str, play: Play) -> None:
    """Put a scenario into the table."""
    if name in SCENARIOS:
        raise ValueError(f"there are two scenarios called {name}")
    SCENARIOS[name] = Scenario(name, about, play)


def scenario(about: str) -> Callable[[Play], Play]:
    """Put a function into the table under its own name."""

    def register(play: Play) -> Play:
        add(getattr(play, "__name__").replace("_", "-"), about, play)  # noqa: B009
        return play

    return register
