"""Looks through all connections of all processes, with psutil, which takes a tenth of a second where there are many.

Under Linux only root sees other users', under macOS only root sees any but its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from . import Endpoints, Process
from .budget import Budget

SHARE = 0.1
"""Of one processor. What is asked meanwhile is answered later."""


class Scan:
    """Looks when it is asked; see `helper.Look`."""

    def __init__(self) -> None:
        """Raises ImportError where psutil is not installed."""
        import psutil

        self._psutil = psutil
        self._budget = Budget(SHARE)

    def watch(self) -> None:
        """Nothing is known before it is asked for."""

    def answer(self, wanted: Sequence[Endpoints]) -> list[Process | None]:
        """The processes that have these connections now, after a rest from the last time."""
        self._budget.rest()
        answers: dict[Endpoints, Process | None] = dict.fromkeys(wanted)
        pids: dict[Endpoints, int] = {}
        for pid, found in self._connections():
            if found.raddr and pid:
                key = (_plain(found.laddr.ip), found.laddr.port, _plain(found.raddr.ip), found.raddr.port)
                if key in answers:
                    pids[key] = pid
        for key, pid in pids.items():
            with suppress(self._psutil.Error):
                answers[key] = {"pid": pid, "name": self._psutil.Process(pid).name()}
        return [answers[key] for key in wanted]

    def _connections(self) -> Iterator[tuple[int | None, Any]]:
        """All TCP connections and whose they are; on macOS those of this user only, unless that is root."""
        psutil = self._psutil
        try:
            yield from [(found.pid, found) for found in psutil.net_connections("tcp")]
        except psutil.AccessDenied:
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    ask = process.net_connections if hasattr(process, "net_connections") else process.connections
                    yield from [(process.pid, found) for found in ask("tcp")]


def _plain(address: str) -> str:
    """IPv4 addresses that a dual-stack socket shows as IPv6, and zones, as packets have them."""
    address = address.partition("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address
