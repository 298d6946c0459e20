"""Which dialogues are read at once, and what is told of them, against a plain look at each by itself.

Those are whole and regular up to the end of their handshake; the others have to be judged by a session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from socks5sniff.analysis.dialogue import Dialogue as Judged
from socks5sniff.analysis.dialogue import Flow
from socks5sniff.analysis.exchanges import PLACES
from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.forms import NO_TIME, Forms, Recognised, Situations
from socks5sniff.analysis.relay import Setting
from socks5sniff.analysis.tunnel import HEAD_LIMIT, identify
from socks5sniff.codec import AddressType, Command, command_name, method_name
from socks5sniff.record import MASKED_PASSWORD
from socks5sniff.record.form import Form
from socks5sniff.record.text import plain
from socks5sniff.session import Session, Verdict
from socks5sniff.streams.heads import SHORT, mark
from tests.streams.rows import Row, in_columns
from tests.traffic import ANSWER, HTTP, PLAIN

from .test_exchanges import Dialogue, plainly
from .test_frames import Told, is_odd, one_by_one

CLIENT_ADDRESS = b"\x0a\0\0\1"
PATIENCE = 10_000_000_000
ADDRESSES = [b"\1\x0a\0\0\7", b"\1" + CLIENT_ADDRESS, b"\1\0\0\0\0", b"\4" + bytes(16), b"\4" + bytes(15) + b"\7"]
PORTS = [b"\0\x50", b"\0\x50", b"\0\0"]
NAMED = [b"\3\7gopher.", b"\3\x40" + b"g" * 64, b"\3\7g pher."]
TUNNEL = [(0, HTTP), (0, b"\5\1\0"), (1, b"SSH-2.0-x\r\n"), (0, b"\x16\3\1"), (0, b"PROXY"), (0, b"P" * 99)]


class Situation(NamedTuple):
    """What is known of a dialogue besides its segments."""

    expected: bool
    loopback: bool
    opener_known: bool
    closed_by_proxy: bool
    received: int
    waited_until: int


def frames5(draw: Random) -> Iterator[tuple[int, bytes]]:
    method = draw.choice([0, 0, 0, 2, 2, 1, 255])
    methods = draw.choice([bytes([method]), bytes([method, 0]), bytes(range(12)), bytes(range(13))])
    yield 0, bytes([5, len(methods)]) + methods
    yield 1, bytes([5, method])
    if method == 2:
        user = draw.choice([b"me", b"u" * 64])
        yield 0, b"\1" + bytes([len(user)]) + user + b"\6secret"
        yield 1, b"\1" + draw.choice([b"\0", b"\0", b"\1"])
    command = draw.choice([1, 1, 1, 1, 2, 3, 0xF0, 4])
    yield 0, bytes([5, command, 0]) + draw.choice([*NAMED, *ADDRESSES]) + draw.choice(PORTS)
    yield 1, b"\5" + draw.choice([b"\0\0", b"\0\0", b"\5\0"]) + draw.choice(ADDRESSES) + draw.choice(PORTS)
    if command == Command.BIND:
        yield 1, b"\5\0\0\1\x0a\0\0\7\0\x14"


def frames4(draw: Random) -> Iterator[tuple[int, bytes]]:
    user = draw.choice([b"", b"me", b"u" * 64])
    host = draw.choice([b"\x0a\0\0\7" + user + b"\0", b"\0\0\0\7" + user + b"\0gopher.\0"])
    yield 0, b"\4" + draw.choice([b"\1", b"\1", b"\2"]) + draw.choice(PORTS) + host
    yield 1, b"\0" + draw.choice([b"\x5a", b"\x5a", b"\x5b"]) + bytes(6)


def segments(draw: Random) -> list[tuple[int, bytes]]:
    """What is said, mostly a frame a segment, and often less than all of it."""
    said = [*draw.choice([frames5, frames5, frames4])(draw)]
    if draw.randrange(4):
        said += draw.choice([[], [draw.choice(TUNNEL)], [(0, HTTP), (1, ANSWER)], [draw.choice(TUNNEL)] * 9])
    else:
        said = said[: draw.randint(1, len(said))]
    for _ in range(draw.choice([0, 0, 1, 2])):
        at = draw.randrange(len(said))
        side, octets = said[at]
        cut = draw.randint(1, len(octets))
        if draw.randint(0, 1) and at + 1 < len(said):
            said[at : at + 2] = (
                [said[at + 1], said[at]] if said[at + 1][0] != side else [(side, octets + said[at + 1][1])]
            )
        else:
            said[at : at + 1] = [part for part in ((side, octets[:cut]), (side, octets[cut:])) if part[1]]
    return said


def dialogue(draw: Random) -> tuple[Dialogue, Situation]:
    """Segments one after another, sometimes with something amiss."""
    ends, rows, time = [0, 0], list[Row](), 1_000_000_000
    for side, octets in segments(draw):
        odd = draw.choice([""] * 60 + ["again", "more", "away", "cut", "ahead", "back"])
        time += -1 if odd == "back" else draw.choice([0, 1, 1_000_000])
        offset = ends[side] + (odd == "away") - (odd == "more" and bool(ends[side]))
        heard = ends[1 - side] + (odd == "ahead")
        rows.append(Row(0, side, offset, heard, len(rows), time, octets, int(odd == "cut")))
        ends[side] = offset + len(octets) + (odd == "cut")
        if odd == "again":
            rows.append(draw.choice(rows)._replace(frame=len(rows), time=time))
    heard = tuple(end + draw.choice([0] * 20 + [1]) for end in ends)
    situation = Situation(
        expected=draw.random() < 0.8,
        loopback=draw.random() < 0.1,
        opener_known=draw.random() < 0.95,
        closed_by_proxy=draw.random() < 0.1,
        received=ends[1] + draw.choice([0, 0, 5]),
        waited_until=time + draw.choice([0, PATIENCE, PATIENCE + 1]) if draw.randrange(4) == 0 else time,
    )
    return Dialogue(rows, 0, heard), situation  # type: ignore[arg-type]


TWINS = [(b"\0\x50", b"\0\0"), (b"\1\x0a\0\0\7", b"\1\0\0\0\0"), (b"\1\x0a\0\0\7", b"\1" + CLIENT_ADDRESS)]
TWINS += [(b"gopher", b"golang"), (b"\5\0\0\1", b"\5\1\0\1"), (b"\6secret", b"\6public"), (b"\5\0", b"\4\0")]


def twin(draw: Random, said: Dialogue, situation: Situation) -> tuple[Dialogue, Situation]:
    """The same but for one thing, which may make another form of it or not."""
    name = draw.choice(["expected", "loopback", *[""] * 6])
    if name:
        return said, situation._replace(**{name: not getattr(situation, name)})
    old, new = draw.choice(TWINS)
    return said._replace(rows=[row._replace(octets=row.octets.replace(old, new)) for row in said.rows]), situation


class Look:
    """A plain look at one dialogue, to find out whether it is whole and regular."""

    def __init__(self, said: Dialogue, situation: Situation) -> None:
        self.plain, self.situation = plainly(said), situation
        streams = [b"", b""]
        for row, side, fits in zip(self.plain.rows, self.plain.sides, self.plain.orderly, strict=True):
            streams[side] += row.octets * fits
        self.client, self.proxy = streams
        self.told: Told = one_by_one(self.client, self.proxy)
        request, last = self.told.request, self.told.peer or self.told.reply
        granted = self.told.granted and last.code == (90 if self.client[0] == 4 else 0)
        waits = request is not None and request.command == Command.BIND and self.told.peer is None
        self.opens = granted and not waits and request.command in (Command.CONNECT, Command.BIND)
        self.associates = granted and self.client[0] == 5 and request.command == Command.UDP_ASSOCIATE
        self.ends = [max({0, *self.told.client_ends}), max({0, *self.told.proxy_ends})]
        self.done = self._done()

    def _done(self) -> int:
        """The place of the segment that ends the handshake."""
        rows = [*zip(self.plain.rows, self.plain.sides, strict=True)]
        if not self.opens:
            return len(rows) - 1
        return max(
            place
            for place, (row, side) in enumerate(rows)
            if row.offset < self.ends[side] <= row.offset + len(row.octets) + row.lacking
        )

    def quick(self, ended: bool) -> bool:
        regular = self._is_regular() and self._has_whole_frames() and self._is_as_usual() and not self._carries()
        return regular and (ended or self.opens or self.associates)

    def _is_regular(self) -> bool:
        """Segments come one behind the other, in the order of time."""
        rows = self.plain.rows
        if not (self.done < PLACES and self.plain.orderly[self.done] and (self.opens or self.plain.whole)):
            return False
        times = [row.time for row in rows[: self.done + 1]]
        behind = [0, 0]
        for row, side in zip(rows, self.plain.sides, strict=True):
            if row.offset < behind[side]:
                return False
            behind[side] = max(behind[side], row.offset + len(row.octets) + row.lacking)
        return times == sorted(times)

    def _has_whole_frames(self) -> bool:
        """No frame is there in part; each begins among the octets of its segment that are kept in columns."""
        for octets, end in zip((self.client, self.proxy), self.ends, strict=True):
            if len(octets) > end and not self.opens:
                return False
        for row, side in [*zip(self.plain.rows, self.plain.sides, strict=True)][: self.done + 1]:
            if row.offset + SHORT < self.ends[side] and len(row.octets) > SHORT:
                return False
        return True

    def _is_as_usual(self) -> bool:
        """Nothing is to be told of it that is not told of others."""
        request, situation, client = self.told.request, self.situation, self.client
        if not situation.opener_known or client[:1] not in (b"\4", b"\5") or client[1] > 12:
            return False
        if self.proxy[:2] == b"\5\1" and client[0] == 5:
            return False
        if request is None:
            user = b"" if self.told.login is None else self.told.login.username
            if not re.fullmatch(rb"[A-Za-z0-9._-]{0,64}", user):
                return False
        elif is_odd(self.told, client, self.proxy) or not self._names_its_own_address(
            request.destination, request.command
        ):
            return False
        if self.opens and situation.closed_by_proxy and situation.received <= self.ends[1]:
            return False
        last = max(row.time for row in self.plain.rows[:PLACES])
        return self.opens or self.associates or situation.waited_until - last <= PATIENCE

    def _names_its_own_address(self, place: Any, command: int) -> bool:
        """Of UDP ASSOCIATE: DST is a name, zeros or where the client is."""
        if self.client[0] == 4 or command != Command.UDP_ASSOCIATE:
            return True
        return place.type == AddressType.DOMAIN or place.host in (bytes(4), bytes(16), CLIENT_ADDRESS)

    def _carries(self) -> bool:
        """The client speaks first in the tunnel, as if it were to a further proxy."""
        begins = self.tunnel_rows(0) if self.opens else []
        other = self.tunnel_rows(1)
        rows = self.plain.rows
        if not begins or (other and rows.index(other[0]) < rows.index(begins[0])):
            return False
        return self.tunnel(0)[0].startswith((b"\4", b"\5", b"PROXY", b"\r\n\r\n\0"))

    def tunnel_rows(self, side: int) -> list[Row]:
        """Segments with octets of the tunnel, as they were said."""
        rows = zip(self.plain.rows, self.plain.sides, strict=True)
        return [row for row, of in rows if of == side and row.offset + len(row.octets) + row.lacking > self.ends[side]]

    def tunnel(self, side: int) -> list[bytes]:
        """What they hold of it, by position."""
        ordered = sorted(self.tunnel_rows(side), key=lambda row: row.offset)
        return [row.octets[max(self.ends[side] - row.offset, 0) :] for row in ordered]


def judged(said: Dialogue, situation: Situation) -> Judged:
    """What somebody finds who looks at it alone."""
    found = Judged(Setting(situation.expected, situation.loopback, ("10.0.0.1", "10.0.0.9")))
    segments = in_columns(said.rows).segments()
    found.read(segments, Flow(0, said.heard, True, 99, segments[-1][5]))
    return found


def agrees(found: Judged, look: Look) -> bool:
    """Whether it is SOCKS, and nothing else, with the same frames and the same tunnel."""
    session = found.session
    known = session.command in (None, *(Command.CONNECT, Command.BIND, Command.RESOLVE, Command.UDP_ASSOCIATE))
    asked = known or not session.relay
    socks = found.verdict is Verdict.SOCKS and session.client_side == 0 and asked and session.preamble == (0, 0)
    sizes = [frame.length for frame in session.frames if frame.type in ("request", "auth-request")]
    same = set(sizes) <= {*lengths(look)} and (found.relay is not None) == look.opens
    return socks and same and (not look.opens or session.tunnel_start == look.ends)


def lengths(look: Look) -> list[int]:
    """Of the client's frames."""
    ends = sorted({0, *look.told.client_ends})
    return [end - begin for begin, end in pairwise(ends)]


def situations(all_: list[tuple[Dialogue, Situation]]) -> Situations:
    kinds = (np.bool_, np.bool_, np.bool_, np.bool_, np.int64, np.int64)
    columns = [
        np.array(column, kind)
        for column, kind in zip(zip(*(each for _, each in all_), strict=True), kinds, strict=True)
    ]
    expected, loopback, opener_known, closed_by_proxy, received, waited_until = columns
    count = len(all_)
    return Situations(
        slot=np.arange(count),
        turn=np.zeros(count, np.uint8),
        expected=expected,
        loopback=loopback,
        opener_known=opener_known,
        heard=np.array([said.heard for said, _ in all_], np.int64).T,
        closed_by_proxy=closed_by_proxy,
        received=received,
        client=np.full(count, int.from_bytes(CLIENT_ADDRESS, "big") << 16 | 40_000, np.uint64),
        waited_until=waited_until,
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_whole_and_regular_ones_are_read_at_once(seed: int) -> None:
    draw, forms, ended = Random(seed), Forms(False, Faults()), seed % 3 > 0
    drawn = [dialogue(draw) for _ in range(50)]
    drawn += [twin(draw, *each) for each in drawn[:40]]
    all_ = [each for each in drawn for _ in range(2)]  # of two a form is learned
    rows = [row._replace(slot=slot) for slot, (said, _) in enumerate(all_) for row in said.rows]
    found = forms.recognise(in_columns(rows), situations(all_), ended)
    places = {slot: place for place, slot in enumerate(found.slot.tolist())}
    for number, (said, situation) in enumerate(drawn):
        look = Look(said, situation)
        alone = judged(said, situation)
        quick = look.quick(ended) and agrees(alone, look)
        assert [2 * number + copy in places for copy in (0, 1)] == [quick] * 2, (said.rows, situation)
        if quick:
            check(found, places[2 * number], look)
            check_form(forms.forms[found.form[places[2 * number]]], alone.session, look)


def check(found: Any, at: int, look: Look) -> None:
    """What is told of a dialogue besides its form."""
    rows, told = look.plain.rows, look.told
    count = min(len(rows), PLACES)
    assert found.numbers[at].tolist() == [row.frame for row in rows[:PLACES]] + [0] * (PLACES - count)
    assert found.times[at].tolist() == [row.time for row in rows[:PLACES]] + [0] * (PLACES - count)
    if told.request is not None:
        ends = sorted({0, *told.client_ends})
        assert found.tunnel_at[at] == ends[-1]
        assert found.request_at[at] == ends[-2]
        assert plain(found.destination[at]) == told.request.destination.text
    if told.login is not None:
        assert found.login_at[at] == sorted(told.client_ends)[0]
    if not look.opens:
        return
    assert found.reply_end[at] == look.ends[1]
    client, proxy = look.tunnel(0), look.tunnel(1)
    assert found.first_byte[at] == (look.tunnel_rows(1)[0].time if proxy else NO_TIME)
    whole = client and min(look.tunnel_rows(0), key=lambda row: row.offset).offset == look.ends[0]
    assert found.mark[at] == (mark(client[0]) if whole else 0)
    port = told.request.destination.port
    first = identify(b"".join(client[:1]), b"".join(proxy[:1]), port, False)
    heads = (b"".join(said)[:HEAD_LIMIT] for said in (client, proxy))
    assert found.tunnel[at] == (first or identify(*heads, port, True))


def check_form(form: Form, session: Session, look: Look) -> None:
    """What is told with its form: what a session tells, with places of segments for frames and times."""
    places = {row.frame: place for place, row in enumerate(look.plain.rows)}
    assert (form.protocol, form.phase, form.outcome) == (
        session.protocol, session.phase, session.outcome(ended=False) or "incomplete"
    )  # fmt: skip
    assert form.methods == (None if session.methods is None else tuple(map(method_name, session.methods)))
    assert form.method == (None if session.method is None else method_name(session.method))
    assert (form.username, form.password) == (session.username is not None, session.password and MASKED_PASSWORD)
    assert form.authenticated == session.authenticated
    assert form.command == (None if session.command is None else command_name(session.command))
    assert [reply and reply.code for reply in (form.reply, form.peer_reply)] == [session.reply, session.peer_reply]
    addresses = session.destination, session.bound, session.peer
    assert (form.destination, form.bound, form.peer) == tuple(each and each.type_name for each in addresses)
    assert [(each.place, each.sender, each.type) for each in form.frames] == [
        (places[each.frame], each.sender, each.type) for each in session.frames
    ]
    assert {(each.code, each.place, each.message) for each in form.anomalies} == {
        (each.code, places[each.frame], each.message) for each in session.anomalies
    }
    assert form.relays == look.opens
    steps = form.negotiation, form.authentication, form.request
    expected = (
        (session.greeting and session.greeting.time, session.selection and session.selection.time),
        (session.authentication_start, session.authentication_end),
        (session.request and session.request.time, session.reply_frame and session.reply_frame.time),
    )
    times = [row.time for row in look.plain.rows]
    for step, (begin, end) in zip(steps, expected, strict=True):
        if step is None:
            assert begin is None or end is None or end <= begin
        else:
            assert (times[step[0]], times[step[1]]) == (begin, end)


def test_parts_are_joined_one_behind_another() -> None:
    """Whatever the width of their texts."""
    parts = []
    for name in (b"\3\2gh", b"\3\x30" + b"g" * 48):
        said = [*PLAIN[:2], (0, b"\5\1\0" + name + b"\0\x50"), *PLAIN[3:]]
        rows, ends = [], [0, 0]
        for place, (side, octets) in enumerate(said * 2):
            if place == len(said):
                ends = [0, 0]
            slot = place // len(said)
            rows.append(Row(slot, side, ends[side], ends[1 - side], place, place, octets))
            ends[side] += len(octets)
        situation = Situation(True, False, True, False, ends[1], 0)
        alike = [(Dialogue(rows, 0, (ends[0], ends[1])), situation)] * 2
        parts.append(Forms(False, Faults()).recognise(in_columns(rows), situations(alike), True))
    joined = Recognised.join(parts)
    assert joined.size == sum(part.size for part in parts) == 4
    assert [plain(host) for host in joined.destination] == [plain(host) for part in parts for host in part.destination]
    assert joined.numbers.tolist() == [each for part in parts for each in part.numbers.tolist()]
    assert Recognised.join(parts[:1]) is parts[0]
