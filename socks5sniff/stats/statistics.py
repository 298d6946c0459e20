"""The figures of a capture, one conversation at a time."""

from __future__ import annotations

from typing import Any

from socks5sniff.record import Conversation, Endpoint, iso_time

from .distribution import ERROR, Distribution
from .tallies import OTHERS, Destinations, Names
from .timeline import Timeline

MAX_EXACT = 1_000_000
"""Conversations up to which quantiles, and how many were open at once, are exact (some 80 MB of times)."""
MAX_PROXIES = 1_000
"""Proxies with figures of their own; above it, new ones are counted together."""
TOP = 1_000
"""Destinations listed at most by conversations, and as many by octets."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

_COUNTED = ("outcomes", "methods", "commands", "replies", "anomalies", "tunnels", "users", "clients")


class ProxyFigures:
    """One proxy's conversations."""

    __slots__ = ("_attempts", "_outcomes", "conversations", "received", "sent", "timing")

    def __init__(self) -> None:
        self.conversations = 0
        self.sent = 0
        self.received = 0
        self.timing: dict[str, Distribution] = {}
        self._outcomes = Names()
        self._attempts = Names()

    def add(self, c: Conversation, sent: int, received: int, exact: bool) -> None:
        self.conversations += 1
        self.sent += sent
        self.received += received
        self._outcomes.add(c.outcome)
        for step, seconds in c.timing._asdict().items():
            found = self._step(step, exact)
            if seconds is not None:
                found.add(seconds)

    def attempt(self, outcome: str, count: int) -> None:
        self._attempts.add(outcome, count)

    def sketch(self) -> None:
        for found in self.timing.values():
            found.sketch()

    def merge(self, other: ProxyFigures, exact: bool) -> None:
        self.conversations += other.conversations
        self.sent += other.sent
        self.received += other.received
        self._outcomes.merge(other._outcomes)
        self._attempts.merge(other._attempts)
        for step, found in other.timing.items():
            self._step(step, exact).merge(found)

    def as_dict(self) -> dict[str, Any]:
        return {
            "conversations": self.conversations,
            "outcomes": self._outcomes.as_dict(),
            "attempts": self._attempts.as_dict(),
            "sent": self.sent,
            "received": self.received,
            "timing": {step: _figures(found) for step, found in self.timing.items()},
        }

    def _step(self, step: str, exact: bool) -> Distribution:
        found = self.timing.get(step)
        if found is None:
            found = self.timing[step] = Distribution()
            if not exact:
                found.sketch()
        return found


class Statistics:
    """Figures over conversations.

    Attributes:
        conversations: how many were added.
        packets: frames read; whoever reads them sets it.
        exact: quantiles, and how many were open at once, are exact: at most MAX_EXACT conversations were added.
    """

    __slots__ = ("_counts", "_destinations", "_proxies", "_timeline", "conversations", "exact", "packets")

    def __init__(self) -> None:
        self.conversations = 0
        self.packets = 0
        self.exact = True
        self._counts = {name: Names() for name in _COUNTED}
        self._proxies: dict[str, ProxyFigures] = {}
        self._destinations = Destinations()
        self._timeline = Timeline()

    def add(self, c: Conversation) -> None:
        """Count a conversation. One inside another's tunnel counts like any other, its octets in both."""
        self.conversations += 1
        if self.exact and self.conversations > MAX_EXACT:
            self._sketch()
        sent, received = _octets(c)
        self._name(c)
        self._proxy(str(c.proxy)).add(c, sent, received, self.exact)
        self._timeline.add(c.start_ns, c.end_ns, sent, received)
        for host, port, *octets in _places(c, sent, received):
            self._destinations.add(host, port, 1, *octets)

    def attempt(self, proxy: Endpoint, outcome: str, count: int = 1) -> None:
        """Count TCP connections to a proxy that came to no conversation.

        Args:
            proxy: whom they were meant for.
            count: how many there were.
            outcome: `refused`, `unanswered` or `closed` (before a greeting).
        """
        self._proxy(str(proxy)).attempt(outcome, count)

    def merge(self, other: Statistics) -> None:
        """Add the figures of another part, which stays as it is.

        The outcome is that of adding all conversations to one, in any order and grouping; only names and destinations
        beyond the bounds of `tallies` may be told apart in one and counted together in the other.
        """
        self.conversations += other.conversations
        self.packets += other.packets
        if self.exact and not (other.exact and self.conversations <= MAX_EXACT):
            self._sketch()
        for name, counts in other._counts.items():
            self._counts[name].merge(counts)
        for proxy, figures in other._proxies.items():
            self._proxy(proxy).merge(figures, self.exact)
        self._destinations.merge(other._destinations)
        self._timeline.merge(other._timeline)

    def as_dict(self, top: int = TOP) -> dict[str, Any]:
        """All figures as plain values, for JSON.

        Args:
            top: destinations to list by conversations, and as many by octets.
        """
        begun, ended = self._timeline.start, self._timeline.end
        over_time = self._timeline.as_list()
        sent = sum(figures.sent for figures in self._proxies.values())
        received = sum(figures.received for figures in self._proxies.values())
        return {
            "conversations": self.conversations,
            "packets": self.packets,
            "start": None if begun is None else iso_time(begun),
            "end": None if ended is None else iso_time(ended),
            **{name: counts.as_dict() for name, counts in self._counts.items()},
            "destinations": self._destinations.top(top),
            "destinations_left_out": self._destinations.left_out,
            "proxies": {name: figures.as_dict() for name, figures in sorted(self._proxies.items(), key=_busiest)},
            "bytes": {"sent": sent, "received": received},
            "rates": _rates(self.conversations, sent, received, begun, ended),
            "open_at_once": max((interval["open"] for interval in over_time), default=0),
            "quantile_error": 0 if self.exact else ERROR,
            "over_time": over_time,
        }

    def _name(self, c: Conversation) -> None:
        counts = self._counts
        counts["outcomes"].add(c.outcome)
        for name, value in (
            ("methods", c.method),
            ("commands", c.command),
            ("replies", c.reply and c.reply.name),
            ("tunnels", c.tunnel and c.tunnel.protocol),
            ("users", c.username),
            ("clients", c.client.address),
        ):
            if value is not None:
                counts[name].add(value)
        for code in {anomaly.code for anomaly in c.anomalies}:
            counts["anomalies"].add(code)

    def _proxy(self, name: str) -> ProxyFigures:
        found = self._proxies.get(name)
        if found is None:
            if len(self._proxies) >= MAX_PROXIES:
                name = OTHERS
            found = self._proxies.setdefault(name, ProxyFigures())
        return found

    def _sketch(self) -> None:
        self.exact = False
        self._timeline.sketch()
        for figures in self._proxies.values():
            figures.sketch()


def _octets(c: Conversation) -> tuple[int, int]:
    if c.udp is not None:
        return c.udp.bytes_sent, c.udp.bytes_received
    return (0, 0) if c.bytes is None else (c.bytes.sent, c.bytes.received)


def _places(c: Conversation, sent: int, received: int) -> list[tuple[str, int, int, int]]:
    """Where a conversation went: host, port, octets sent and received. Of an association that reached several parties
    the record does not say how many octets were whose."""
    if c.udp is not None:
        shared = len(c.udp.destinations) > 1
        octets = (0, 0) if shared else (sent, received)
        return [(party.host, party.port, *octets) for party in c.udp.destinations]
    if c.destination is None or c.command == "udp-associate":
        return []
    return [(c.destination.host, c.destination.port, sent, received)]


def _busiest(entry: tuple[str, ProxyFigures]) -> tuple[int, str]:
    return -entry[1].conversations, entry[0]


def _figures(found: Distribution) -> dict[str, Any]:
    quantiles = found.quantiles(list(QUANTILES.values()))
    return {"count": len(found), **dict(zip(QUANTILES, quantiles, strict=True)), "max": found.largest}


def _rates(conversations: int, sent: int, received: int, begun: int | None, ended: int | None) -> dict[str, Any]:
    """A second's share of everything, None where no time has passed."""
    seconds = 0.0 if begun is None or ended is None else (ended - begun) / 1e9
    totals = {"conversations": conversations, "sent": sent, "received": received}
    return {name: total / seconds if seconds else None for name, total in totals.items()}
