"""How much of a processor may be used."""

from __future__ import annotations

import time

_BURST = 0.1
"""Seconds it may work without a rest."""


class Budget:
    """Counts this process's CPU time."""

    def __init__(self, share: float) -> None:
        """May use such a share of one processor."""
        self._share = share
        self._left = _BURST
        self._when, self._worked = time.monotonic(), time.process_time()

    def rest(self) -> bool:
        """Sleep where too much was done; whether that was so."""
        if not self.spent():
            return False
        time.sleep(-self._left / self._share)
        return True

    def spent(self) -> bool:
        """Whether too much was done."""
        now, worked = time.monotonic(), time.process_time()
        self._left = min(_BURST, self._left + (now - self._when) * self._share) - (worked - self._worked)
        self._when, self._worked = now, worked
        return self._left < 0
