"""What becomes of octets that the dialogue is not about any more."""

from __future__ import annotations

from typing import Protocol

from .held import Run

TUNNEL_KEPT = 8192
"""Tunnel octets kept of each side for whoever reads the tunnel."""


class Tunnel(Protocol):
    """Takes a tunnel's octets while the session is fed with them."""

    @property
    def wanting(self) -> bool:
        """Further octets are of use here, not only to whoever reads the tunnel."""

    def __len__(self) -> int:
        """Octets kept now."""

    def add(self, run: Run) -> None:
        """The next octets of a side."""

    def cut(self, side: int) -> None:
        """What follows on this side is not known."""

    def leave(self) -> None:
        """No more is wanted."""

    def take(self) -> list[Run]:
        """What was kept; each octet is given once."""


class Kept:
    """The first octets of a tunnel in clear, at most TUNNEL_KEPT of each side, until somebody takes them."""

    __slots__ = ("room", "runs", "wanting")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.room = [TUNNEL_KEPT, TUNNEL_KEPT]
        self.wanting = False

    def __len__(self) -> int:
        return sum(len(run.octets) for run in self.runs)

    def add(self, run: Run) -> None:
        """Keep what there is room for. What was taken makes no new room: a beginning is wanted, not the stream."""
        room = self.room[run.side]
        if room > 0:
            self.runs.append(run._replace(octets=run.octets[:room]))
            self.room[run.side] = room - len(run.octets)

    def cut(self, side: int) -> None:
        """Octets are missing: keep none behind them, which would look as if they followed."""
        self.room[side] = 0

    def leave(self) -> None:
        """Nothing is read here, so there is nothing to leave."""

    def take(self) -> list[Run]:
        """What was kept, and forget it."""
        runs, self.runs = self.runs, []
        return runs
