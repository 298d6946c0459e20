"""The bodies of HTTP/1 messages of one tunnel, read with h11 from both sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from socks5sniff.errors import MissingError

from .chunks import CLIENT, DESTINATION, Octets

MAX_AHEAD = 1 << 20
"""Octets of a direction that wait for the other one; of further ones nothing is read."""

MAX_HEAD = 1 << 17
"""Octets of a message's header; browsers' cookies make some of them longer than h11 takes by itself."""


class Body:
    """A message's body.

    Attributes:
        direction: whose it is.
        about: what the manifest says of it.
        whole: its end was seen.
    """

    def __init__(self, direction: int, about: dict[str, Any]) -> None:
        self.direction = direction
        self.about = about
        self.whole = False


Piece = tuple[Body, bytes | None]


class HttpBodies:
    """Follows requests and responses in their turn.

    Attributes:
        unreadable: it could not be read to its end.
    """

    def __init__(self) -> None:
        try:
            import h11
        except ImportError:
            raise MissingError("--objects needs the package h11: pip install 'socks5sniff[objects]'") from None
        self.unreadable = False
        self._h11 = h11
        self._over = False
        # Each hears one direction, and is told what the other one heard: a response is read by its request.
        self._hears = tuple(h11.Connection(role, MAX_HEAD) for role in (h11.SERVER, h11.CLIENT))
        self._bodies: list[Body | None] = [None, None]
        self._abouts: list[dict[str, Any]] = [{}, {}]

    def feed(self, direction: int, octets: Octets | None) -> Iterator[Piece]:
        """The next octets of a direction, None for a gap; gives pieces of bodies, None where one ends."""
        if self._over:
            return
        if octets is None:
            yield from self._give_up()
            return
        hears = self._hears[direction]
        hears.receive_data(bytes(octets))
        yield from self._read()
        if not self._over and self._waits(direction) and len(hears.trailing_data[0]) > MAX_AHEAD:
            yield from self._give_up()

    def finish(self) -> Iterator[Piece]:
        """Nothing more comes: a response without a length ends here."""
        if not self._over:
            for hears in self._hears:
                hears.receive_data(b"")
            yield from self._read()
        yield from self._close()

    def _read(self) -> Iterator[Piece]:
        """What can be read by now."""
        h11 = self._h11
        client, destination = self._hears
        try:
            progress = True
            while progress:
                progress = False
                for direction in (CLIENT, DESTINATION):
                    if not self._waits(direction):
                        event = self._hears[direction].next_event()
                        progress |= event not in (h11.NEED_DATA, h11.PAUSED) and type(event) is not h11.ConnectionClosed
                        yield from self._heard(direction, event)
                if client.our_state is client.their_state is h11.DONE:
                    client.start_next_cycle()
                    destination.start_next_cycle()
                    progress = True
            self._over |= destination.their_state in (h11.SWITCHED_PROTOCOL, h11.MUST_CLOSE, h11.CLOSED)
        except h11.ProtocolError:
            yield from self._give_up()

    def _waits(self, direction: int) -> bool:
        """Whether a direction's octets can be read only when the other has said more."""
        h11, hears = self._h11, self._hears[direction]
        if direction == CLIENT:
            return hears.their_state not in (h11.IDLE, h11.SEND_BODY)
        return hears.our_state is h11.IDLE or hears.their_state not in (h11.SEND_RESPONSE, h11.SEND_BODY)

    def _heard(self, direction: int, event: Any) -> Iterator[Piece]:
        """Tell the other one, and give what is body of it."""
        h11, other = self._h11, self._hears[1 - direction]
        if isinstance(event, (h11.Request, h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage)):
            other.send(event)
        if isinstance(event, h11.Request):
            self._abouts[CLIENT] = _headers(event) | {
                "method": event.method.decode("ascii"),
                "target": event.target.decode("ascii", "backslashreplace"),
            }
        elif isinstance(event, h11.Response):
            request = {key: self._abouts[CLIENT].get(key) for key in ("method", "target")}
            self._abouts[DESTINATION] = _headers(event) | request | {"status": event.status_code}
        elif isinstance(event, h11.Data):
            body = self._bodies[direction]
            if body is None:
                body = self._bodies[direction] = Body(direction, self._abouts[direction])
            yield body, bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            yield from self._end(direction, whole=True)

    def _end(self, direction: int, whole: bool) -> Iterator[Piece]:
        body, self._bodies[direction] = self._bodies[direction], None
        if body is not None:
            body.whole = whole
            yield body, None

    def _give_up(self) -> Iterator[Piece]:
        """It is no HTTP/1 any more, or octets are missing."""
        self.unreadable = self._over = True
        yield from self._close()

    def _close(self) -> Iterator[Piece]:
        for direction in (CLIENT, DESTINATION):
            yield from self._end(direction, whole=False)


def _headers(event: Any) -> dict[str, Any]:
    """What the manifest says of a message."""
    found = {name.decode("ascii"): value.decode("utf-8", "backslashreplace") for name, value in event.headers}
    return {"content_type": found.get("content-type"), "content_encoding": found.get("content-encoding")}
