"""The report: conversations as they come, then one HTML page about all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from socks5sniff.record import Conversation, iso_time

from .columns import container
from .conversations import Conversations
from .explaining import explainer
from .figures import Figures
from .page import HERE, page, policy

MAX_ROWS = 200_000
"""Conversations that the page's table holds; its figures cover all."""
_BATCH = 4096
"""Conversations that are taken apart together."""
_SHOWN = 20
"""Rows of a list in the summary for browsers without scripts."""


class Report:
    """Collects conversations.

    Args:
        max_rows: how many the page's table holds, at most.
    """

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self._held = Conversations()
        self._rest = Figures()
        self._all = Figures()
        self._explain = explainer()
        self._waiting: list[Conversation] = []

    def add(self, conversation: Conversation) -> None:
        self._waiting.append(conversation)
        if len(self._waiting) >= _BATCH:
            self._take()

    def _take(self) -> None:
        waiting, self._waiting = self._waiting, []
        room = self._max_rows - self._held.rows
        self._all.take(waiting)
        self._rest.take(waiting[room:])
        held = waiting[:room]
        self._held.take(held, [self._explain(c) for c in held])

    def write(self, about: Mapping[str, Any]) -> Iterator[str]:
        """The page, in pieces.

        Args:
            about: what was read: `inputs` (names), `command` (words of the command line), `packets`, `skipped`,
                `found` (conversations before any filter), `version`; `fault` (a sentence) where the input ended
                with one; `notes` (sentences about single inputs), `attempts` and `bypasses` (lists of plain
                dictionaries) where there are such, with `all attempts` and `all bypasses` where there are more.
        """
        self._take()
        held = self._held
        facts = {"rows": held.rows, "about": about, "rest": self._rest.plain() if self._rest.conversations else None}
        data = container(held.columns.values(), held.dictionary, facts)
        names = ", ".join(about["inputs"]) or "SOCKS"
        yield from page(data, f"{names} - socks5sniff", self._summary(about))

    def _summary(self, about: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
        """The figures that need no script."""
        every = self._all
        what = [
            ("files", ", ".join(about["inputs"])),
            ("packets", f"{about['packets']:,}"),
            ("skipped", f"{about['skipped']:,}"),
            ("conversations", f"{every.conversations:,}"),
            ("octets sent", f"{every.octets[0]:,}"),
            ("octets received", f"{every.octets[1]:,}"),
        ]
        if every.first is not None and every.last is not None:
            what += [("from", iso_time(every.first)), ("to", iso_time(every.last))]
        what += [("note", note) for note in about.get("notes", ())]
        if about.get("fault"):
            what.append(("ended with", about["fault"]))
        tables = [("What was read", what)]
        for heading, group in (
            ("Outcomes", "outcome"),
            ("Proxies", "proxy"),
            ("Clients", "client"),
            ("Destinations", "destination"),
            ("Anomalies", "anomaly"),
        ):
            counts = every.most(group, _SHOWN)
            if counts:
                tables.append((heading, [("others" if n is None else n, f"{count:,}") for n, count in counts]))
        return tables


def live_page() -> str:
    """The page that takes its conversations from the server it came from."""
    nothing = Conversations()
    data = container(
        nothing.columns.values(), nothing.dictionary, {"rows": 0, "about": None, "rest": None, "live": True}
    )
    return "".join(page(data, "socks5sniff live", [("This page needs JavaScript.", [])], HERE))


def page_policy() -> str:
    """The Content-Security-Policy that the live page is served with."""
    return policy(HERE)
