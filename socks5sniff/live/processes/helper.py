"""The helper: reads questions and writes answers.

A process of its own, because looking takes time that the packet path does not have, and because it needs rights that
the capture gives up. It answers lines with lines, JSON both: a list of endpoints with a list of pairs, the place in
that list and the process, for those that were found. A line before all others says that it is ready.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ..privileges import Capability, become, confine, nobody
from . import Endpoints, Process

_QUESTIONS, _ANSWERS = 0, 1
"""File descriptors."""
_NEEDED = (Capability.SYS_PTRACE, Capability.DAC_READ_SEARCH)
"""To list the descriptors of other users' processes, and to read what they are."""


_HASTE = -10
"""Niceness, where that is allowed: a client is gone soon, and little is done for each."""


class Look(Protocol):
    """A way to look, which keeps what it costs within bounds."""

    def watch(self) -> None:
        """May do something until there are questions."""

    def answer(self, wanted: Sequence[Endpoints], /) -> list[Process | None]:
        """The processes of these connections, None for those that are not found."""


def serve(names: Sequence[str]) -> None:
    """Answer questions until nobody can ask any more.

    Args:
        names: the interfaces on which connections are opened.
    """
    try:
        look = _look(names)
    except ImportError:  # no psutil: nothing is ever answered
        return
    _give_up_rights()
    os.write(_ANSWERS, b"\n")
    unread = b""
    while True:
        look.watch()
        octets = os.read(_QUESTIONS, 1 << 16)
        if not octets:
            return
        *lines, unread = (unread + octets).split(b"\n")
        for line in lines:
            answers = look.answer([tuple(endpoints) for endpoints in json.loads(line)])
            found = [(place, process) for place, process in enumerate(answers) if process]
            os.write(_ANSWERS, json.dumps(found).encode() + b"\n")


def _give_up_rights() -> None:
    """Nothing is left but looking at what processes of others have open; what sees SYNs is open."""
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            os.nice(_HASTE)
        user = nobody() if os.geteuid() == 0 else None
        if user is not None:
            become(user, _NEEDED)
        confine(_NEEDED)


def _look(names: Sequence[str]) -> Look:
    if sys.platform.startswith("linux"):
        from .watching import Watching

        try:
            return Watching(names, _QUESTIONS)
        except OSError:
            pass
    from .scanning import Scan

    return Scan()
