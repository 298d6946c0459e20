"""`--fail-if` and `--quiet`: a report that is asked one question, for tests of proxies and clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from socks5sniff.errors import ExitCode
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch

from .filters import Test
from .messages import complain
from .pages import grouped
from .values import Condition

if TYPE_CHECKING:
    from socks5sniff.analysis import Bypass
    from socks5sniff.sinks import Totals
    from socks5sniff.where import Expression

    from .live_views import View

Command = TypeVar("Command", bound=Callable[..., Any])

_NAMED = 5
"""Conversations that match that are named."""


def judging_options(command: Command) -> Command:
    """`--fail-if EXPR` and `--quiet`, as fail_if (an Expression or None) and quiet."""
    decorated: Command = grouped(
        "Tests",
        click.option(
            "--fail-if",
            type=Condition(),
            metavar="EXPR",
            help="Exit with status 9 when a conversation that is shown matches, written as for --where.",
        ),
        click.option("--quiet", is_flag=True, help="Print nothing but errors; the exit status tells."),
    )(command)
    return decorated


class Judge:
    """Counts the conversations that match `--fail-if`.

    Attributes:
        matched: how many did.
    """

    def __init__(self, fail_if: Expression | None) -> None:
        self.matched = 0
        self._fail_if = fail_if
        self._ids: list[int] = []

    def see(self, records: Iterable[Conversation]) -> None:
        """Judge conversations that have ended."""
        for conversation in () if self._fail_if is None else filter(self._fail_if, records):
            self.matched += 1
            if len(self._ids) < _NAMED:
                self._ids.append(conversation.id)

    def keeping(self, keep: Test | None) -> Test | None:
        """A filter that judges what it lets through; None where nothing is asked, so that no record is looked at."""
        if self._fail_if is None:
            return keep

        def test(conversation: Conversation) -> bool:
            if keep is not None and not keep(conversation):
                return False
            self.see((conversation,))
            return True

        return test

    def status(self, otherwise: int) -> int:
        """The exit status; says which conversations matched, if any did."""
        if not self.matched:
            return otherwise
        assert self._fail_if is not None
        many = "1 conversation matches" if self.matched == 1 else f"{self.matched:,} conversations match"
        more = ", …" if self.matched > len(self._ids) else ""
        complain(f"{many} --fail-if {self._fail_if.text!r}: {', '.join(map(str, self._ids))}{more}")
        return ExitCode.MATCHED if otherwise == ExitCode.OK else otherwise


class JudgedView:
    """A view of `live` whose conversations are judged as they end."""

    def __init__(self, view: View, judge: Judge) -> None:
        self.wants_news = view.wants_news
        self._view = view
        self._judge = judge

    def news(self, conversation: Conversation) -> None:
        self._view.news(conversation)

    def ended(self, records: Batch) -> None:
        self._judge.see(records)
        self._view.ended(records)

    def interim(self, conversation: Conversation) -> None:
        self._view.interim(conversation)

    def bypass(self, row: Bypass) -> None:
        self._view.bypass(row)

    def refresh(self, packets: int) -> None:
        self._view.refresh(packets)

    def close(self, totals: Totals) -> None:
        self._view.close(totals)

    def leave(self) -> None:
        self._view.leave()


class SilentView:
    """A view of `live` that shows nothing."""

    wants_news = False

    def news(self, conversation: Conversation) -> None:
        """Nobody looks."""

    def ended(self, records: Batch) -> None:
        """Nobody looks."""

    def interim(self, conversation: Conversation) -> None:
        """Nobody looks."""

    def bypass(self, row: Bypass) -> None:
        """Nobody looks."""

    def refresh(self, packets: int) -> None:
        """Nothing is shown."""

    def close(self, totals: Totals) -> None:
        """Nothing was shown."""

    def leave(self) -> None:
        """Nothing was taken."""


class Silence:
    """An output that nobody wants."""

    def write(self, text: str) -> None:
        """Leave it."""

    def flush(self) -> None:
        """Nothing is held."""
