"""A whole capture: what failed, grouped by cause, and what is fine."""

from __future__ import annotations

from collections import Counter
from typing import Any

from socks5sniff.record import Conversation, Endpoint

from .findings import Finding, findings
from .reasons import ENDING_REASONS

MAX_EXAMPLES = 5
"""Conversations of a group that are named."""
MAX_PLACES = 1_000
"""Destinations of a group that are counted each."""
SHOWN_PLACES = 3


class Group:
    """Conversations with one thing in common.

    Attributes:
        count: how many there are.
        examples: by id of the first MAX_EXAMPLES, what was found of them.
        places: how often each destination was asked for, MAX_PLACES of them at most.
    """

    __slots__ = ("count", "examples", "places")

    def __init__(self) -> None:
        self.count = 0
        self.examples: dict[int, Finding] = {}
        self.places: Counter[str] = Counter()

    @property
    def example(self) -> Finding:
        """That of the first one."""
        return self.examples[min(self.examples)]

    def add(self, c: Conversation, finding: Finding) -> None:
        self.count += 1
        self._keep(c.id, finding)
        if c.destination:
            self._place(str(c.destination), 1)

    def merge(self, other: Group) -> None:
        self.count += other.count
        for number, finding in other.examples.items():
            self._keep(number, finding)
        for place, count in other.places.items():
            self._place(place, count)

    def _keep(self, number: int, finding: Finding) -> None:
        self.examples.setdefault(number, finding)
        if len(self.examples) > MAX_EXAMPLES:
            del self.examples[max(self.examples)]

    def _place(self, place: str, count: int) -> None:
        if place in self.places or len(self.places) < MAX_PLACES:
            self.places[place] += count


class Overview:
    """What a capture's conversations came to.

    Attributes:
        conversations: how many were added.
        fine: those that succeeded with nothing to say about them.
        noted: those that succeeded, with warnings or notes.
    """

    __slots__ = ("_attempts", "_failures", "_oddities", "conversations", "fine", "noted")

    def __init__(self) -> None:
        self.conversations = 0
        self.fine = 0
        self.noted = 0
        self._failures: dict[str, Group] = {}
        self._oddities: dict[str, Group] = {}
        self._attempts: Counter[tuple[str, str]] = Counter()

    def add(self, c: Conversation) -> None:
        """Sort a conversation in: by what it failed of, and by everything else that is odd about it."""
        self.conversations += 1
        found = findings(c)
        failed = c.outcome != "succeeded"
        if not failed:
            self.noted += bool(found)
            self.fine += not found
        for index, finding in enumerate(found):
            groups = self._failures if failed and not index else self._oddities
            groups.setdefault(finding.code, Group()).add(c, finding)

    def merge(self, other: Overview) -> None:
        """Add what another part of the capture came to.

        The outcome is that of adding all conversations to one, in any order; only destinations beyond MAX_PLACES of a
        group may be counted in one and not in the other.
        """
        self.conversations += other.conversations
        self.fine += other.fine
        self.noted += other.noted
        for mine, theirs in ((self._failures, other._failures), (self._oddities, other._oddities)):
            for code, group in theirs.items():
                mine.setdefault(code, Group()).merge(group)
        for (proxy, outcome), count in other._attempts.items():
            self._attempt(proxy, outcome, count)

    def attempt(self, proxy: Endpoint, outcome: str, count: int = 1) -> None:
        """Count TCP connections to a proxy that came to no conversation.

        Args:
            proxy: whom they were meant for; MAX_PLACES of them are told apart.
            count: how many there were.
            outcome: `refused`, `unanswered` or `closed` (before a greeting).
        """
        self._attempt(str(proxy), outcome, count)

    def _attempt(self, proxy: str, outcome: str, count: int) -> None:
        key = proxy, outcome
        if key in self._attempts or len(self._attempts) < MAX_PLACES:
            self._attempts[key] += count

    @property
    def failed(self) -> int:
        """Conversations that did not succeed."""
        return self.conversations - self.fine - self.noted

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, groups in order, the commonest first."""
        unreachable = ENDING_REASONS["unreachable-proxy"]
        return {
            "conversations": self.conversations,
            "succeeded": self.fine + self.noted,
            "fine": self.fine,
            "failed": self.failed,
            "attempts": [
                {
                    "proxy": proxy,
                    "outcome": outcome,
                    "count": count,
                    "causes": list(unreachable.causes),
                    "advice": unreachable.advice,
                }
                for (proxy, outcome), count in self._attempts.most_common()
            ],
            "failures": _groups(self._failures),
            "oddities": _groups(self._oddities),
        }


def _commonest(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def _groups(groups: dict[str, Group]) -> list[dict[str, Any]]:
    ordered = sorted(groups.items(), key=lambda entry: (-entry[1].count, entry[0]))
    return [
        {
            "code": code,
            "severity": group.example.severity,
            "count": group.count,
            "example": group.example.sentence,
            "conversations": sorted(group.examples),
            "frames": list(group.example.frames),
            "destinations": dict(sorted(group.places.items(), key=_commonest)[:SHOWN_PLACES]),
            "causes": list(group.example.causes),
            "advice": group.example.advice,
        }
        for code, group in ordered
    ]
