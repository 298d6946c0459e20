"""Errors of this program itself, contained: one connection's trouble is never another's.

Whatever a bug makes of one connection's octets, the others are read as if it had not been there. The connection's
record says what happened (`internal-error`), and whoever prints says at the end how to report it. What goes wrong
outside a connection (a form, a DNS answer) is only counted. Tests want to see such errors: with RAISE in the
environment they are raised as they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePath

from socks5sniff.codec import decode_text
from socks5sniff.record import MASKED_PASSWORD, AnomalyEntry

from .anomalies import anomaly

RAISE = "SOCKS5SNIFF_RAISE"
"""The environment variable that, when it is not empty, has errors raised instead of contained."""

MAX_TEXT = 200
"""Characters of an exception's text that are shown: it may quote octets."""
MAX_STREAMS = 1 << 16
"""Connections remembered as counted; of more, one that is looked at again counts again."""


class Faults:
    """What went wrong.

    Attributes:
        count: connections, and other things, that an error was contained in.
        first: the first error: kind, text and place.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""
        self._streams: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def note(self, error: Exception, stream: int | None = None, password: bytes | None = None) -> str:
        """Contain an error; gives kind, text and place.

        Args:
            stream: the connection's `tcp_stream`; None for what belongs to none.
            password: the connection's, which the text must not quote.

        Raises:
            Exception: the error itself, where RAISE says so.
        """
        if os.environ.get(RAISE):
            raise error
        told = _described(error)
        if password:
            told = told.replace(decode_text(password), MASKED_PASSWORD)
        if stream is None or stream not in self._streams:
            self.count += 1
            self.first = self.first or told
            if stream is not None and len(self._streams) < MAX_STREAMS:
                self._streams.add(stream)
        return told

    def add(self, others: Faults, but: Collection[int]) -> None:
        """What went wrong in another part of the capture, too, but for these connections."""
        again = others._streams & (self._streams | set(but))
        self.count += others.count - len(again)
        self.first = self.first or others.first
        self._streams |= others._streams

    @contextmanager
    def contained(self) -> Iterator[None]:
        """What belongs to no one connection: an error in it ends only itself."""
        try:
            yield
        except Exception as error:
            self.note(error)


def internal_error(told: str, frame: int) -> AnomalyEntry:
    """The anomaly of a record whose connection an error was contained in; `told` is what `Faults.note` gave."""
    return anomaly("internal-error", frame, f"an error of socks5sniff, not of the capture: {told}")


def _described(error: Exception) -> str:
    import traceback

    text = " ".join(str(error).split())
    text = f": {text[:MAX_TEXT]}{'…' * (len(text) > MAX_TEXT)}" if text else ""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{text}{where}"
