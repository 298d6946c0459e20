"""What a service manager is told (sd_notify(3)): that the capture has begun, that it lives, and how it is."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


class Manager:
    """Told through the socket that the environment names; without one, nothing is."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._period = _watchdog()
        self._next = 0.0
        if path and hasattr(socket, "AF_UNIX"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            with suppress(OSError):
                self._socket.connect("\0" + path[1:] if path.startswith("@") else path)

    def tell(self, **facts: str) -> None:
        """`READY=1`, `STOPPING=1`, `STATUS=…`."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(f"{name}={value}" for name, value in facts.items()).encode())

    def live(self) -> None:
        """Called often: says so twice in each period of the watchdog."""
        now = time.monotonic()
        if self._period and now >= self._next:
            self._next = now + self._period / 2
            self.tell(WATCHDOG="1")


def _watchdog() -> float:
    """Seconds within which the manager wants to hear, 0 where it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() else 0
