"""What is wrong with an expression, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 200
"""Characters of an expression that a message repeats."""


class ExpressionError(ValueError):
    """An expression that is not understood. `str()` of it is one line that tells the character.

    Attributes:
        text: the expression.
        position: index into `text` of the character that the trouble begins at; its length at the end.
        reason: what is wrong there.
    """

    def __init__(self, text: str, position: int, reason: str) -> None:
        place = f"character {position + 1}" if position < len(text) else "the end"
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        super().__init__(f"{shown!r}: at {place}, {reason}")
        self.text = text
        self.position = position
        self.reason = reason


class MistakeError(Exception):
    """The same, as long as only the place in the text is known, not the text."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


def alternatives(word: str, known: Iterable[str]) -> str:
    """`did you mean reply.code?`, or the list where it is short, or nothing."""
    names = list(known)
    near = get_close_matches(word, names, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; there is {', '.join(names)}" if len(names) <= 12 else ""
