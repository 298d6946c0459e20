"""Ctrl-C while a capture is read: the reading ends where it is whole, so that what was decoded is still shown."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Takes SIGINT over while it is entered.

    The first Ctrl-C ends the reading at the next batch, through `check`, which raises KeyboardInterrupt inside the
    reading. A stream may not send another batch for hours: there the exception is raised at once, unless a record is
    just being written. A second Ctrl-C always takes effect at once.
    """

    def __init__(self, streaming: bool) -> None:
        self.pending = False
        self.writing = False
        """Set while a record is written; it shall come out whole."""
        self._streaming = streaming
        self._previous: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # others may not set handlers, and get no signals
            self._previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def check(self) -> None:
        """Called between batches.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self.pending:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        again = self.pending
        self.pending = True
        if again or (self._streaming and not self.writing):
            raise KeyboardInterrupt
