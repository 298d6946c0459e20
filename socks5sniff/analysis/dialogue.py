"""One flow's dialogue judged: its segments in the order in which they were said, through a session and its relay.

The order between the two directions is proved by acknowledgments: what a segment acknowledges was said before it. The
sum of a segment's own position and of what it acknowledges rises along every such chain, so sorting by it gives an
order in which the dialogue can have been said; where it leaves a choice, the capture's order stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from socks5sniff.codec import Command
from socks5sniff.record import Tunnel
from socks5sniff.session import Verdict
from socks5sniff.streams.heads import Segment

from .relay import Nested, Relay, Setting, open_relay

CLOCK_JITTER = 500_000
"""Nanoseconds by which time stamps of one clock may contradict the order of what was said."""


Piece = tuple[int, bytes | None, int, int, int]
"""Octets that one side says, None where they are missing: side, octets, their number, frame number, time (ns)."""

_Said = tuple[int, int, int, int, int, int, bytes | None, int, int]
"""A segment, or the part of it that was not captured: key, place, side, offset, end, what it heard, octets, frame,
time. A tuple without names, since there is one for every segment that is judged by itself."""


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

    def __init__(self, segments: Sequence[Segment], flow: Flow) -> None:
        """The segments of one flow, in the order of the capture."""
        self.conflicts: list[int] = []
        self.clocks_disagree = False
        self._said = _in_order(segments, flow.turn, self.conflicts)
        self._flow = flow
        self.streams = (bytearray(), bytearray())

    def __iter__(self) -> Iterator[Piece]:
        streams, flow = self.streams, self._flow
        last = [0, 0]
        for _, _, side, offset, end, heard, octets, frame, time in self._said:
            other = 1 - side
            # What acknowledges octets was sent after them. Where its time says otherwise two clocks made this capture,
            # and no duration that spans both sides means anything.
            if heard and heard >= len(streams[other]) and time < last[other] - CLOCK_JITTER:
                self.clocks_disagree = True
            # The FIN is acknowledged like an octet, so no further than octets are known to go.
            heard = min(heard, flow.heard[other])
            if heard > len(streams[other]):
                # Acknowledged and not seen: while the flow lasts the octets may come from another interface or late in
                # the file. Whatever was said behind them waits, or a batch's end would decide what is a gap.
                if not flow.ended:
                    return
                yield self._gap(other, heard, frame, time)
            at = len(streams[side])
            if end <= at:
                continue
            if offset > at or octets is None:
                if not flow.ended:
                    return
                yield self._gap(side, end if octets is None else offset, frame, time)
                at = offset
            if octets is not None:
                octets = octets[at - offset :]
                streams[side].extend(octets)
                last[side] = time
                yield side, octets, len(octets), frame, time
        if flow.ended:
            for side, heard in enumerate(flow.heard):
                if heard > len(streams[side]):
                    yield self._gap(side, heard, flow.frame, flow.time)

    def _gap(self, side: int, end: int, frame: int, time: int) -> Piece:
        missing = end - len(self.streams[side])
        self.streams[side].extend(bytes(missing))
        return side, None, missing, frame, time


def _in_order(segments: Sequence[Segment], turn: int, conflicts: list[int]) -> list[_Said]:
    """Segments in the order in which they can have been said; frames of copies that differ go to `conflicts`."""
    said: list[_Said] = []
    furthest = [0, 0]
    ascending = True
    for place, (way, offset, length, heard, frame, time, octets) in enumerate(segments):
        side = way ^ turn
        if offset < 0:
            octets, length, offset = octets[-offset:], length + offset, 0
        end = offset + len(octets)
        if octets:
            said.append((0, place, side, offset, end, heard, octets, frame, time))
        if end < offset + length:
            # The snap length cut this segment: nobody can fill the rest, unless another copy was cut less.
            said.append((0, place, side, end, offset + length, heard, None, frame, time))
        ascending = ascending and offset >= furthest[side]
        furthest[side] = end
    if not ascending:
        said = [*_first_copies(said, conflicts)]
    # Later octets of a side were sent after earlier ones, so these had heard no more, even if they were sent again.
    order = range(len(said)) if ascending else sorted(range(len(said)), key=lambda index: (said[index][3], index))
    limits = [1 << 62, 1 << 62]
    for index in reversed(order):
        _, place, side, offset, end, heard, *rest = said[index]
        if heard >= 0:
            limits[side] = min(limits[side], heard)
        heard = max(min(limits[side], heard), 0)
        # Both numbers grow as a dialogue goes on: all that a side had said and had heard when this was sent orders the
        # segments of both sides by cause, where time stamps of two interfaces need not.
        said[index] = (offset + heard, place, side, offset, end, heard, *rest)  # type: ignore[assignment]
    said.sort(key=_KEY)
    return said


_KEY = itemgetter(0, 1, 2, 3)


def _first_copies(segments: list[_Said], conflicts: list[int]) -> Iterator[_Said]:
    """Segments in the order of the capture, without octets that an earlier one had: the first copy stands.

    A copy that differs is noted; a single octet before the next one is a keep-alive's (RFC 9293 s3.8.4).
    """
    streams, known = (bytearray(), bytearray()), (bytearray(), bytearray())
    for said in segments:
        key, place, side, offset, end, heard, octets, frame, time = said
        if octets is None:
            yield said
            continue
        stream, have = streams[side], known[side]
        stream.extend(bytes(max(end - len(stream), 0)))
        have.extend(bytes(len(stream) - len(have)))
        keeps_alive = len(octets) == 1 and end == len(have)
        for run in _RUNS.finditer(have[offset:end]):
            first, last = run.span()
            begin, behind = offset + first, offset + last
            if not run[0][0]:
                stream[begin:behind] = octets[first:last]
                yield key, place, side, begin, behind, heard, octets[first:last], frame, time
            elif stream[begin:behind] != octets[first:last] and not keeps_alive:
                conflicts.append(frame)
        have[offset:end] = b"\1" * len(octets)


_RUNS = re.compile(rb"\x00+|\x01+")
"""Octets that are new, and octets that have come before."""


class Dialogue:
    """What a flow's segments say.

    Attributes:
        session: the observer of the connection.
        relay: the open tunnel, None before and where datagrams are relayed.
        conflicts, streams: see `Pieces`.
        clocks_disagree: the same, as far as what was said before the tunnel shows it.
        fault: what an error of this program has left half done; see `Faults`.
    """

    __slots__ = ("_setting", "clocks_disagree", "conflicts", "fault", "relay", "session", "streams")

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.session = setting.session()
        self.relay: Relay | None = None
        self.conflicts: list[int] = []
        self.clocks_disagree = False
        self.fault: str | None = None
        self.streams = (bytearray(), bytearray())

    def read(self, segments: Sequence[Segment], flow: Flow) -> None:
        """Judge the segments of one flow; see `Pieces`."""
        pieces = Pieces(segments, flow)
        for piece in pieces:
            if self.relay is None:  # what is timed lies before the tunnel
                self.clocks_disagree = pieces.clocks_disagree
            self._feed(piece)
        self.conflicts = sorted({*pieces.conflicts})
        self.streams = pieces.streams
        if flow.ended:
            self._finish()

    @property
    def verdict(self) -> Verdict:
        """Whether this is SOCKS; what nobody could read to its end may be."""
        verdict = self.session.verdict
        return Verdict.SOCKS if self.fault is not None and verdict is not Verdict.FOREIGN else verdict

    @property
    def tunnel(self) -> Tunnel | None:
        """What the tunnel carries, None as long as it is not known."""
        return None if self.relay is None else self.relay.tunnel

    @property
    def associates(self) -> bool:
        """A UDP association is open."""
        session = self.session
        return self.fault is None and session.relay and session.command == Command.UDP_ASSOCIATE

    def nested(self) -> list[Nested]:
        """The conversations inside the tunnel, the outermost first."""
        return [] if self.relay is None or self.fault is not None else list(self.relay.conversations())

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
