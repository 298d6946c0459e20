"""Where a filter expression is wrong: libpcap says what it did not understand, and not where."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import FilterError

_WORD = re.compile(r"[\w.:\\/-]+|[&|=<>!]+|\S")
_QUOTED = re.compile(r"'([^']+)'")
_PROBE = "1:2:3:4:5:6:7:8:9"
"""Wrong by itself, and noticed as soon as it is read: what libpcap complains of earlier is in front of it."""


def wrong(expression: str, message: str, attempt: Callable[[str], object]) -> FilterError:
    """The error for an expression that libpcap refuses.

    Args:
        expression: the filter.
        message: libpcap's.
        attempt: compiles another expression; gives the message if it is refused, and no text otherwise.
    """
    return FilterError(f"filter {expression!r}: {message}{_where(expression, message, attempt)}")


def _where(expression: str, message: str, attempt: Callable[[str], object]) -> str:
    """The first word up to which libpcap has the same complaint; empty where none of the words is to blame."""
    words = list(_WORD.finditer(expression))
    quoted = _QUOTED.search(message)  # looking for an unknown host again and again would take long
    named = [word for word in words if quoted and word[0] == quoted[1]]
    if len(named) == 1:
        return _at(named[0])
    syntax = "syntax error" in message
    ending = f" {_PROBE}" if syntax else f" and {_PROBE}"

    def same(text: str) -> bool:  # libpcap words a syntax error in two ways
        said = attempt(text)
        return said == message or (syntax and isinstance(said, str) and "syntax error" in said)

    if same(_PROBE):
        return ""
    if not same(expression + ending):
        return f" at character {len(expression) + 1}, the end" if syntax else ""
    good, bad = 0, len(words)
    while bad - good > 1:
        middle = (good + bad) // 2
        if same(expression[: words[middle - 1].end()] + ending):
            bad = middle
        else:
            good = middle
    return _at(words[bad - 1]) if words else ""


def _at(word: re.Match[str]) -> str:
    return f" at character {word.start() + 1}, near {word[0]!r}"
