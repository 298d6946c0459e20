"""What is kept of each flow and which are ruled out, against a plain look at one flow after another."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from socks5sniff.analysis.watch import (
    DATAGRAMS,
    IGNORED,
    REQUEST,
    TOKENS,
    UNDECIDED,
    Watch,
)
from socks5sniff.codec import PROXY_SIGNATURE, PROXY_WORD
from socks5sniff.packets.columns import Segments
from socks5sniff.session import PREAMBLE_LIMIT, SOUND_METHODS
from socks5sniff.streams.flows import UNKNOWN
from socks5sniff.streams.heads import HEAD, SHORT, mark
from socks5sniff.streams.octets import Payloads
from tests.streams.rows import Row, one_by_one

UNHEARD, OPENS, ANSWERS, NEITHER = range(4)
OTHER, ZERO, MISFIT = range(3)
LONG = 512
NAMES = [b"sp.v2.udp-over-tcp.arpa", b"SP.UDP-over-tcp.ARPA", b"sp.v3.udp-over-tcp.arpa", b"www.udp-over-t.arpa"]
FIRST = [b"\5", b"\5\1\0", b"\5\1", b"\5\0", b"\5\0\1", b"\5\0\5\1", b"\5\0\x0b", b"\4", b"\4\1", b"\4\2\0", b"\4\3"]
FIRST += [b"\4\xf0", b"\4\xf1\0", b"\0", b"\0\x5a", b"P", b"PROXY", b"PROXY TCP4 1", b"PRO", b"PRAY", b"GET /", b"\r\n"]
FIRST += [PROXY_SIGNATURE + b"\x21\x11\1\2", PROXY_SIGNATURE + b"\x21\x11\0", PROXY_SIGNATURE[:11] + b"x\x21\x11\1\2xx"]
GREETINGS = [b"\5\1\0", b"\5\2\0\2", b"\5\0", b"\5\1\xff", b"\5\1", b"\5", b"\5\4\0\1\2\x80", b"\5\2\0\x0b"]
GREETINGS += [b"\5\x09" + b"\2" * 9, b"\5\x0a" + b"\2" * 8 + b"\x0b", b"\5\x08" + b"\2" * 7 + b"\x0b"]
ASKS = [b"\5\5\0\1" + bytes(6), b"\5\xf3\0\1" + bytes(6), b"\5\5\0\1" + bytes(5), b"\5\3\0\1" + bytes(6)]
ASKS += [b"\5\1\0\3" + bytes([len(name)]) + name + b"\0\0" for name in NAMES]


class Flow(NamedTuple):
    """Ports of both ends, who opened it, and who was heard of first."""

    low: int
    high: int
    opener: int
    first_way: int


def octets(draw: Random) -> bytes:
    size = draw.choice([0, 1, 9, PREAMBLE_LIMIT, PREAMBLE_LIMIT + 1, LONG, LONG + 1])
    kinds = [draw.choice(FIRST), draw.choice(FIRST), draw.choice(ASKS), bytes([draw.randrange(6, 255)]) * size]
    kinds.append(b"x" * draw.choice([0, 1, 3, PREAMBLE_LIMIT - 1, PREAMBLE_LIMIT, 70]) + draw.choice(GREETINGS))
    return draw.choice(kinds) + draw.choice([b"", b"", b"x", b"x" * 100]) or b"x"


def batch(draw: Random, flows: list[Flow], ends: list[list[int]]) -> list[Row]:
    """Some segments of each flow, mostly one behind the other."""
    rows = []
    for slot in range(len(flows)):
        for _ in range(draw.choice([0, 1, 1, 2])):
            way = draw.randrange(2)
            offset = ends[way][slot] + draw.choice([0] * 9 + [-1, 1, REQUEST, HEAD])
            said, lacking = octets(draw), draw.choice([0] * 6 + [1, 5])
            cut = draw.choice([0] * 9 + [1, len(said)])
            rows.append(Row(slot, way, offset, -1, 0, 0, said[: len(said) - cut], lacking + cut))
            ends[way][slot] = max(ends[way][slot], offset + len(said) + lacking)
    return rows


def payloads(rows: list[Row]) -> Payloads:
    sizes = np.array([len(row.octets) for row in rows], np.int64)
    zeros = np.zeros(len(rows), np.int64)
    segments = Segments(
        octets=np.frombuffer(b"".join(row.octets for row in rows) + b"\5" * SHORT, np.uint8),
        spill=np.empty(0, np.uint8),
        frame=zeros,
        time=zeros,
        capture=zeros.astype(np.uint16),
        source=zeros.astype(np.uint64),
        destination=zeros.astype(np.uint64),
        sequence=zeros.astype(np.uint32),
        acknowledgment=zeros.astype(np.uint32),
        flags=zeros.astype(np.uint8),
        payload=np.cumsum(sizes) - sizes,
        length=sizes + np.array([row.lacking for row in rows], np.int64),
        captured=sizes,
        network=zeros.astype(np.int32),
    )
    columns = ((0, np.intp), (1, np.uint8), (2, np.int64), (3, np.int64))
    slot, way, offset, heard = (np.array([row[place] for row in rows], kind) for place, kind in columns)
    return Payloads(segments, np.arange(len(rows)), slot, way, offset, heard)


def begins(said: bytes) -> int:
    """Whether a direction begins as who opens SOCKS, as who answers, or as neither."""
    header = any(word[: len(said)] == said[: len(word)] for word in (PROXY_WORD, PROXY_SIGNATURE))
    if header or said[0] == 5 or (said[0] == 4 and said[1:2] in (b"", b"\1", b"\2", b"\xf0", b"\xf1")):
        return OPENS
    return ANSWERS if said[0] in (0, 4) else NEITHER


def zero(said: bytes) -> int:
    if not said.startswith(b"\5\0"):
        return OTHER
    return ZERO if said[2:3] in (b"", b"\1", b"\5") else MISFIT


def greets(said: bytes, last: int) -> bool:
    """Whether a greeting may begin there: of its methods the first eight are looked at, as far as they are there."""
    for at in range(min(len(said), last + 1)):
        if said[at] == 5 and said[at + 1 : at + 2] != b"\0":
            count = said[at + 1] if at + 1 < len(said) else 0
            if SOUND_METHODS.issuperset(said[at + 2 :][: min(count, 8)]):
                return True
    return False


class Plain:
    """One flow."""

    def __init__(self, flow: Flow, ports: set[int]) -> None:
        self.flow, self.kind, self.limit = flow, UNDECIDED, HEAD
        self.turn = flow.first_way if flow.opener == UNKNOWN else flow.opener
        self.begins, self.zero, self.greets, self.marks = [UNHEARD] * 2, [OTHER] * 2, [False] * 2, [0, 0]
        responder = {0: [flow.high], 1: [flow.low]}.get(flow.opener, [flow.low, flow.high])
        self.expected = bool({1080, 9050, 9150, *ports}.intersection(responder))

    def look(self, rows: list[Row]) -> list[Row]:
        unheard = [begin == UNHEARD for begin in self.begins]
        for row in rows:
            if row.offset == 0 and unheard[row.way]:
                self._make_room(row.octets, len(row.octets) + row.lacking)
        for row in rows:
            if 0 < row.offset < REQUEST and row.way == self.turn and asks_for_datagrams(row):
                self.limit = max(self.limit, DATAGRAMS)
        near = [row for row in rows if row.offset < self.limit and row.offset + len(row.octets) + row.lacking > 0]
        heard = [(row, row.octets[: self.limit - row.offset]) for row in near]
        for row, said in heard:
            if row.offset == 0 and self.begins[row.way] == UNHEARD:
                self.begins[row.way] = begins(said) if said else OPENS
                self.zero[row.way], self.marks[row.way] = zero(said), mark(said)
        for row, said in heard:
            if row.offset <= PREAMBLE_LIMIT and self.begins[row.way] != OPENS:
                self.greets[row.way] |= greets(said[:SHORT], PREAMBLE_LIMIT - max(row.offset, 0))
        if any(self._rules_out(row) for row in near) and not self.expected:
            self.kind = IGNORED
        return [] if self.kind == IGNORED else [self._within(row) for row in near]

    def _make_room(self, said: bytes, length: int) -> None:
        if said.startswith(b"\5\1") and length == 2:
            self.limit = TOKENS
        if said.startswith(PROXY_SIGNATURE) and len(said) >= 16:
            self.limit = HEAD + 16 + int.from_bytes(said[14:16], "big")

    def _rules_out(self, row: Row) -> bool:
        mine, theirs = self.begins[row.way], self.begins[1 - row.way]
        end, at_once = min(row.offset + len(row.octets) + row.lacking, self.limit), row.offset == 0
        misfit = self.zero[self.turn] == MISFIT and self.zero[1 - self.turn] != OTHER
        if self.flow.opener != UNKNOWN and misfit:
            return True
        if mine in (UNHEARD, OPENS):
            return False
        if row.way == self.turn:
            return end > PREAMBLE_LIMIT if at_once else end > LONG and not self.greets[1 - row.way]
        fits = mine == ANSWERS if theirs == OPENS else self.greets[row.way]
        return not fits and (end > PREAMBLE_LIMIT if at_once else end > LONG and theirs != OPENS)

    def may_ask(self, way: int) -> bool:
        """It opens SOCKS alone, or opened the connection."""
        return way == self.turn or (self.begins[way] == OPENS and self.begins[1 - way] != OPENS)

    def hopeless(self) -> bool:
        """Both have begun, neither as who opens SOCKS, or who was not heard may not: there is nothing to wait for."""
        opener, responder = self.begins[self.turn], self.begins[1 - self.turn]
        opens = {opener, responder} & {UNHEARD, OPENS} or self.greets[1 - self.turn]
        return not opens and self.flow.opener != UNKNOWN and not self.expected

    def _within(self, row: Row) -> Row:
        """As far as it is kept."""
        room = self.limit - row.offset
        length = min(len(row.octets) + row.lacking, room)
        return row._replace(octets=row.octets[:room], lacking=length - min(len(row.octets), room))


def asks_for_datagrams(row: Row) -> bool:
    """A request for a tunnel that carries datagrams."""
    said = row.octets
    if len(said) + row.lacking < 10 or said[:1] != b"\5":
        return False
    name = said[5 : 5 + said[4]] if len(said) > 4 else b""
    named = name.lower() in (b"sp.v2.udp-over-tcp.arpa", b"sp.udp-over-tcp.arpa")
    return said[1:2] in (b"\5", b"\xf3") or (said[1:2] == b"\1" and named)


@pytest.mark.parametrize("seed", range(60))
def test_flows_are_looked_at_as_each_by_itself(seed: int) -> None:
    draw, ports, count = Random(seed), {seed, 7}, 30
    flows = [
        Flow(
            *(draw.choice([7, 1080, 9, 9, 9, 9]) for _ in range(2)),
            draw.choice([0, 1, 0, 1, UNKNOWN]),
            draw.randrange(2),
        )
        for _ in range(count)
    ]
    table = SimpleNamespace(
        low=np.array([flow.low for flow in flows], np.uint64) | np.uint64(10 << 16),
        high=np.array([flow.high for flow in flows], np.uint64) | np.uint64(11 << 16),
        opener=np.array([flow.opener for flow in flows], np.uint8),
        first_way=np.array([flow.first_way for flow in flows], np.uint8),
    )
    watch, plain = Watch(table, ports), [Plain(flow, ports) for flow in flows]  # type: ignore[arg-type]
    watch.grow(count)
    ends = [[0] * count, [0] * count]
    for _ in range(4):
        rows = batch(draw, flows, ends)
        found = one_by_one(watch.look(payloads(rows)))
        expected = [each.look([row for row in rows if row.slot == slot]) for slot, each in enumerate(plain)]
        assert found == [row for rows in expected for row in rows]
        for slot, each in enumerate(plain):
            assert watch.kind[slot] == each.kind, (slot, each.__dict__, [row for row in rows if row.slot == slot])
            assert watch.limit[slot] == each.limit
            assert watch.begins[:, slot].tolist() == each.begins
            assert watch.zero[:, slot].tolist() == each.zero
            assert watch.greets[:, slot].tolist() == each.greets
            assert watch.mark[:, slot].tolist() == each.marks
    slots = np.arange(count)
    assert watch.expects(slots).tolist() == [each.expected for each in plain]
    assert watch.turns(slots).tolist() == [each.turn for each in plain]
    assert watch.hopeless(slots).tolist() == [each.hopeless() for each in plain]
    for way in (0, 1):
        assert watch.may_ask(slots, np.full(count, way)).tolist() == [each.may_ask(way) for each in plain]
