"""What a live capture prints when it ends: a table by proxy, packets and drops, where the capture was saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from socks5sniff.codec.text import escape_text
from socks5sniff.live.engine import Counts
from socks5sniff.record import Endpoint
from socks5sniff.record.batch import Batch
from socks5sniff.sinks.words import counted, octets

PROXIES = 1000
"""Proxies counted one by one; whatever comes beyond that is counted as `others`."""
_SHOWN = 20


@dataclass(slots=True)
class _Proxy:
    outcomes: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0


class Tally:
    """Counts of the conversations that have ended.

    Attributes:
        conversations: how many.
    """

    def __init__(self) -> None:
        # Now: later this process may run as a user who cannot read where packages are.
        from tabulate import tabulate

        self._tabulate = tabulate
        self.conversations = 0
        self._proxies: dict[Endpoint | None, _Proxy] = {}

    def add(self, batch: Batch) -> None:
        """Count some records."""
        self.conversations += len(batch)
        for conversation in filter(None, batch.written):
            # The octets of one inside a tunnel are those of the tunnel.
            sent, received = (octets(conversation) if conversation.parent is None else None) or (0, 0)
            self._count(conversation.proxy, conversation.outcome, 1, sent, received)
        for same in batch.by_proxy():
            self._count(*same)

    def _count(self, address: Endpoint, outcome: str, conversations: int, sent: int, received: int) -> None:
        proxy = self._proxies.get(address)
        if proxy is None:
            name = address if len(self._proxies) < PROXIES else None
            proxy = self._proxies.setdefault(name, _Proxy())
        proxy.outcomes[outcome] += conversations
        proxy.sent += sent
        proxy.received += received

    def outcomes(self) -> dict[str, int]:
        """How many conversations have had each outcome."""
        outcomes: Counter[str] = Counter()
        for proxy in self._proxies.values():
            outcomes += proxy.outcomes
        return dict(sorted(outcomes.items()))

    def table(self) -> str:
        """One row for each proxy, the busiest first; empty when there was no conversation."""
        if not self._proxies:
            return ""
        busiest = sorted(self._proxies.items(), key=lambda entry: -entry[1].outcomes.total())
        rows = [
            (
                "others" if name is None else str(name),
                f"{proxy.outcomes.total():,}",
                ", ".join(f"{outcome} {count:,}" for outcome, count in proxy.outcomes.most_common()),
                f"{proxy.sent:,}",
                f"{proxy.received:,}",
            )
            for name, proxy in busiest[:_SHOWN]
        ]
        if len(busiest) > _SHOWN:
            rows.append((f"… {len(busiest) - _SHOWN} more", "", "", "", ""))
        headers = ("proxy", "conversations", "outcomes", "sent", "received")
        sides = ("left", "right", "left", "right", "right")
        return escape_text_lines(self._tabulate(rows, headers, disable_numparse=True, colalign=sides))


def counts_line(packets: int, conversations: int, names: Sequence[str], counts: Sequence[Counts | None]) -> str:
    """`3 conversations in 120 packets; lo: 120 received, 0 dropped`."""
    parts = [f"{counted(conversations, 'conversation')} in {counted(packets, 'packet')}"]
    for name, count in zip(names, counts, strict=True):
        if count is None:
            parts.append(f"{name}: drops not known")
        else:
            parts.append(f"{name}: {count.received:,} received, {count.dropped:,} dropped")
    return escape_text("; ".join(parts))


def escape_text_lines(text: str) -> str:
    """Each line escaped, so that only the line ends stay."""
    return "\n".join(escape_text(line) for line in text.split("\n"))
