"""TCP connections to proxies that came to no conversation: refused, not answered, or closed before a greeting.

Whether a listener is a proxy may show only later, by another connection. So those of every listener are counted, within
bounds; whoever asks is told of those that are proxies by then.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import TcpFlag
from socks5sniff.record import Endpoint, iso_time
from socks5sniff.session import Verdict
from socks5sniff.streams.flows import NO_TIME, UNKNOWN, FlowTable

from .connections import Connections
from .handshakes import Decided

MAX_PLACES = 4096
"""Listeners counted by themselves; above it the one that was heard of first is forgotten."""
MAX_LISTED = 10_000
"""Attempts listed; the others are counted only."""
MAX_FRESH = 1000
"""Those of one batch that a running capture lists: a flood of them must not slow it down."""
MAX_PROXIES = 1 << 16
"""Listeners remembered as proxies."""

OUTCOMES = ("refused", "unanswered", "closed")
_CLOSED = OUTCOMES.index("closed")
_ENDS = TcpFlag.FIN | TcpFlag.RST


class Attempt(NamedTuple):
    """A TCP connection to a proxy that came to no conversation."""

    client: Endpoint
    proxy: Endpoint
    outcome: str
    """One of OUTCOMES."""
    start_ns: int
    """When the SYN was sent, ns since 1970."""
    frame: int
    """That of the SYN."""

    def as_dict(self) -> dict[str, Any]:
        """The row as programs read it."""
        return {
            "client": self.client._asdict(),
            "proxy": self.proxy._asdict(),
            "outcome": self.outcome,
            "start": iso_time(self.start_ns),
            "frame": self.frame,
        }


def outcomes(flows: FlowTable, slots: NDArray[np.intp]) -> NDArray[np.int8]:
    """What came of SYNs: 0 where a connection was established, 1 refused, 2 not answered."""
    turned = flows.opener[slots] != 0
    asked = np.where(turned, flows.flags1[slots], flows.flags0[slots])
    said = np.where(turned, flows.flags0[slots], flows.flags1[slots])
    # Where the SYN/ACK is missing from the capture, what follows on it tells.
    answered = ((said & TcpFlag.SYN) != 0) | ((said & (TcpFlag.RST | TcpFlag.ACK)) == TcpFlag.ACK)
    answered |= (said == 0) & ((asked & TcpFlag.ACK) != 0)
    return np.where(answered, 0, np.where((said & TcpFlag.RST) != 0, 1, 2)).astype(np.int8)


class _Places:
    """Attempts by listener and outcome."""

    def __init__(self) -> None:
        self.counts: OrderedDict[Endpoint, Counter[str]] = OrderedDict()
        self.listed: deque[Attempt] = deque(maxlen=MAX_LISTED)

    def add(self, proxy: Endpoint, outcome: str, count: int) -> None:
        found = self.counts.get(proxy)
        if found is None:
            found = self.counts[proxy] = Counter()
            if len(self.counts) > MAX_PLACES:
                self.counts.popitem(last=False)
        found[outcome] += count


def added(
    one: Sequence[tuple[Endpoint, str, int]], other: Sequence[tuple[Endpoint, str, int]]
) -> list[tuple[Endpoint, str, int]]:
    """What two captures have of `Attempts.counts`."""
    found: defaultdict[Endpoint, Counter[str]] = defaultdict(Counter)
    for proxy, outcome, count in (*one, *other):
        found[proxy][outcome] += count
    return _most_first(found.items())


def _most_first(counts: Iterable[tuple[Endpoint, Counter[str]]]) -> list[tuple[Endpoint, str, int]]:
    found = sorted(counts, key=lambda entry: (-entry[1].total(), entry[0]))
    return [(proxy, outcome, counts[outcome]) for proxy, counts in found for outcome in OUTCOMES if counts[outcome]]


class Attempts:
    """All attempts of a capture."""

    def __init__(self, connections: Connections, book: AddressBook) -> None:
        self._flows = connections.flows
        self._octets = connections.octets
        self._watch = connections.watch
        self._book = book
        self._expected, self._others = _Places(), _Places()
        self._proxies: set[Endpoint] = set()
        self._latest = False

    def keep_latest(self) -> None:
        """List the latest attempts where there are too many, not the first: the capture is running."""
        self._latest = True

    def spoke(self, decided: Decided) -> None:
        """These flows were conversations, or other protocols: who listened for SOCKS is a proxy."""
        said = [
            slot
            for slot, dialogue in decided.dialogues.items()
            if dialogue.session.client_side == 0 and dialogue.verdict is Verdict.SOCKS
        ]
        slots = np.concatenate((decided.slots, np.array(said, np.intp)))
        _, proxies = self._flows.ends(slots, self._watch.turns(slots))
        for end in sorted({*proxies.tolist()}):  # np.unique would load a part of numpy that nothing else here needs
            if len(self._proxies) < MAX_PROXIES:
                self._proxies.add(self._endpoint(end))

    def take(self, slots: NDArray[np.intp]) -> None:
        """Look at flows that are over."""
        flows = self._flows
        slots = slots[(flows.syn_time[slots] != NO_TIME) & (flows.opener[slots] != UNKNOWN)]
        slots = slots[(self._octets.reach[:, slots] == 0).all(0)]
        if not len(slots):
            return
        outcome = self._outcomes(slots)
        slots, outcome = slots[outcome >= 0], outcome[outcome >= 0]
        expected = self._watch.expects(slots)
        for places, chosen in ((self._expected, expected), (self._others, ~expected)):
            if chosen.any():
                self._add(places, slots[chosen], outcome[chosen])

    def detached(self) -> Attempts:
        """What was counted, without the flows."""
        counted = copy(self)
        del counted._flows, counted._octets, counted._watch, counted._book
        return counted

    def add(self, others: Attempts) -> None:
        """Those of another part of the capture, too."""
        for mine, theirs in ((self._expected, others._expected), (self._others, others._others)):
            for proxy, counts in theirs.counts.items():
                for outcome, count in counts.items():
                    mine.add(proxy, outcome, count)
            mine.listed += islice(theirs.listed, MAX_LISTED - len(mine.listed))
        for proxy in others._proxies:
            if len(self._proxies) < MAX_PROXIES:
                self._proxies.add(proxy)

    @property
    def proxies(self) -> Collection[Endpoint]:
        """Listeners that have spoken SOCKS, so far."""
        return self._proxies

    def counts(self) -> list[tuple[Endpoint, str, int]]:
        """Proxy, outcome, and how many; the proxies with most first."""
        found = [*self._expected.counts.items()]
        found += [(proxy, counts) for proxy, counts in self._others.counts.items() if proxy in self._proxies]
        return _most_first(found)

    def listed(self) -> list[Attempt]:
        """The attempts in the order in which they began, MAX_LISTED of them at most: the first, or the latest."""
        others = (attempt for attempt in self._others.listed if attempt.proxy in self._proxies)
        found = sorted(chain(self._expected.listed, others), key=lambda attempt: attempt.frame)
        return found[-MAX_LISTED:] if self._latest else found[:MAX_LISTED]

    def _outcomes(self, slots: NDArray[np.intp]) -> NDArray[np.int8]:
        """By flow an index into OUTCOMES; -1 where the connection stands, or was open when the capture ended."""
        came_to = outcomes(self._flows, slots)
        ended = ((self._flows.flags0[slots] | self._flows.flags1[slots]) & _ENDS) != 0
        return np.where(came_to > 0, came_to - 1, np.where(ended, _CLOSED, -1)).astype(np.int8)

    def _add(self, places: _Places, slots: NDArray[np.intp], outcome: NDArray[np.int8]) -> None:
        flows = self._flows
        clients, proxies = flows.ends(slots, flows.opener[slots])
        for code in sorted({*outcome.tolist()}):
            ends, counts = np.unique(proxies[outcome == code], return_counts=True)
            for end, count in zip(ends.tolist(), counts.tolist(), strict=True):
                places.add(self._endpoint(end), OUTCOMES[code], count)
        first = np.argsort(flows.first_frame[slots], kind="stable")
        first = first[-MAX_FRESH:] if self._latest else first[: MAX_LISTED - len(places.listed)]
        columns = (clients, proxies, outcome, flows.syn_time[slots], flows.first_frame[slots])
        for client, proxy, code, time, frame in zip(*(column[first].tolist() for column in columns), strict=True):
            between = self._endpoint(client), self._endpoint(proxy)
            places.listed.append(Attempt(*between, OUTCOMES[code], time, frame))

    def _endpoint(self, end: int) -> Endpoint:
        return Endpoint(self._book.endpoint_address(end), end & 0xFFFF)
