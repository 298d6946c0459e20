"""What goes through an open tunnel, as far as its octets tell: the protocol's name, and SOCKS inside.

A tunnel that leads to another proxy carries another conversation, and that one's tunnel may carry one more. Each has a
session of its own that is fed what the tunnel around it carries; none of them knows how deep it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from socks5sniff.codec import Command
from socks5sniff.record import Tunnel
from socks5sniff.session import Session, Verdict, could_begin

from .tunnel import HEAD_LIMIT, identify
from .udp_in_tcp import StreamDatagrams, kind_of

DEPTH = 8
"""Conversations inside each other, the outermost included."""


class Setting(NamedTuple):
    """Where a session observes.

    Attributes:
        trusted, loopback, addresses, midstream: see `Session`.
    """

    trusted: bool
    loopback: bool
    addresses: tuple[str, str]
    midstream: bool = False

    def session(self) -> Session:
        """A new observer."""
        return Session(self.trusted, self.loopback, self.addresses, self.midstream)

    def inside(self) -> Setting:
        """That of a conversation in a tunnel: nothing is known of the port there, and it begins where it begins."""
        return self._replace(trusted=False, midstream=False)


class Relay:
    """The two directions of one tunnel.

    Attributes:
        client_side: the side that is the SOCKS client.
        first_byte: ns, when the first octet from the destination came, None before.
        tunnel: what it carries, None as long as it is not known.
        nested: the conversation inside, None where there is none, or none any more.
        opening: the first octets from the client, as many as came at once.
        settled: no octet needs to be looked at any more, except to see when the destination first speaks.
    """

    __slots__ = (
        "_depth",
        "_heads",
        "_port",
        "_setting",
        "client_side",
        "first_byte",
        "nested",
        "opening",
        "settled",
        "tunnel",
    )

    def __init__(self, client_side: int, port: int | None, setting: Setting, depth: int = 1) -> None:
        """A tunnel that has just been opened.

        Args:
            client_side: the side that is the SOCKS client.
            port: the destination's.
            setting: that of a conversation inside.
            depth: tunnels around this one, and it.
        """
        self.client_side = client_side
        self.first_byte: int | None = None
        self.tunnel: Tunnel | None = None
        self.nested: Nested | None = None
        self.opening = b""
        self.settled = False
        self._port = port
        self._setting = setting
        self._depth = depth
        self._heads = [b"", b""]

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of a side."""
        heads = self._heads
        if side == self.client_side and not self.opening:
            self.opening = octets
        if side != self.client_side:
            if self.first_byte is None:
                self.first_byte = time
        elif not heads[side] and self.first_byte is None and self.tunnel is None and could_begin(octets):
            self._nest(frame, time)
        if self.tunnel is None and len(heads[side]) < HEAD_LIMIT:
            heads[side] = (heads[side] + octets)[:HEAD_LIMIT]
        if self.nested is not None:
            self.nested.feed(side, octets, frame, time)
            self._look()
        if self.tunnel is None and min(map(len, heads)) >= HEAD_LIMIT:
            self._identify()
        self._settle()

    def gap(self, side: int, length: int, frame: int, time: int) -> None:
        """So many octets of a side are missing."""
        if self.nested is not None:
            self.nested.gap(side, length, frame, time)
            self._look()
            self._settle()

    def close(self) -> None:
        """Nothing more comes."""
        if self.nested is not None:
            self.nested.close()
            self._look()
        if self.tunnel is None:
            self._identify()

    @property
    def silent(self) -> bool:
        """Nothing has been said in it."""
        return not any(self._heads) and self.first_byte is None

    def conversations(self) -> Iterator[Nested]:
        """Those inside that are certain, the outermost first."""
        nested = self.nested
        while nested is not None and nested.session.verdict is Verdict.SOCKS:
            yield nested
            nested = None if nested.relay is None else nested.relay.nested

    def _nest(self, frame: int, time: int) -> None:
        if self._depth < DEPTH:
            self.nested = Nested(self._setting, self._depth + 1, frame, time)

    def _look(self) -> None:
        """What the conversation inside has turned out to be."""
        if self.nested is None:
            return
        session = self.nested.session
        if session.verdict is Verdict.FOREIGN:
            self.nested = None
            if self.tunnel is not None:
                self._heads = [b"", b""]
        elif session.verdict is Verdict.SOCKS:
            protocol = session.protocol or "socks5"
            self.tunnel = Tunnel(protocol[:6])
            self._heads = [b"", b""]

    def _identify(self) -> None:
        client, server = self._heads[self.client_side], self._heads[1 - self.client_side]
        self.tunnel = identify(client, server, self._port, complete=True)
        if self.tunnel is not None and self.nested is None:
            self._heads = [b"", b""]

    def _settle(self) -> None:
        self.settled = self.tunnel is not None and (self.nested is None or self.nested.settled)


class EnclosedRelay(Relay):
    """A tunnel inside GSSAPI tokens: its octets are those that the session reads in them.

    Once no more of it is wanted, or can be read, the tokens are not opened any more.
    """

    __slots__ = ("_session",)

    def __init__(self, session: Session, client_side: int, port: int | None, setting: Setting, depth: int) -> None:
        super().__init__(client_side, port, setting, depth)
        self._session = session

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of a side, tokens and all."""
        if not self.settled:
            self._session.feed(side, octets, frame, time)
            self.read()
        elif side != self.client_side and self.first_byte is None:
            self.first_byte = time

    def read(self) -> None:
        """Take what the session has read."""
        for run in self._session.take_tunnel():
            super().feed(*run)
        if self._session.done and not self.settled:
            self.close()
            self.settled = True
        if self.settled:
            self._session.leave_tunnel()

    def gap(self, side: int, length: int, frame: int, time: int) -> None:
        """So many octets of a side are missing, tokens and all: where the next token begins is not known any more."""
        self._session.gap(side, length, frame, time)
        self.read()


class DatagramRelay(Relay):
    """A tunnel that carries datagrams, each with its own destination."""

    __slots__ = ("datagrams",)

    def __init__(self, kind: str, client_side: int, setting: Setting, depth: int) -> None:
        super().__init__(client_side, None, setting, depth)
        self.datagrams = StreamDatagrams(kind, client_side)
        self.tunnel = Tunnel("udp-in-tcp", detail=kind)

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of a side."""
        if side != self.client_side and self.first_byte is None:
            self.first_byte = time
        self.datagrams.feed(side, octets, frame)

    def gap(self, side: int, length: int, frame: int, time: int) -> None:
        """So many octets of a side are missing."""
        self.datagrams.gap(side, length)


def open_relay(session: Session, setting: Setting, depth: int = 1) -> Relay:
    """The tunnel whose opening a session has seen, with what came of it so far; see `Relay` for the arguments."""
    target = session.destination
    port = None if target is None else target.port
    assert session.client_side is not None, "it is SOCKS"
    if session.enclosed:
        enclosed = EnclosedRelay(session, session.client_side, port, setting, depth)
        enclosed.read()
        return enclosed
    kind = kind_of(session)
    if kind is None:
        relay = Relay(session.client_side, port, setting, depth)
    else:
        relay = DatagramRelay(kind, session.client_side, setting, depth)
    for run in session.take_tunnel():
        relay.feed(*run)
    return relay


class Nested:
    """A conversation inside a tunnel.

    Attributes:
        session: its observer. Offsets are those of the tunnel around it.
        relay: its own tunnel, when that is open.
        settled: only amounts matter from now on.
        frame, time: number and time (ns) of the packet with its first octet.
        judged: it has been found worth a record.
    """

    __slots__ = ("_depth", "_setting", "frame", "judged", "relay", "session", "settled", "time")

    def __init__(self, setting: Setting, depth: int, frame: int, time: int) -> None:
        self.session = setting.session()
        self.relay: Relay | None = None
        self.settled = False
        self.frame = frame
        self.time = time
        self.judged = False
        self._setting = setting
        self._depth = depth

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of a side."""
        if self.relay is not None:
            self.relay.feed(side, octets, frame, time)
        else:
            self.session.feed(side, octets, frame, time)
        self._look()

    def gap(self, side: int, length: int, frame: int, time: int) -> None:
        """So many octets of a side are missing."""
        if self.relay is not None:
            self.relay.gap(side, length, frame, time)
        else:
            self.session.gap(side, length, frame, time)
        self._look()

    def close(self) -> None:
        """Nothing more comes."""
        self.session.finish()
        if self.relay is not None:
            self.relay.close()
        self._look()

    def _look(self) -> None:
        session = self.session
        if self.relay is None and session.relay and session.command != Command.UDP_ASSOCIATE:
            self.relay = open_relay(session, self._setting, self._depth)
        if self.relay is not None:
            self.settled = self.relay.settled and self.relay.first_byte is not None
        else:
            self.settled = session.done
