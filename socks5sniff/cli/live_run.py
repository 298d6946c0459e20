"""The loop of a live capture: frames from the engine through the analyser to the views and the file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from socks5sniff.analysis.bypass import LiveBypasses
from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.errors import InputError
from socks5sniff.live.engine import Engine
from socks5sniff.live.processes import Endpoints
from socks5sniff.live.processes.asking import Processes
from socks5sniff.live.saving import Saving
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written
from socks5sniff.sinks import Totals

from .interval import Interval
from .live_keeping import Keeping
from .live_passing import Passing
from .live_showing import ANSWER, Showing
from .live_summary import Tally

TURN = 0.1
"""Seconds the loop waits for frames before it looks at the clock."""
DRAIN = 0.25
"""Seconds after a signal in which frames that were captured before it still come out of the engine."""
CATCH_UP = 5.0
"""The same where they come without a break, because a busy machine is behind its traffic."""
LATE = 300_000_000
"""Nanoseconds a frame may take from its time stamp to the loop."""
GRACE = 1.0
"""Seconds that a reader who does not read is waited for after a signal."""


@dataclass(slots=True)
class Limits:
    """When to stop; None for never."""

    count: int | None = None
    """Records that are shown."""
    duration: float | None = None
    """Seconds."""
    idle: float | None = None
    """Seconds without a frame."""
    asked: float | None = None
    """When a signal asked to (time.monotonic)."""
    behind: float = 0.0
    """Seconds before that from which on nothing was analysed any more: the machine was too slow."""

    def ask(self) -> None:
        """Stop now."""
        self.asked = time.monotonic()

    def reached(self, batch: FrameBatch | None) -> bool:
        """Whether to stop after this batch (None: the line was idle) because it was asked for."""
        if self.asked is None:
            return False
        late = time.monotonic() - self.asked
        captured = 0 if batch is None or not len(batch) else int(batch.time[-1])
        waiting = captured and captured < time.time_ns() - int(late * 1e9)
        if not waiting or late < CATCH_UP:
            return late >= DRAIN and not waiting
        self.behind = (time.time_ns() - captured) / 1e9 - late
        return True

    def patience(self) -> bool:
        """Whether to wait for who does not read what was written."""
        return self.asked is None or time.monotonic() < self.asked + GRACE


class Watch:
    """One live capture.

    Attributes:
        fault: what ended the capture, None when it was stopped.
        each_turn: called some ten times a second.
    """

    def __init__(
        self,
        engine: Engine,
        analyser: LiveAnalyser,
        showing: Showing,
        *,
        saving: Saving | None = None,
        only_socks: bool = False,
        processes: Processes | None = None,
        interim: float | None = None,
        bypasses: LiveBypasses | None = None,
    ) -> None:
        """What a capture is made of.

        Args:
            engine: gives frames.
            analyser: makes news and records of them.
            showing: takes those.
            saving: the capture file.
            only_socks: it gets only what belongs to SOCKS conversations.
            processes: finds the clients' processes.
            bypasses: tells what goes past the proxies; None where nobody asks.
            interim: seconds between two records of an open conversation; None for only the last one.
        """
        self._interim = Interval(math.inf if interim is None else interim, self._tell_interim)
        self.fault: InputError | None = None
        self.each_turn: Callable[[], None] = lambda: None
        self._engine = engine
        self._analyser = analyser
        self._showing = showing
        self._keeping = None if saving is None else Keeping(saving, analyser, only_socks)
        self._passing = None if bypasses is None else Passing(bypasses, showing.view, processes)
        self._processes = processes
        self._open: set[Endpoints] = set()

    @property
    def tally(self) -> Tally:
        """What has been seen."""
        return self._showing.tally

    @property
    def shown(self) -> Tally:
        """What of it has been shown, for the summary."""
        return self._showing.shown

    @property
    def packets(self) -> int:
        """Frames taken so far."""
        return self._analyser.packets

    @property
    def open(self) -> int:
        """Connections found to be SOCKS that have not ended."""
        return len(self._open)

    def run(self, limits: Limits) -> None:
        """Capture until a limit is reached, then finish what is open.

        Raises:
            OutputError, BrokenPipeError: the view cannot be written; what was captured is saved.
        """
        self._showing.left = limits.count
        try:
            self._capture(limits)
            self._take_in(self._analyser.finish())
            self._showing.show_all()
            if self._passing is not None:
                self._passing.tell(0)
        finally:
            self._engine.close()
            if self._keeping is not None:
                self._keeping.close(limits.patience)
        self._showing.view.close(Totals(self.packets, self._analyser.reader.skipped.total, self.tally.conversations))

    def _capture(self, limits: Limits) -> None:
        began = last_frame = time.monotonic()
        batch: FrameBatch | None = None
        while not limits.reached(batch):
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
                if self._keeping is not None:
                    self._keeping.take(batch)
            self._take_in(ended)
            self._interim.look()
            if self._passing is not None:
                self._passing.tell(ANSWER)
            if self._keeping is not None:
                self._keeping.write()
            self.each_turn()
            self._showing.view.refresh(self.packets)
            if (
                self._showing.left == 0
                or (limits.duration is not None and now - began >= limits.duration)
                or (limits.idle is not None and now - last_frame >= limits.idle)
            ):
                break

    def _take_in(self, ended: list[Batch]) -> None:
        """Note what is new, and show what can be shown."""
        asked = self._note_news()
        self._open.update(asked)
        for records in ended:
            if self._keeping is not None:
                self._keeping.end(records)
            if self._passing is not None:
                self._passing.learn(records)
            gone = self._showing.add(records, ended=True)
            asked += gone
            self._open.difference_update(gone)
        if self._processes is not None:
            self._processes.ask(asked)
        self._showing.show()

    def _note_news(self) -> list[Endpoints]:
        """Who was found since the last call: whole records only where somebody wants those."""
        keeping, passing = self._keeping, self._passing
        if keeping is None and not self._showing.view.wants_news:
            newcomers = self._analyser.newcomers()
            for newcomer in newcomers:
                if passing is not None:
                    passing.found(*newcomer)
            return [(*newcomer.client, *newcomer.proxy) for newcomer in newcomers]
        news = sorted(self._analyser.news(), key=_end)
        for conversation in news:
            if keeping is not None:
                keeping.note(conversation)
            if passing is not None:
                passing.found(conversation.client, conversation.proxy, conversation.protocol is not None)
        return self._showing.add(written(news), ended=False)

    def _tell_interim(self) -> None:
        """Records of what is open, so that a crash loses no more than the time between two."""
        ended, standing = self._analyser.interim()
        self._take_in(ended)
        for conversation in standing:
            self._showing.interim(conversation)


def _end(c: Conversation) -> int:
    return c.end_ns
