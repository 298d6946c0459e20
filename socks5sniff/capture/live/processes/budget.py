"""How much of a processor the helper may use."""

from __future__ import annotations

import time

SHARE = 0.02
"""Of one processor."""
_BURST = 0.1
"""Seconds it may work without a rest."""


class Budget:
    """Counts this process's CPU time."""

    def __init__(self) -> None:
        self._left = _BURST
        self._when, self._worked = time.monotonic(), time.process_time()

    def rest(self) -> bool:
        """Sleep where too much was done; whether that was so."""
        now, worked = time.monotonic(), time.process_time()
        self._left = min(_BURST, self._left + (now - self._when) * SHARE) - (worked - self._worked)
        self._when, self._worked = now, worked
        if self._left >= 0:
            return False
        time.sleep(-self._left / SHARE)
        return True
