"""Figures that workers count where records are made, in parts that are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written

from .messages import Writer

Test = Callable[[Conversation], bool]


class Tally(Protocol):
    """What is counted; it can be sent to other processes, and made without arguments."""

    def add(self, c: Conversation, /) -> None:
        """Count a conversation."""

    def merge(self, other: Any, /) -> None:
        """Count what another one has counted."""


def counting(tally: Tally, keep: Test | None) -> Writer:
    """Counts records, as one that has counted none.

    Args:
        tally: what will be given the parts.
        keep: which records count, None for all; it can be sent to other processes.
    """
    return partial(_counted, type(tally), keep)


def merging(tally: Tally) -> Callable[[Sequence[Any]], None]:
    """Takes what was counted."""

    def merge(parts: Sequence[Any]) -> None:
        for part in parts:
            tally.merge(part)

    return merge


def _counted(
    make: Callable[[], Tally], keep: Test | None, number: int, batch: Batch, least: int
) -> tuple[list[Any], Batch]:
    tally = make()
    for conversation in batch if keep is None else filter(keep, batch):
        tally.add(conversation)
    return [tally], written([])
