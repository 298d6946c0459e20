"""Something that is done again and again while a capture runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Interval:
    """Does something every so many seconds."""

    def __init__(self, seconds: float, do: Callable[[], Any]) -> None:
        self._seconds = seconds
        self._do = do
        self._next = time.monotonic() + seconds

    def look(self) -> None:
        """Called often: does it when it is time to."""
        now = time.monotonic()
        if now >= self._next:
            self._next = max(self._next + self._seconds, now)
            self._do()
