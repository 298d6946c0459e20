"""One flow's dialogue judged: its segments in the order in which they were said, through a session and its relay.

The order between the two directions is proved by acknowledgments: what a segment acknowledges was said before it. The
sum of a segment's own position and of what it acknowledges rises along every such chain, so sorting by it gives an
order in which the dialogue can have been said; where it leaves a choice, the capture's order stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from socks5sniff.codec import Command
from socks5sniff.record import Tunnel
from socks5sniff.session import Verdict
from socks5sniff.streams.heads import HeadRows

from .relay import Nested, Relay, Setting, open_relay

CLOCK_JITTER = 500_000
"""Nanoseconds by which time stamps of one clock may contradict the order of what was said."""


class Piece(NamedTuple):
    """Octets that one side says, or that are missing where `octets` is None."""

    side: int
    octets: bytes | None
    length: int
    frame: int
    time: int


class _Said(NamedTuple):
    """A segment, or the part of it that was not captured."""

    key: int
    place: int
    side: int
    offset: int
    end: int
    heard: int
    octets: bytes | None
    frame: int
    time: int


class Flow(NamedTuple):
    """What is known of a flow besides its rows.

    Attributes:
        turn: the direction of side 0.
        heard: by side, the furthest of its octets that was acknowledged, within what is kept of it.
        ended: no more packets will come; until then nothing is missing for good.
        frame, time: its last packet.
    """

    turn: int
    heard: tuple[int, int]
    ended: bool
    frame: int
    time: int


class Pieces:
    """The octets of both sides, each once, in an order in which they can have been said.

    Attributes:
        conflicts: frame numbers of retransmissions that differ from the first copy.
        clocks_disagree: something was heard before it was said, by the time stamps.
        streams: by side, the octets given so far, zeros for those that are missing.
    """

    def __init__(self, rows: HeadRows, flow: Flow) -> None:
        """The rows of one flow, in the order of the capture."""
        self.conflicts: list[int] = []
        self.clocks_disagree = False
        self._said = _in_order(rows, flow.turn)
        self._flow = flow
        self.streams = (bytearray(), bytearray())

    def __iter__(self) -> Iterator[Piece]:
        streams, flow = self.streams, self._flow
        last = [0, 0]
        for said in self._said:
            other = 1 - said.side
            # What acknowledges octets was sent after them. Where its time says otherwise two clocks made this capture,
            # and no duration that spans both sides means anything.
            if said.heard and said.heard >= len(streams[other]) and said.time < last[other] - CLOCK_JITTER:
                self.clocks_disagree = True
            # The FIN is acknowledged like an octet, so no further than octets are known to go.
            heard = min(said.heard, flow.heard[other])
            if heard > len(streams[other]):
                # Acknowledged and not seen: while the flow lasts the octets may come from another interface or late in
                # the file. Whatever was said behind them waits, or a batch's end would decide what is a gap.
                if not flow.ended:
                    return
                yield self._gap(other, heard, said.frame, said.time)
            at = len(streams[said.side])
            if said.offset < at:
                self._compare(said, at)
            if said.end <= at:
                continue
            if said.offset > at or said.octets is None:
                if not flow.ended:
                    return
                yield self._gap(said.side, said.end if said.octets is None else said.offset, said.frame, said.time)
                at = said.offset
            if said.octets is not None:
                octets = said.octets[at - said.offset :]
                streams[said.side].extend(octets)
                last[said.side] = said.time
                yield Piece(said.side, octets, len(octets), said.frame, said.time)
        if flow.ended:
            for side, heard in enumerate(flow.heard):
                if heard > len(streams[side]):
                    yield self._gap(side, heard, flow.frame, flow.time)

    def _gap(self, side: int, end: int, frame: int, time: int) -> Piece:
        missing = end - len(self.streams[side])
        self.streams[side].extend(bytes(missing))
        return Piece(side, None, missing, frame, time)

    def _compare(self, said: _Said, at: int) -> None:
        """A copy that differs is noted; a single octet before the next one is a keep-alive's (RFC 9293 s3.8.4)."""
        if said.octets is None or (len(said.octets) == 1 and said.end == at):
            return
        first = self.streams[said.side][said.offset : said.end]
        if first != said.octets[: len(first)]:
            self.conflicts.append(said.frame)


def _in_order(rows: HeadRows, turn: int) -> list[_Said]:
    said: list[_Said] = []
    heard = rows.heard.tolist()
    columns = zip(
        rows.way.tolist(), rows.offset.tolist(), rows.length.tolist(), rows.frame.tolist(), rows.time.tolist(),
        strict=True,
    )  # fmt: skip
    for place, (way, offset, length, frame, time) in enumerate(columns):
        octets = rows.octets(place)
        side = way ^ turn
        if offset < 0:
            octets, length, offset = octets[-offset:], length + offset, 0
        if octets:
            said.append(_Said(0, place, side, offset, offset + len(octets), heard[place], octets, frame, time))
        if len(octets) < length:
            # The snap length cut this segment: nobody can fill the rest, unless another copy was cut less.
            behind = offset + len(octets), offset + length
            said.append(_Said(0, place, side, *behind, heard[place], None, frame, time))
    # Later octets of a side were sent after earlier ones, so these had heard no more, even if they were sent again.
    limits = [1 << 62, 1 << 62]
    for index in sorted(range(len(said)), key=lambda index: (said[index].offset, said[index].place), reverse=True):
        each = said[index]
        limits[each.side] = limit = min(limits[each.side], each.heard) if each.heard >= 0 else limits[each.side]
        heard_by_then = max(min(limit, each.heard), 0)
        # Both numbers grow as a dialogue goes on: all that a side had said and had heard when this was sent orders the
        # segments of both sides by cause, where time stamps of two interfaces need not.
        said[index] = each._replace(heard=heard_by_then, key=each.offset + heard_by_then)
    return sorted(said)


class Dialogue:
    """What a flow's segments say.

    Attributes:
        session: the observer of the connection.
        relay: the open tunnel, None before and where datagrams are relayed.
        conflicts, clocks_disagree, streams: see `Pieces`.
    """

    __slots__ = ("_setting", "clocks_disagree", "conflicts", "relay", "session", "streams")

    def __init__(self, rows: HeadRows, flow: Flow, setting: Setting) -> None:
        """Judge the rows of one flow; see `Pieces`."""
        self._setting = setting
        self.session = setting.session()
        self.relay: Relay | None = None
        pieces = Pieces(rows, flow)
        for piece in pieces:
            self._feed(piece)
        self.conflicts = sorted(pieces.conflicts)
        self.clocks_disagree = pieces.clocks_disagree
        self.streams = pieces.streams
        if flow.ended:
            self._finish()

    @property
    def verdict(self) -> Verdict:
        """Whether this is SOCKS."""
        return self.session.verdict

    @property
    def tunnel(self) -> Tunnel | None:
        """What the tunnel carries, None as long as it is not known."""
        return None if self.relay is None else self.relay.tunnel

    @property
    def associates(self) -> bool:
        """A UDP association is open."""
        return self.session.relay and self.session.command == Command.UDP_ASSOCIATE

    def nested(self) -> list[Nested]:
        """The conversations inside the tunnel, the outermost first."""
        return [] if self.relay is None else list(self.relay.conversations())

    def _feed(self, piece: Piece) -> None:
        side, octets, length, frame, time = piece
        if self.relay is not None:
            if octets is None:
                self.relay.gap(side, length, frame, time)
            else:
                self.relay.feed(side, octets, frame, time)
            return
        session = self.session
        if octets is None:
            session.gap(side, length, frame, time)
        else:
            session.feed(side, octets, frame, time)
        self._open()

    def _open(self) -> None:
        if self.relay is None and self.session.relay and self.session.command != Command.UDP_ASSOCIATE:
            self.relay = open_relay(self.session, self._setting.inside())

    def _finish(self) -> None:
        """No more packets will come."""
        self.session.finish()
        self._open()
        if self.relay is not None:
            self.relay.close()
