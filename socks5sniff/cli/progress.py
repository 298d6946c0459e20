"""The bar that a long run shows on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

MOST = 16
"""Workers of a cluster that have lines of their own."""
LEAST = 50_000_000
"""Octets of input below which there is no bar: it would be gone before it is read."""


class ProgressBar:
    """A bar on stderr, which appears by itself when that is a terminal and the input is large."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._workers: dict[str, Any] = {}
        self._done = sys.stderr is None or not sys.stderr.isatty()

    def update(
        self, done: int, total: int, conversations: int | None = None, workers: Mapping[str, int] | None = None
    ) -> None:
        """Show `done` of `total` octets, and how many conversations they held; a total of 0 is unknown.

        Args:
            workers: octets that each of several has done, a line for each.
        """
        if self._done or total < LEAST:
            return
        if self._bar is None:
            self._start(total)
        found = "" if conversations is None else f"{conversations:,} conversations"
        self._bar.update(self._task, completed=done, found=found)
        for name, octets in [*(workers or {}).items()][:MOST]:
            if name not in self._workers:
                self._workers[name] = self._bar.add_task(name, total=total, found=name)
            self._bar.update(self._workers[name], completed=octets)

    def stop(self) -> None:
        """Take the bar off the terminal, for good."""
        self._done = True
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True)
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        found = TextColumn("{task.fields[found]}")
        self._bar = Progress(*columns, found, console=console, transient=True, redirect_stdout=False)
        self._task = self._bar.add_task("reading", total=total, found="")
        self._bar.start()
