"""What the capture file gets: frames, with comments on the first ones of conversations."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial

from socks5sniff.analysis.live import ASSOCIATED, LiveAnalyser
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.live.holding import HOLD
from socks5sniff.live.saving import Saving
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch

from .live_views import comment


class Keeping:
    """Hands frames on to the file, all or those that belong to SOCKS."""

    def __init__(self, saving: Saving, analyser: LiveAnalyser, only_socks: bool) -> None:
        self._saving = saving
        self._analyser = analyser
        self._only_socks = only_socks
        self._streams: set[int] = {ASSOCIATED}
        self._gone: deque[tuple[int, int]] = deque()

    def take(self, batch: FrameBatch) -> None:
        """A batch that the analyser has taken."""
        self._saving.take(batch, time.time_ns(), self._analyser.streams(batch) if self._only_socks else None)

    def note(self, conversation: Conversation) -> None:
        """A conversation was found, or got further."""
        self._saving.comment(conversation.first_frame, partial(comment, conversation))
        if self._only_socks:
            self._streams.add(conversation.tcp_stream)

    def end(self, records: Batch) -> None:
        """Conversations have ended."""
        for row in range(len(records)):
            self.note(records.write_out(row))
        if self._only_socks:
            now = time.time_ns()
            self._gone += [(now, stream) for stream in records.numbers("tcp_stream").tolist()]

    def write(self) -> None:
        """Write what has been held back for long enough."""
        self._saving.write(time.time_ns(), self._wanted)

    def close(self, patience: Callable[[], bool]) -> None:
        """Write the rest; `patience` tells whether to wait for a reader who does not read."""
        self._saving.close(time.time_ns(), self._wanted, patience)

    def _wanted(self) -> Collection[int]:
        """Streams whose frames are kept: those that are SOCKS, or may still turn out to be, and their UDP."""
        while self._gone and self._gone[0][0] < time.time_ns() - 2 * HOLD:
            self._streams.discard(self._gone.popleft()[1])
        return self._streams | self._analyser.undecided()
