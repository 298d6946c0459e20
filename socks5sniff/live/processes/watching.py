"""Under Linux: looks at each connection as it is opened, so that clients that live for milliseconds are named, too."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from socks5sniff.errors import MissingError

from . import Endpoints, Process
from .budget import Budget
from .namespaces import Key, container_of
from .owners import Owners, process_name
from .syns import Syns

SHARE = 0.05
"""Of one processor."""
LATEST = 32
"""Connections of those opened while it rests that are looked at afterwards: the others are gone, or will be asked
for."""
_REMEMBERED = 1 << 15
"""Connections that were looked at: a short one is asked for when its record is made, some seconds later."""
_SAME_NAME = 1.0
"""Seconds for which the name of a process is taken to stay."""
_AWAY = 1.0
"""Seconds between looks for an interface that is away."""


class Watching:
    """Remembers whose the latest connections are; see `helper.Look`."""

    def __init__(self, names: Sequence[str], questions: int) -> None:
        """Without the right to capture, a connection is looked at when it is asked for.

        Args:
            names: interfaces.
            questions: the file descriptor that becomes readable when there is something else to do.

        Raises:
            OSError: this kernel does not tell whose a connection is.
        """
        self._owners = Owners()
        self._syns: Syns | None = None
        with suppress(OSError, MissingError):
            self._syns = Syns(names)
        self._questions = questions
        self._budget = Budget(SHARE)
        self._known: dict[Key, Process] = {}
        self._lately: dict[int, tuple[float, Process]] = {}

    def watch(self) -> None:
        """Look at what is opened until there are questions."""
        syns = self._syns
        rested = False
        while syns is not None:
            waiting = select.poll()
            for descriptor in (self._questions, *syns.descriptors()):
                waiting.register(descriptor, select.POLLIN)
            ready = waiting.poll(_AWAY * 1000 if syns.away else None)
            if any(descriptor == self._questions for descriptor, _ in ready):
                return
            if syns.away:
                syns.mend()
            opened = [*syns.take()]
            self._remember(opened[-LATEST:] if rested else opened)
            rested = self._budget.rest()

    def answer(self, wanted: Sequence[Endpoints]) -> list[Process | None]:
        """The processes that opened these connections, or that have them now."""
        keys = [*map(key_of, wanted)]
        unknown = [key for key in keys if key not in self._known]
        found = {} if not unknown or self._budget.spent() else dict(self._find(unknown))
        return [self._known.get(key) or found.get(key) for key in keys]

    def close(self) -> None:
        self._owners.close()
        if self._syns is not None:
            self._syns.close()

    def _remember(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._known.pop(key, None)  # the ports are used again
        for key, process in self._find(keys):
            self._known[key] = process
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]

    def _find(self, keys: Sequence[Key]) -> Iterable[tuple[Key, Process]]:
        for key, pid in zip(keys, self._owners.find(keys), strict=True):
            process = None if pid is None else self._process(pid)
            if process is not None:
                yield key, process

    def _process(self, pid: int) -> Process | None:
        now = time.monotonic()
        when, process = self._lately.get(pid, (0.0, None))
        if process is None or now - when > _SAME_NAME:
            name = process_name(pid)
            if name is None:
                return None
            process = {"pid": pid, "name": name}
            container = container_of(pid)
            if container is not None:
                process["container"] = container
            if len(self._lately) > _REMEMBERED:
                self._lately.clear()
            self._lately[pid] = now, process
        return process


def key_of(endpoints: Endpoints) -> Key:
    """A connection as the kernel is asked for it."""
    client, client_port, proxy, proxy_port = endpoints
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    ports = client_port.to_bytes(2, "big") + proxy_port.to_bytes(2, "big")
    return socket.inet_pton(family, client) + socket.inet_pton(family, proxy) + ports
