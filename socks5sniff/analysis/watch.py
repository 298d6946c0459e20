"""Which flows may be SOCKS, told from the first octets of each direction, a batch at a time.

A flow is UNDECIDED until something rules SOCKS out or proves it; most flows that are not SOCKS are ruled out by the
first row of one direction. What is ruled out here is what a `Session` would not follow either, whatever comes after:

- Who opens SOCKS begins with VER 5, with VER 4 and a known command, or with a PROXY protocol header.
- A responder may say up to `PREAMBLE_LIMIT` octets of its own before it opens ("reverse" proxies); then the opener, who
  is the proxy, may do so too.
- The proxy's first octets are VER 5 or a SOCKS4 reply; what a server says first is at most `PREAMBLE_LIMIT` long.
- Who offers no method and at once goes on with neither a request nor a login does not go on like that when no
  authentication is chosen: both sides of DCE/RPC begin with 05 00.

On a port where SOCKS is expected nothing is ruled out: there other protocols are named.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import PROXY_SIGNATURE, PROXY_WORD, Command
from socks5sniff.packets.columns import payload_octet, payload_octets
from socks5sniff.session import PREAMBLE_LIMIT, SOUND_METHODS
from socks5sniff.streams.flows import UNKNOWN, FlowTable
from socks5sniff.streams.heads import HEAD, HeadRows, marks, windows
from socks5sniff.streams.octets import Payloads
from socks5sniff.streams.slots import SlotTable

from .udp_in_tcp import NAMES

UNDECIDED, SOCKS, IGNORED, ELSEWHERE = range(4)
"""The last one is followed by another analyser, which makes its records (see `archive`)."""

SOCKS_PORTS = frozenset({1080, 9050, 9150})
"""Ports on which a greeting alone makes a conversation: SOCKS's own and Tor's."""

REQUEST = 1100
"""Octets within which a request lies: see `session.detection.UNDECIDED_OCTETS`."""
DATAGRAMS = 1 << 16
"""Octets of each direction that are kept where datagrams go inside TCP."""

TOKENS = 1 << 18
"""Octets of each direction that are kept where GSSAPI was chosen: its tokens are up to 64 kB long."""

_NAME_SIZES = tuple(map(len, NAMES))
_UNHEARD, _OPENS, _ANSWERS, _NEITHER = range(4)
_OTHER, _ZERO, _MISFIT = range(3)
_METHODS = 8
"""So many methods of what may be a greeting are looked at."""
_SOUND = np.isin(np.arange(256), list(SOUND_METHODS))
_LONG = 512
"""A direction that began as neither side of SOCKS does, in little pieces, is ruled out here at the latest."""


class Watch(SlotTable):
    """Columns by slot: `kind`; `begins` (by direction, how its first octets look); `zero` (by direction: whether these
    are 05 00, and what comes behind); `greets` (by direction: a greeting may lie within its first octets); `limit`
    (octets that are kept of each direction); `mark` (by direction, of its first octets, see `HeadRows.marks`; 0 for
    none); `carries` (it is known as some conversation's upstream)."""

    COLUMNS: ClassVar = {"kind": (np.uint8, UNDECIDED), "limit": (np.int64, HEAD), "carries": (np.bool_, False)}
    PAIRS: ClassVar = {
        "begins": (np.uint8, _UNHEARD),
        "zero": (np.uint8, _OTHER),
        "greets": (np.bool_, False),
        "mark": (np.uint64, 0),
    }

    kind: NDArray[np.uint8]
    limit: NDArray[np.int64]
    begins: NDArray[np.uint8]
    zero: NDArray[np.uint8]
    greets: NDArray[np.bool_]
    mark: NDArray[np.uint64]
    carries: NDArray[np.bool_]

    def __init__(self, flows: FlowTable, ports: Collection[int]) -> None:
        super().__init__()
        self._flows = flows
        self._expected = np.zeros(1 << 16, np.bool_)
        self._expected[[port for port in SOCKS_PORTS | set(ports) if 0 <= port <= 0xFFFF]] = True

    def expects(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the responder's port (either port where the opener is not known) is a SOCKS port."""
        flows = self._flows
        low = self._expected[flows.low[slots].astype(np.uint16)]
        high = self._expected[flows.high[slots].astype(np.uint16)]
        opener = flows.opener[slots]
        expected: NDArray[np.bool_] = np.where(opener == 0, high, np.where(opener == 1, low, low | high))
        return expected

    def turns(self, slots: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The direction of side 0: of the SYN, else of the first packet."""
        flows = self._flows
        return np.where(flows.opener[slots] == UNKNOWN, flows.first_way[slots], flows.opener[slots])

    def may_ask(self, slots: NDArray[np.intp], ways: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether a direction may be the SOCKS client's."""
        alone = (self.begins[ways, slots] == _OPENS) & (self.begins[ways ^ 1, slots] != _OPENS)
        asks: NDArray[np.bool_] = alone | (ways == self.turns(slots))
        return asks

    def hopeless(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether nobody has opened SOCKS on flows that have ended, where no other protocol is named either."""
        turns = self.turns(slots)
        opens = (self.begins[:, slots] == _OPENS) | (self.begins[:, slots] == _UNHEARD)
        asked = opens[turns, np.arange(len(slots))]
        reversed_ = opens[1 - turns, np.arange(len(slots))] | self.greets[1 - turns, slots]
        spoken = (self.begins[:, slots] != _UNHEARD).any(0)
        known = self._flows.opener[slots] != UNKNOWN
        hopeless: NDArray[np.bool_] = spoken & known & ~asked & ~reversed_ & ~self.expects(slots)
        return hopeless

    def look(self, payloads: Payloads) -> HeadRows:
        """Rule flows out by a batch's rows, and give those rows that a decision about the others needs."""
        self._make_room(payloads)
        near = np.flatnonzero(
            (payloads.offset < self.limit[payloads.slot])
            & (payloads.offset + payloads.segments.length[payloads.row] > 0)
        )
        payloads = payloads.take(near)
        if not len(near):
            return HeadRows.none()
        self._hear(payloads)
        self._rule_out(payloads)
        payloads = payloads.take(np.flatnonzero(self.kind[payloads.slot] != IGNORED))
        return HeadRows.of(payloads, self.limit[payloads.slot])

    def _make_room(self, payloads: Payloads) -> None:
        """How much is kept of flows that begin with something long: a PROXY protocol header, or GSSAPI, chosen."""
        at = np.flatnonzero((payloads.offset == 0) & (self.begins[payloads.way, payloads.slot] == _UNHEARD))
        segments, row, slot = payloads.segments, payloads.row[at], payloads.slot[at]
        octet = payload_octet(segments, row, 0)
        chosen = (octet == 5) & (segments.length[row] == 2) & (payload_octet(segments, row, 1) == 1)
        self.limit[slot[chosen]] = TOKENS
        header = np.flatnonzero(octet == PROXY_SIGNATURE[0])
        for place in header[payload_octet(segments, row[header], 15) >= 0].tolist():
            octets = payload_octets(segments, int(row[place]), 16)
            if octets.startswith(PROXY_SIGNATURE):
                self.limit[slot[place]] = HEAD + 16 + (octets[14] << 8 | octets[15])

        self._make_room_for_datagrams(payloads)

    def _make_room_for_datagrams(self, payloads: Payloads) -> None:
        """Of a tunnel that is asked for to carry datagrams more is kept, since they are counted one by one."""
        segments = payloads.segments
        at = np.flatnonzero((payloads.offset > 0) & (payloads.offset < REQUEST) & (segments.length[payloads.row] >= 10))
        at = at[payload_octet(segments, payloads.row[at], 0) == 5]
        at = at[payloads.way[at] == self.turns(payloads.slot[at])]
        if not len(at):
            return
        command = payload_octet(segments, payloads.row[at], 1)
        wanted = np.isin(command, (Command.FWD_UDP, Command.UDP_OVER_TCP))
        named = (command == Command.CONNECT) & np.isin(payload_octet(segments, payloads.row[at], 4), _NAME_SIZES)
        for place in np.flatnonzero(named).tolist():
            octets = payload_octets(segments, int(payloads.row[at[place]]), 5 + max(_NAME_SIZES))
            wanted[place] = octets[5 : 5 + octets[4]].lower() in NAMES
        slots = payloads.slot[at[wanted]]
        self.limit[slots] = np.maximum(self.limit[slots], DATAGRAMS)

    def _hear(self, payloads: Payloads) -> None:
        """How directions begin."""
        payloads = payloads.take(np.flatnonzero(payloads.offset <= PREAMBLE_LIMIT))
        segments, row, slot, way = payloads.segments, payloads.row, payloads.slot, payloads.way
        captured = np.minimum(segments.captured[row], self.limit[slot] - payloads.offset)
        short = windows(segments, segments.payload[row], captured)
        # Backwards, so that of several rows of a direction the first is written last and stands.
        first = np.flatnonzero((payloads.offset == 0) & (self.begins[way, slot] == _UNHEARD))[::-1]
        if len(first):
            self.begins[way[first], slot[first]] = _beginnings(short[first], captured[first])
            self.zero[way[first], slot[first]] = _zeros(short[first], captured[first])
            self.mark[way[first], slot[first]] = marks(short[first], captured[first])
        early = np.flatnonzero(~self.greets[way, slot] & (self.begins[way, slot] != _OPENS))
        if len(early):
            greets = early[_greet(short[early], captured[early], PREAMBLE_LIMIT - payloads.offset[early])]
            self.greets[way[greets], slot[greets]] = True

    def _rule_out(self, payloads: Payloads) -> None:
        slot, way, offset = payloads.slot, payloads.way, payloads.offset
        begins, other = self.begins[way, slot], self.begins[way ^ 1, slot]
        asks = way == self.turns(slot)
        end = np.minimum(offset + payloads.segments.length[payloads.row], self.limit[slot])
        # An opener that said too much at once, or much in pieces while the responder does not greet.
        silent = ~self.greets[way ^ 1, slot]
        out = asks & (begins >= _ANSWERS) & np.where(offset == 0, end > PREAMBLE_LIMIT, (end > _LONG) & silent)
        # A responder that does not answer, or does not greet.
        fits = np.where(other == _OPENS, begins <= _ANSWERS, self.greets[way, slot] | (begins == _OPENS))
        much = np.where(offset == 0, end > PREAMBLE_LIMIT, (end > _LONG) & (other != _OPENS))
        out |= ~asks & (begins >= _ANSWERS) & ~fits & much
        out &= begins != _UNHEARD
        # Nobody asked for what comes behind an empty offer.
        mine, theirs = self.zero[way, slot], self.zero[way ^ 1, slot]
        odd = np.where(asks, (mine == _MISFIT) & (theirs != _OTHER), (theirs == _MISFIT) & (mine != _OTHER))
        out |= odd & (self._flows.opener[slot] != UNKNOWN)
        out[out] &= ~self.expects(slot[out])
        self.kind[slot[out]] = IGNORED


def _begin_like(short: NDArray[np.uint8], captured: NDArray[np.int64], wanted: bytes) -> NDArray[np.bool_]:
    """Whether rows begin with the octets that are wanted, as far as they go."""
    found: NDArray[np.bool_] = short[:, 0] == wanted[0]
    for at in range(1, len(wanted)):
        if not found.any():
            break
        found &= (short[:, at] == wanted[at]) | (captured <= at)
    return found


def _beginnings(short: NDArray[np.uint8], captured: NDArray[np.int64]) -> NDArray[np.uint8]:
    """How rows look as a direction's first ones.

    Args:
        short: uint8[n, SHORT], see `HeadRows`; captured: int64[n], how many octets are there.
    """
    octet, second = short[:, 0], short[:, 1]
    alone = captured < 2
    command = (second == 1) | (second == 2) | (second == 0xF0) | (second == 0xF1) | alone
    header = _begin_like(short, captured, PROXY_WORD) | _begin_like(short, captured, PROXY_SIGNATURE)
    opens = (octet == 5) | ((octet == 4) & command) | header | (captured < 1)
    answers = (octet == 0) | (octet == 4)
    return np.where(opens, _OPENS, np.where(answers, _ANSWERS, _NEITHER)).astype(np.uint8)


def _greet(
    short: NDArray[np.uint8], captured: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Those of these rows in which a sound greeting may begin (see `session.opening`), at `last` at the latest.

    Most octets 05 of other protocols have something behind them that no method is. What lies beyond the row may be
    anything; the zeros there could be methods.
    """
    row, at = np.nonzero(short[:, : PREAMBLE_LIMIT + 1] == 5)
    near = at <= last[row]
    row, at = row[near], at[near]
    count = np.where(at + 1 < captured[row], short[row, at + 1], _METHODS)
    sound = count > 0
    for number in range(_METHODS):
        sound &= (number >= count) | _SOUND[short[row, at + 2 + number]]
    row = row[sound]
    rows: NDArray[np.intp] = row[np.diff(row, prepend=-1) != 0]
    return rows


def _zeros(short: NDArray[np.uint8], captured: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Which of these rows begin with 05 00, and with which of them nothing of SOCKS comes behind it."""
    zero = (short[:, 0] == 5) & (short[:, 1] == 0) & (captured >= 2)
    misfit = zero & (captured > 2) & (short[:, 2] != 1) & (short[:, 2] != 5)
    return np.where(misfit, _MISFIT, np.where(zero, _ZERO, _OTHER)).astype(np.uint8)
