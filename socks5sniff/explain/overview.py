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
        example: the finding of the first one.
        conversations: ids of the first MAX_EXAMPLES.
        places: how often each destination was asked for, MAX_PLACES of them at most.
    """

    __slots__ = ("conversations", "count", "example", "places")

    def __init__(self, example: Finding) -> None:
        self.count = 0
        self.example = example
        self.conversations: list[int] = []
        self.places: Counter[str] = Counter()

    def add(self, c: Conversation) -> None:
        self.count += 1
        if len(self.conversations) < MAX_EXAMPLES:
            self.conversations.append(c.id)
        place = str(c.destination) if c.destination else ""
        if place and (place in self.places or len(self.places) < MAX_PLACES):
            self.places[place] += 1


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
            group = groups.get(finding.code)
            if group is None:
                group = groups[finding.code] = Group(finding)
            group.add(c)

    def attempt(self, proxy: Endpoint, outcome: str, count: int = 1) -> None:
        """Count TCP connections to a proxy that came to no conversation.

        Args:
            proxy: whom they were meant for; MAX_PLACES of them are told apart.
            count: how many there were.
            outcome: `refused`, `unanswered` or `closed` (before a greeting).
        """
        key = str(proxy), outcome
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


def _groups(groups: dict[str, Group]) -> list[dict[str, Any]]:
    ordered = sorted(groups.items(), key=lambda entry: (-entry[1].count, entry[0]))
    return [
        {
            "code": code,
            "severity": group.example.severity,
            "count": group.count,
            "example": group.example.sentence,
            "conversations": group.conversations,
            "frames": list(group.example.frames),
            "destinations": dict(group.places.most_common(SHOWN_PLACES)),
            "causes": list(group.example.causes),
            "advice": group.example.advice,
        }
        for code, group in ordered
    ]
