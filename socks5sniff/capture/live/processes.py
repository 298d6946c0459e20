"""Which local process has a connection: asked of psutil, in a process of its own.

psutil looks through all processes, which takes a tenth of a second where there are many, and under Linux only root
sees other users' files. So a helper does it: the packet path never waits for it, and it keeps the rights of the start
when the capture gives them up. It is told pairs of endpoints, nothing else, and only those that someone who sniffs
packets has found to be SOCKS connections.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

Endpoints = tuple[str, int, str, int]
"""Address and port of the client, and of the proxy."""

Process = dict[str, Any]
"""`pid` and `name`."""

_REST = 9
"""How many times as long as it worked the helper rests: a bound on what this costs, a tenth of a core."""
_PATIENCE = 2.0
"""Seconds to wait for its end."""
_REMEMBERED = 65_536
_QUEUE = 256
"""Questions on their way at most: they fit into the pipe, so that asking never waits. More are not answered."""


class Processes:
    """The asking side. Answers are remembered until they are taken."""

    def __init__(self) -> None:
        """Starts the helper; without psutil nothing is ever answered."""
        self._answers: dict[Endpoints, Process | None] = {}
        self._asked: dict[Endpoints, float] = {}
        self._replies: deque[bytes] = deque()
        self._helper = subprocess.Popen(
            helper_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        self._questions = self._helper.stdin
        threading.Thread(target=self._replies.extend, args=(self._helper.stdout,), daemon=True).start()

    def ask(self, endpoints: Endpoints) -> None:
        """Have a connection looked up, now while it lives."""
        if endpoints in self._asked or len(self._asked) >= _QUEUE:
            return
        line = json.dumps(endpoints).encode() + b"\n"
        with suppress(OSError, ValueError):  # a helper that is gone gives no answers
            self._questions.write(line)
            self._asked[endpoints] = time.monotonic()

    def collect(self) -> None:
        """Take in what the helper has answered."""
        while self._replies:
            endpoints, process = json.loads(self._replies.popleft())
            key: Endpoints = tuple(endpoints)
            self._asked.pop(key, None)
            while len(self._answers) >= _REMEMBERED:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = process

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

    def close(self) -> None:
        """End the helper, which leaves when nobody can ask any more (it may have rights that this process gave up)."""
        with suppress(OSError):
            self._questions.close()
        with suppress(subprocess.TimeoutExpired):
            self._helper.wait(_PATIENCE)


def helper_command() -> list[str]:
    """The helper, which looks for modules where this process does: not in a folder that someone made root start in."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"]


def look(wanted: set[Endpoints]) -> dict[Endpoints, Process | None]:
    """The processes that have these connections now.

    Raises:
        ImportError: psutil is not installed.
    """
    import psutil

    pids: dict[Endpoints, int] = {}
    for pid, found in _connections(psutil):
        if found.raddr and pid:
            key = (_plain(found.laddr.ip), found.laddr.port, _plain(found.raddr.ip), found.raddr.port)
            if key in wanted:
                pids[key] = pid
    answers: dict[Endpoints, Process | None] = dict.fromkeys(wanted)
    for key, pid in pids.items():
        with suppress(psutil.Error):
            answers[key] = {"pid": pid, "name": psutil.Process(pid).name()}
    return answers


def _connections(psutil: Any) -> Iterator[tuple[int | None, Any]]:
    """All TCP connections and whose they are; on macOS those of this user only, unless that is root."""
    try:
        yield from [(found.pid, found) for found in psutil.net_connections("tcp")]
    except psutil.AccessDenied:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ask = process.net_connections if hasattr(process, "net_connections") else process.connections
                yield from [(process.pid, found) for found in ask("tcp")]


def _plain(address: str) -> str:
    """IPv4 addresses that a dual-stack socket shows as IPv6, and zones, as packets have them."""
    address = address.partition("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def serve() -> None:
    """Answer questions line by line until there are no more."""
    with suppress(ImportError):
        import psutil  # noqa: F401 (is it there?)

        unread = b""
        while octets := os.read(0, 1 << 16):
            unread += octets
            *lines, unread = unread.split(b"\n")
            wanted: set[Endpoints] = {tuple(json.loads(line)) for line in lines}
            if wanted:
                began = time.monotonic()
                answers = look(wanted)
                text = "".join(json.dumps((key, process)) + "\n" for key, process in answers.items())
                os.write(1, text.encode())
                time.sleep(_REST * (time.monotonic() - began))

