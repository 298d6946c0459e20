"""What options take: words of a vocabulary, ports, durations, sizes. Each says what it wanted, and what was meant."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Type = click.ParamType[Any]
else:
    Type = click.ParamType  # generic in new versions of click only

_MANY = 10
"""Words above which a message does not list them."""
_DIGITS = 19
"""No number that is wanted anywhere has as many."""
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+|\d+(?:\.\d+)?")
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9}


def unknown(value: str, what: str, words: Iterable[str], listed: str = "") -> str:
    """The message for a word that is none of `words`.

    Args:
        value: what was given.
        what: what it should have been, with its article: `an outcome`.
        words: all that would have been right.
        listed: where they are listed, if there are too many to list them here.
    """
    import difflib

    allowed = list(words)
    close = difflib.get_close_matches(value.lower(), allowed, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    there = f"Allowed: {', '.join(allowed)}." if len(allowed) <= _MANY else f"{listed} lists them." if listed else ""
    return f"{value!r} is not {what}.{meant} {there}".rstrip()


class Words(Type):
    """One word of a vocabulary, or several with commas between; given as a tuple in the second case."""

    name = "word"

    def __init__(
        self, what: str, words: Callable[[], Iterable[str]], listed: str = "", many: bool = False, extra: str = ""
    ) -> None:
        """See `unknown`; `extra` is a pattern of further words."""
        self._what = what
        self._words = words
        self._listed = listed
        self._many = many
        self._extra = re.compile(extra or r"(?!)")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        allowed = list(self._words())
        words = value.split(",") if self._many else [value]
        for word in words:
            if word not in allowed and not self._extra.fullmatch(word):
                self.fail(unknown(word, self._what, allowed, self._listed), param, ctx)
        return tuple(words) if self._many else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",") if self._many else ("", "", incomplete)
        return [CompletionItem(before + comma + word) for word in self._words() if word.startswith(last)]


class Suggested(Type):
    """Any text; the shell is told some."""

    name = "text"

    def __init__(self, words: Callable[[], Iterable[str]]) -> None:
        self._words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self._words() if word.startswith(incomplete)]


class Ports(Type):
    """Ports with commas between, as a tuple."""

    name = "ports"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        ports = value.split(",")
        for port in ports:
            if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
                self.fail(f"{port!r} is not a port: a number from 1 to 65535.", param, ctx)
        return tuple(map(int, ports))


class Whole(Type):
    """A whole number from `least` to `most`."""

    name = "number"

    def __init__(self, least: int, most: int | None = None) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        if value.isascii() and value.isdigit() and len(value) < _DIGITS:
            number = int(value)
            if self._least <= number and (self._most is None or number <= self._most):
                return number
        most = f" to {self._most}" if self._most is not None else ""
        return self.fail(f"{value!r} is not a whole number from {self._least}{most or ' on'}.", param, ctx)


class Duration(Type):
    """Seconds out of `90`, `1.5h` or `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        if _DURATION.fullmatch(value):
            parts = re.findall(r"([\d.]+)(ms|[smhd]?)", value)
            seconds = math.fsum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
            if 0 < seconds < math.inf:
                return seconds
        return self.fail(f"{value!r} is not a duration: seconds, or as in 500ms, 30s, 5m, 1h30m, 2d.", param, ctx)


class Size(Type):
    """Octets out of a number with k, M or G behind it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        factor = _FACTORS.get(value[-1:], 0)
        with suppress(ValueError, OverflowError):
            octets = int(float(value[:-1]) * factor) if factor else int(value)
            if octets > 0:
                return octets
        return self.fail(f"{value!r} is not a size: a number of octets, as in 500000, 100M or 2G.", param, ctx)


def interface_names() -> list[str]:
    """Interfaces of this machine, for the shell's completion."""
    import socket

    names = ["any", *(name for _, name in socket.if_nameindex())] if hasattr(socket, "if_nameindex") else []
    return list(dict.fromkeys(["lo", *names]))


class Condition(Type):
    """An expression over a record's keys."""

    name = "expression"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from socks5sniff.where import Expression, ExpressionError

        if isinstance(value, Expression):
            return value
        try:
            return Expression(value)
        except ExpressionError as mistake:
            return self.fail(f"{mistake}" if mistake.reason.endswith("?") else f"{mistake}.", param, ctx)


def joined(context: click.Context, parameter: click.Parameter, values: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Callback of a repeatable option whose type gives tuples: all of them in one."""
    return tuple(item for value in values for item in value)
