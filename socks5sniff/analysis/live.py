"""The analyser of a running interface: it also works while the line is idle, and has early news of conversations."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from socks5sniff.record import Conversation
from socks5sniff.session import Verdict

from .analyser import Analyser
from .build import build
from .connection import Connection

PATIENCE = 1_000_000_000
"""Nanoseconds an undecided connection may hold back later ids, where results are wanted as they come."""

_FOUND, _DECIDED = 1, 2


class LiveAnalyser(Analyser):
    """See `Analyser`; besides batches it takes the time."""

    def __init__(
        self, *, ports: Collection[int] = (), show_passwords: bool = False, udp_frames: bool = False
    ) -> None:
        super().__init__(ports=ports, show_passwords=show_passwords, udp_frames=udp_frames, patience=PATIENCE)
        self._told: dict[int, int] = {}

    def tick(self, now: int) -> list[Conversation]:
        """No frame was captured before `now` (ns since 1970) that has not been taken: records completed by time."""
        self._now = max(self._now, now)
        self._finish_closed()
        self._make_room()
        return self._release_records()

    def news(self) -> list[Conversation]:
        """Conversations that were found, or got their outcome, since the last call, as far as they are known.

        Those that were found have the outcome `incomplete` as yet. A conversation whose record has been given is
        not news any more.
        """
        told = self._told
        fresh: list[Connection] = []
        for connection in self._connections.values():
            state = told.get(connection.stream, 0)
            if state < _DECIDED:
                reached = _reached(connection)
                if reached > state:
                    told[connection.stream] = reached
                    fresh.append(connection)
        if len(told) > 2 * len(self._connections) + 1024:
            alive = {connection.stream for connection in self._connections.values()}
            self._told = {stream: state for stream, state in told.items() if stream in alive}
        if not fresh:
            return []
        slots = np.array([connection.slot for connection in fresh], np.intp)
        return [
            build(connection, facts, self._show_passwords)
            for connection, facts in zip(fresh, self._facts(fresh, slots), strict=True)
        ]


def _reached(connection: Connection) -> int:
    verdict = connection.verdict
    if verdict is Verdict.UNDECIDED:
        return 0
    session = connection.session
    if verdict is Verdict.FOREIGN or session is None or session.outcome() is not None:
        return _DECIDED
    return _FOUND
