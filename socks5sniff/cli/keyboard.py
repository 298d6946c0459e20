"""Keys as they are pressed, without waiting for them."""

from __future__ import annotations

import os
import select
import sys
from typing import Any

_NAMES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
}
_WINDOWS = {"H": "up", "P": "down", "I": "page up", "Q": "page down", "G": "home", "O": "end"}
_MOST = 256
"""Octets taken at a time; whoever pastes more waits for the next look."""


class Keyboard:
    """Standard input, if it is a terminal, one key at a time from `open` to `close`.

    Attributes:
        usable: there is somebody who can press keys.
    """

    def __init__(self) -> None:
        self.usable = sys.stdin is not None and sys.stdin.isatty()
        self._before: Any = None
        self._termios: Any = None
        if self.usable and os.name == "posix":
            # Now: later this process may run as a user who cannot read where the library is.
            import termios
            import tty

            self._termios, self._tty = termios, tty

    def open(self) -> None:
        """Have keys handed over at once, and not shown; Ctrl-C stays a signal."""
        if self._termios is not None:
            self._before = self._termios.tcgetattr(sys.stdin)
            self._tty.setcbreak(sys.stdin)

    def close(self) -> None:
        """Leave the terminal as it was; harmless when called again."""
        if self._before is not None:
            self._termios.tcsetattr(sys.stdin, self._termios.TCSADRAIN, self._before)
            self._before = None

    def pressed(self) -> list[str]:
        """The keys since the last call: characters, or names such as `up` and `enter`."""
        if not self.usable:
            return []
        return self._pressed_windows() if os.name == "nt" else self._pressed_posix()

    def _pressed_posix(self) -> list[str]:
        descriptor = sys.stdin.fileno()
        if not select.select([descriptor], [], [], 0)[0]:
            return []
        octets = os.read(descriptor, _MOST)
        if not octets:  # the terminal has gone
            self.usable = False
        return split(octets.decode("utf-8", "ignore"))

    def _pressed_windows(self) -> list[str]:
        import msvcrt

        keys: list[str] = []
        read: Any = msvcrt  # its functions are known on Windows only
        while read.kbhit() and len(keys) < _MOST:
            key = read.getwch()
            keys.append(_WINDOWS.get(read.getwch(), "") if key in "\0\xe0" else _NAMES.get(key, key))
        return keys


def split(text: str) -> list[str]:
    """What a terminal sent as keys; sequences that have no name here are left out."""
    keys = []
    while text:
        length = 1
        if text[0] == "\x1b" and text[1:2] in ("[", "O"):
            ends = (at + 1 for at, end in enumerate(text) if at > 1 and (end.isalpha() or end == "~"))
            length = next(ends, len(text))
        key, text = text[:length], text[length:]
        name = _NAMES.get(key, key if key.isprintable() else "")
        if name:
            keys.append(name)
    return keys
