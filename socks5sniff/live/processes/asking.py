"""The asking side: the packet path never waits for an answer.

The helper is told pairs of endpoints, nothing else, and only those that someone who sniffs packets has found to be
SOCKS connections.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from . import Endpoints, Process

AGAIN, LATEST = 0.5, 32.0
"""Seconds after which it is asked again where nothing was found, doubled each time, and at most."""
UNANSWERED = 4096
"""Connections that are asked for again at most, the latest ones."""
PATIENCE = 2.0
"""Seconds to wait for the helper's start, and for its end."""
REMEMBERED = 65_536
QUEUE = 512
"""Questions on their way at most: they fit into the pipe, so that asking never waits. More are not answered."""


class Processes:
    """Answers are remembered until the connection has ended; what was not answered is asked again until then.

    Attributes:
        left_out: questions that were not asked, because too many were on their way.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Starts the helper. Elsewhere than under Linux nothing is ever answered without psutil.

        Args:
            names: the interfaces on which connections are opened.
        """
        self.left_out = 0
        self._answers: dict[Endpoints, Process] = {}
        self._asked: dict[Endpoints, float] = {}
        self._unanswered: dict[Endpoints, tuple[float, float]] = {}
        """When to ask again, and how long that was waited for."""
        self._looked = 0.0
        self._questions: deque[list[Endpoints]] = deque()
        """On their way, in the order in which they are answered."""
        self._on_way = 0
        self._replies: deque[bytes] = deque()
        self._ready = threading.Event()
        self._helper = subprocess.Popen(
            helper_command(names),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        assert self._helper.stdin is not None
        self._to_helper = self._helper.stdin

    def wait(self) -> None:
        """Until the helper watches, or is gone. Answers are taken from here on, by a thread: not before rights are
        given up, which belong to each thread."""
        threading.Thread(target=self._read, daemon=True).start()
        self._ready.wait(PATIENCE)

    def ask(self, connections: Iterable[Endpoints]) -> None:
        """Have connections looked up, now while they live."""
        asked, now = self._asked, time.monotonic()
        wanted = []
        for endpoints in connections:
            if endpoints not in asked and endpoints not in self._answers:
                if self._on_way >= QUEUE:  # counted until they are answered: a pipe that is full would make us wait
                    self.left_out += 1
                    continue
                asked[endpoints] = now
                self._on_way += 1
                wanted.append(endpoints)
        if wanted:
            self._questions.append(wanted)
            try:
                self._to_helper.write(json.dumps(wanted).encode() + b"\n")
            except (OSError, ValueError):  # a helper that is gone gives no answers
                asked.clear()

    def collect(self) -> None:
        """Take in what the helper has answered."""
        while self._replies:
            wanted = self._questions.popleft()
            self._on_way -= len(wanted)
            answers: list[Process | None] = [None] * len(wanted)
            for place, process in json.loads(self._replies.popleft()):
                answers[place] = process
            for endpoints, answer in zip(wanted, answers, strict=True):
                if self._asked.pop(endpoints, None) is not None:  # else it has ended
                    self._take(endpoints, answer)
            while len(self._answers) > REMEMBERED:
                del self._answers[next(iter(self._answers))]
        now = time.monotonic()
        if now > self._looked + AGAIN / 2:
            self._looked = now
            self.ask([endpoints for endpoints, (when, _) in self._unanswered.items() if now >= when])

    def pending(self, endpoints: Endpoints, patience: float) -> bool:
        """Whether the answer may still come within so many seconds after the question."""
        asked = self._asked.get(endpoints)
        return asked is not None and time.monotonic() - asked < patience

    def find(self, endpoints: Endpoints) -> Process | None:
        """The process, None where it is not known."""
        return self._answers.get(endpoints)

    def forget(self, endpoints: Endpoints) -> None:
        """The connection has ended; its port may be used again by another."""
        self._answers.pop(endpoints, None)
        self._asked.pop(endpoints, None)
        self._unanswered.pop(endpoints, None)

    def close(self) -> None:
        """End the helper, which leaves when nobody can ask any more (it may have rights that this process gave up)."""
        with suppress(OSError):
            self._to_helper.close()
        with suppress(subprocess.TimeoutExpired):
            self._helper.wait(PATIENCE)

    def _take(self, endpoints: Endpoints, answer: Process | None) -> None:
        _, waited = self._unanswered.pop(endpoints, (0.0, AGAIN / 2))
        if answer is not None:
            self._answers[endpoints] = answer
            return
        wait = min(2 * waited, LATEST)
        self._unanswered[endpoints] = time.monotonic() + wait, wait
        if len(self._unanswered) > UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]

    def _read(self) -> None:
        assert isinstance(self._helper.stdout, io.RawIOBase)
        answers = io.BufferedReader(self._helper.stdout)
        answers.readline()
        self._ready.set()
        self._replies.extend(answers)


def helper_command(names: Sequence[str]) -> list[str]:
    """The helper, which looks for modules where this process does: not in a folder that someone made root start in."""
    helper = f"{__package__}.helper"
    script = f"import sys; sys.path[:] = {sys.path!r}; from {helper} import serve; serve({[*names]!r})"
    return [sys.executable, "-c", script]
