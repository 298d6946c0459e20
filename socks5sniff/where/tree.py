"""The tree of an expression: plain values, which compare and pickle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A value in the text."""

    text: str
    """As it is meant: without quotes and escapes."""
    sort: str
    """`word`, `string`, `number` or `address`."""
    position: int


@dataclass(frozen=True, slots=True)
class Range:
    """`low..high` in braces, both included."""

    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class Name:
    """A key; with `element`, one whose elements must fulfil that."""

    text: str
    position: int
    element: Node | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A key, alone or beside values. Operators: `==`, `!=`, `<`, `<=`, `>`, `>=`, `contains`, `matches`, `in`."""

    name: Name
    operator: str | None = None
    values: tuple[Literal | Range, ...] = ()
    position: int = 0
    """Where the operator stands."""


@dataclass(frozen=True, slots=True)
class Group:
    """`and` or `or`."""

    operator: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`not`."""

    part: Node


Node = Comparison | Group | Negation
