"""What is said of single inputs."""

from __future__ import annotations

NAMED = 10
"""Inputs of which it is said what they lack."""


class Notes:
    """Lines about inputs that are empty, no capture or still being written: see `capture.merge.Note`."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def __call__(self, line: str) -> None:
        if len(self._lines) < NAMED:
            self._lines.append(line)
        else:
            self._more += 1

    def lines(self) -> list[str]:
        """The first `NAMED`, and one about the others."""
        return [*self._lines, f"and {self._more:,} more inputs like these"] if self._more else self._lines
