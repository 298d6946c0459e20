"""Signals to a live capture: SIGINT and SIGTERM end it, SIGHUP opens files anew, SIGUSR1 asks how it is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from socks5sniff.errors import ExitCode

from .live_run import Limits


class Wishes:
    """What signals have asked for; done between two batches.

    Attributes:
        reopen: to open the files anew.
        report: to say how it is.
    """

    def __init__(self) -> None:
        self.reopen = self.report = False


@contextmanager
def signals(limits: Limits, wishes: Wishes, leave: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Take signals over. The first SIGINT or SIGTERM ends the capture, the second one the program.

    `leave` gives the terminal back; called in the end, and before the program is ended.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if limits.asked is not None:
            leave()
            os._exit(ExitCode.INTERRUPTED)
        limits.ask()

    had_terminal = _has_terminal()

    def reopen(number: int, frame: FrameType | None) -> None:
        if had_terminal and not _has_terminal():
            stop(number, frame)  # the terminal was closed
        wishes.reopen = True

    def report(number: int, frame: FrameType | None) -> None:
        wishes.report = True

    handlers: dict[str, Callable[[int, FrameType | None], Any]] = {"SIGINT": stop, "SIGTERM": stop}
    handlers |= {"SIGHUP": reopen, "SIGUSR1": report}
    numbers = {name: getattr(signal, name) for name in handlers if hasattr(signal, name)}
    before = {number: signal.signal(number, handlers[name]) for name, number in numbers.items()}
    try:
        yield
    finally:
        leave()
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_terminal() -> bool:
    """Whether this process is a terminal's."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True
