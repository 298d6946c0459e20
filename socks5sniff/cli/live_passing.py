"""What goes past the proxies, on its way to the view: each when its process is known or was waited for."""

from __future__ import annotations

import time

from socks5sniff.analysis.bypass import Bypass, LiveBypasses
from socks5sniff.live.processes.asking import Processes
from socks5sniff.record import Endpoint
from socks5sniff.record.batch import Batch

from .live_views import View


class Passing:
    """A queue in front of a view."""

    def __init__(self, bypasses: LiveBypasses, view: View, processes: Processes | None) -> None:
        self._bypasses = bypasses
        self._view = view
        self._processes = processes
        self._waiting: list[tuple[float, Bypass]] = []

    def found(self, client: Endpoint, proxy: Endpoint, socks: bool) -> None:
        """A conversation was found: what else its client sends goes past the proxy."""
        if socks:
            self._bypasses.found(client, proxy)

    def learn(self, records: Batch) -> None:
        """Conversations have ended."""
        self._bypasses.learn(records)

    def tell(self, patience: float) -> None:
        """Show what need not wait for the name of a process any more; everything where there is no patience."""
        processes = self._processes
        fresh = self._bypasses.tell(ended=not patience)
        self._waiting += [(time.monotonic(), row) for row in fresh]
        if processes is not None:
            processes.ask((*row.client, *row.destination) for row in fresh if row.transport == "tcp")
        waiting = []
        for since, row in self._waiting:
            ends = (*row.client, *row.destination)
            if processes is not None and processes.pending(ends, patience):
                waiting.append((since, row))
                continue
            if processes is not None:
                row = row._replace(process=processes.find(ends))
                processes.forget(ends)
            self._view.bypass(row)
        self._waiting = waiting
