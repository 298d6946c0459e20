"""What an operator asks of one value: addresses in networks, texts, numbers, times."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from socks5sniff.record.fields import Key, Kind

from .mistakes import MistakeError, alternatives
from .tree import Literal, Range

ValueTest = Callable[[Any], bool]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?Z?)?")


def value_test(key: Key, name: str, literal: Literal, position: int) -> ValueTest:
    """The test of a value of `key` by the operator `name` (any but `in`) and a literal.

    Raises:
        MistakeError: they do not go together; `position` is the operator's.
    """
    if name in ("contains", "matches"):
        return _textual(key, name, literal, position)
    if key.kind in (Kind.ADDRESS, Kind.HOST):
        return _hosts(key, name, literal, position)
    if key.kind in (Kind.TEXT, Kind.TRUTH) and name not in ("==", "!="):
        raise MistakeError(position, f"{key.kind.value} has no order: == and != compare it")
    wanted = _understood(key, literal)
    compare = _ORDER[name]
    return lambda value: compare(value, wanted)


def member_test(key: Key, members: Sequence[Literal | Range]) -> ValueTest:
    """The test whether a value of `key` is one of `members`, or in one that is a range or a network.

    Raises:
        MistakeError: one of them is no such value.
    """
    tests: list[ValueTest] = []
    plain: set[Any] = set()
    for member in members:
        if isinstance(member, Range):
            tests.append(_range(key, member))
        elif key.kind in (Kind.ADDRESS, Kind.HOST):
            tests.append(_hosts(key, "==", member, member.position))
        else:
            plain.add(_understood(key, member))
    if not tests:
        return lambda value: value in plain
    return lambda value: value in plain or any(test(value) for test in tests)


def pair_test(name: str) -> Callable[[Any, Any], bool]:
    """The test of two values of a record."""
    compare = _ORDER[name]

    def test(left: Any, right: Any) -> bool:
        if isinstance(left, str):
            addresses = _address(left), _address(right)
            if None not in addresses and (name in ("==", "!=") or addresses[0].version == addresses[1].version):  # type: ignore[union-attr]
                return compare(*addresses)
            return compare(left.casefold(), right.casefold())
        return compare(left, right)

    return test


def _range(key: Key, ends: Range) -> ValueTest:
    if key.kind in (Kind.ADDRESS, Kind.HOST):
        low, high = (_single_address(end) for end in (ends.low, ends.high))
        if low.version != high.version:
            raise MistakeError(ends.high.position, "the two ends are addresses of different kinds")

        def test(value: str) -> bool:
            found = _address(value)
            return found is not None and found.version == low.version and low <= found <= high  # type: ignore[operator]

        return test
    if key.kind not in (Kind.NUMBER, Kind.TIME):
        raise MistakeError(ends.low.position, f"{key.kind.value} has no ranges")
    first, last = _understood(key, ends.low), _understood(key, ends.high)
    return lambda value: first <= value <= last


def _understood(key: Key, literal: Literal) -> Any:
    """The literal as a value of a number, text, truth or time."""
    text = literal.text
    if key.kind is Kind.NUMBER:
        if literal.sort != "number":
            raise MistakeError(literal.position, f"a number is expected, not {text!r}")
        return int(text, 16) if "0x" in text.lower() else float(text) if re.search(r"[.e]", text, re.I) else int(text)
    if key.kind is Kind.TRUTH:
        if text.lower() not in ("true", "false"):
            raise MistakeError(literal.position, f"true or false is expected, not {text!r}")
        return text.lower() == "true"
    if key.kind is Kind.TIME:
        return _time(literal)
    if not key.accepts(text):
        raise MistakeError(literal.position, f"it never is {text!r}{alternatives(text, sorted(key.words))}")
    return text


def _time(literal: Literal) -> int:
    """Nanoseconds of `2026-11-22`, `2026-11-22 08:39` and so on, down to nine places of a second; UTC."""
    found = _TIME.fullmatch(literal.text)
    try:
        if found is None:
            raise ValueError
        day, minute, second, fraction = found.groups()
        moment = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}").replace(tzinfo=timezone.utc)
    except ValueError:
        example = 'a time is expected, "2026-11-22T08:39:01.5Z" or less of it'
        raise MistakeError(literal.position, f"{example}, not {literal.text!r}") from None
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def _textual(key: Key, name: str, literal: Literal, position: int) -> ValueTest:
    if key.kind not in (Kind.TEXT, Kind.HOST, Kind.ADDRESS):
        raise MistakeError(position, f"`{name}` looks into text, and this is {key.kind.value}")
    if name == "matches":
        try:
            pattern = re.compile(literal.text, re.IGNORECASE)
        except re.error as error:
            quotes = 1 if literal.sort == "string" else 0
            raise MistakeError(
                literal.position + quotes + (error.pos or 0), f"the pattern is wrong: {error.msg}"
            ) from None
        return lambda value: pattern.search(value) is not None
    part = literal.text
    if key.kind is Kind.HOST:
        folded = part.casefold()
        return lambda value: folded in value.casefold()
    return lambda value: part in value


def _hosts(key: Key, name: str, literal: Literal, position: int) -> ValueTest:
    """An address or name beside an address, a network or a name."""
    if name not in ("==", "!="):
        return _ordered_addresses(name, literal)
    wanted = _network(literal.text)
    if wanted is None:
        if key.kind is Kind.ADDRESS or literal.sort == "address":
            raise MistakeError(literal.position, f"an address or a network is expected, not {literal.text!r}")
        folded = literal.text.casefold()
        same: ValueTest = lambda value: value.casefold() == folded  # noqa: E731
    else:
        network = wanted

        def same(value: str) -> bool:
            found = _address(value)
            return found is not None and found in network

    return same if name == "==" else lambda value: not same(value)


def _ordered_addresses(name: str, literal: Literal) -> ValueTest:
    wanted = _single_address(literal)
    compare = _ORDER[name]

    def test(value: str) -> bool:
        found = _address(value)
        return found is not None and found.version == wanted.version and compare(found, wanted)

    return test


def _single_address(literal: Literal) -> Address:
    found = _address(literal.text)
    if found is None:
        raise MistakeError(literal.position, f"an address is expected, not {literal.text!r}")
    return found


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    """An address or a network in CIDR notation as a network, None for anything else."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
