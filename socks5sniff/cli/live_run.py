"""The loop of a live capture: frames from the engine through the analyser to the views and the file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from socks5sniff.analysis.live import ASSOCIATED, LiveAnalyser
from socks5sniff.errors import InputError
from socks5sniff.live.engine import Engine
from socks5sniff.live.processes import Endpoints
from socks5sniff.live.processes.asking import Processes
from socks5sniff.live.saving import HOLD, Saving
from socks5sniff.record import Conversation
from socks5sniff.sinks import Totals

from .filters import Test
from .live_summary import Tally
from .live_views import View, comment

TURN = 0.1
"""Seconds the loop waits for frames before it looks at the clock."""
DRAIN = 0.15
"""Seconds after a signal in which frames that were captured before it still come out of the engine."""
LATE = 300_000_000
"""Nanoseconds a frame may take from its time stamp to the loop."""
ANSWER = 0.3
"""Seconds that what is to be shown waits for the client's process to be found."""


@dataclass(slots=True)
class Limits:
    """When to stop; None for never. `asked` is set by a signal."""

    count: int | None = None
    """Conversations that have ended."""
    duration: float | None = None
    """Seconds."""
    idle: float | None = None
    """Seconds without a frame."""
    asked: bool = False


class Watch:
    """One live capture.

    Attributes:
        tally: what has been seen, for the summary.
        fault: what ended the capture, None when it was stopped.
    """

    def __init__(
        self,
        engine: Engine,
        analyser: LiveAnalyser,
        view: View,
        *,
        saving: Saving | None = None,
        only_socks: bool = False,
        processes: Processes | None = None,
        keep: Test | None = None,
    ) -> None:
        self.tally = Tally()
        self.fault: InputError | None = None
        self._engine = engine
        self._analyser = analyser
        self._view = view
        self._saving = saving
        self._only_socks = only_socks
        self._processes = processes
        self._keep = keep
        self._waiting: deque[tuple[Conversation, Endpoints, bool]] = deque()
        """News and records that have not been shown, and which of both they are."""
        self._streams: set[int] = {ASSOCIATED}
        self._gone: deque[tuple[int, int]] = deque()
        self._wants_news = view.wants_news or saving is not None

    @property
    def packets(self) -> int:
        """Frames taken so far."""
        return self._analyser.packets

    def run(self, limits: Limits) -> None:
        """Capture until a limit is reached, then finish what is open.

        Raises:
            OutputError, BrokenPipeError: the view cannot be written; what was captured is saved.
        """
        try:
            self._capture(limits)
            self._take_in(self._analyser.finish())
            self._show_rest()
        finally:
            self._engine.close()
            if self._saving is not None:
                self._saving.close(time.time_ns(), self._wanted)
        self._view.close(Totals(self.packets, self._analyser.reader.skipped.total, self.tally.conversations))

    def _capture(self, limits: Limits) -> None:
        began = last_frame = time.monotonic()
        until: float | None = None
        while until is None or time.monotonic() < until:
            if limits.asked and until is None:
                until = time.monotonic() + DRAIN
            before = time.time_ns()
            try:
                batch = self._engine.wait(TURN)
            except InputError as fault:
                self.fault = fault
                break
            now = time.monotonic()
            if batch is None:
                ended = self._analyser.tick(before - LATE)
            else:
                last_frame = now
                ended = self._analyser.take(batch)
                if self._saving is not None:
                    streams = self._analyser.streams(batch) if self._only_socks else None
                    self._saving.take(batch, time.time_ns(), streams)
            self._take_in(ended)
            if self._saving is not None:
                self._saving.write(time.time_ns(), self._wanted)
            self._view.refresh(self.packets)
            if (
                (limits.count is not None and self.tally.conversations >= limits.count)
                or (limits.duration is not None and now - began >= limits.duration)
                or (limits.idle is not None and now - last_frame >= limits.idle)
            ):
                break

    def _take_in(self, ended: list[Conversation]) -> None:
        """Note what is new, and show what need not wait for the name of a process any more."""
        asked: list[Endpoints] = []
        if self._wants_news:
            for conversation in sorted(self._analyser.news(), key=_end):
                self._note(conversation)
                asked.append((*conversation.client, *conversation.proxy))
                self._waiting.append((conversation, asked[-1], False))
        elif self._processes is not None:
            asked += [(*client, *proxy) for client, proxy in self._analyser.newcomers()]
        for conversation in ended:
            self._note(conversation)
            self.tally.add(conversation)
            asked.append((*conversation.client, *conversation.proxy))
            self._waiting.append((conversation, asked[-1], True))
            if self._only_socks:
                self._gone.append((time.time_ns(), conversation.tcp_stream))
        if self._processes is not None:
            self._processes.ask(asked)
        self._show(ANSWER)

    def _note(self, conversation: Conversation) -> None:
        """What the capture file needs to know of a conversation."""
        if self._saving is not None:
            self._saving.comment(conversation.first_frame, partial(comment, conversation))
            if self._only_socks:
                self._streams.add(conversation.tcp_stream)

    def _show(self, patience: float) -> None:
        """Show in order what happened, each when its process is known or has been waited for long enough."""
        processes, waiting = self._processes, self._waiting
        if processes is not None:
            processes.collect()
        while waiting:
            conversation, endpoints, ended = waiting[0]
            if processes is not None:
                if processes.pending(endpoints, patience):
                    return
                process = processes.find(endpoints)
                if process is not None:
                    conversation.process = process
                if ended and (len(waiting) == 1 or waiting[1][1] != endpoints):  # next may be one inside its tunnel
                    processes.forget(endpoints)
            waiting.popleft()
            if self._keep is None or self._keep(conversation):
                if ended:
                    self._view.ended(conversation)
                elif self._view.wants_news:
                    self._view.news(conversation)

    def _show_rest(self) -> None:
        """The same at the end of the capture, when nothing but the answers is waited for."""
        until = time.monotonic() + ANSWER
        self._show(ANSWER)
        while self._waiting and time.monotonic() < until:
            time.sleep(0.005)
            self._show(ANSWER)
        self._show(0)

    def _wanted(self) -> Collection[int]:
        """Streams whose frames are kept: those that are SOCKS, or may still turn out to be, and their UDP."""
        while self._gone and self._gone[0][0] < time.time_ns() - 2 * HOLD:
            self._streams.discard(self._gone.popleft()[1])
        return self._streams | self._analyser.undecided()


def _end(c: Conversation) -> int:
    return c.end_ns
