"""Tunnels into files: two of each, one of each datagram, and the bodies of HTTP messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .chunks import CLIENT, DESTINATION, UNKNOWN_LENGTH, Chunk, Datagram
from .files import Folder, Growing
from .http_bodies import Body, HttpBodies
from .look import Delivered
from .streams import DIRECTIONS
from .survey import Tunnel


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to write.

    Attributes:
        fill_holes: zeros for octets that are not in the capture.
        objects: bodies of HTTP/1 messages, too.
    """

    fill_holes: bool = False
    objects: bool = False


class Extraction:
    """Writes what a second look delivers.

    Attributes:
        unreadable: conversations whose HTTP could not be read to its end.
    """

    def __init__(self, tunnels: Sequence[Tunnel], folder: Folder, wanted: Wanted) -> None:
        self.unreadable = 0
        self._tunnels = tunnels
        self._folder = folder
        self._wanted = wanted
        self._streams: dict[tuple[int, int], Growing | None] = {}
        self._bodies: dict[int, HttpBodies] = {}
        self._objects: dict[Body, Growing | None] = {}
        self._counts: dict[tuple[int, str, int], int] = {}

    def take(self, look: Iterable[Delivered]) -> None:
        """Write all of it."""
        for delivered in look:
            for chunk in delivered.chunks.each():
                self._chunk(chunk)
            for datagram in delivered.datagrams.each():
                self._datagram(datagram)
            for place in delivered.over:
                self._end(place)

    def _chunk(self, chunk: Chunk) -> None:
        place, direction, offset, length, octets, _, _ = chunk
        if (place, direction) not in self._streams:
            self._streams[place, direction] = self._begin_stream(place, direction)
        stream = self._streams[place, direction]
        if stream is not None and octets is not None:
            stream.add(octets)
        elif stream is not None and length == UNKNOWN_LENGTH:
            stream.entry["missing"].append([offset, None])
        elif stream is not None:
            stream.miss(offset, length, self._wanted.fill_holes)
        if self._wanted.objects:
            self._http(chunk)

    def _begin_stream(self, place: int, direction: int) -> Growing | None:
        number = self._tunnels[place].conversation.id
        return self._folder.begin(self._entry(place, direction, "stream"), f"{number}.{DIRECTIONS[direction]}")

    def _entry(self, place: int, direction: int, kind: str) -> dict[str, Any]:
        return {"id": self._tunnels[place].conversation.id, "direction": DIRECTIONS[direction], "kind": kind}

    def _name(self, place: int, direction: int, kind: str) -> str:
        """The name of one of several files of a kind."""
        count = self._counts[place, kind, direction] = self._counts.get((place, kind, direction), 0) + 1
        return f"{self._tunnels[place].conversation.id}.{DIRECTIONS[direction]}.{kind}-{count}"

    def _datagram(self, datagram: Datagram) -> None:
        place, direction = datagram.tunnel, datagram.direction
        entry = self._entry(place, direction, "datagram") | {
            "frame": datagram.frame,
            "host": datagram.host,
            "port": datagram.port,
            "fragment": datagram.fragment,
        }
        file = self._folder.begin(entry, self._name(place, direction, "datagram"))
        if file is None:
            return
        file.add(datagram.octets)
        captured = len(datagram.octets)
        if captured < datagram.length:
            file.miss(captured, datagram.length - captured, self._wanted.fill_holes)
        self._folder.end(file)

    def _end(self, place: int) -> None:
        """Nothing more of a tunnel comes."""
        if not self._tunnels[place].carries:
            return
        for direction in (CLIENT, DESTINATION):
            if (place, direction) not in self._streams:
                self._streams[place, direction] = self._begin_stream(place, direction)
            stream = self._streams.pop((place, direction))
            if stream is not None:
                self._folder.end(stream)
        bodies = self._bodies.pop(place, None)
        if bodies is not None:
            self._write_bodies(place, bodies.finish())
            self.unreadable += bodies.unreadable

    def _http(self, chunk: Chunk) -> None:
        place = chunk.tunnel
        tunnel = self._tunnels[place].conversation.tunnel
        if tunnel is None or tunnel.protocol != "http":
            return
        if place not in self._bodies:
            self._bodies[place] = HttpBodies()
        self._write_bodies(place, self._bodies[place].feed(chunk.direction, chunk.octets))

    def _write_bodies(self, place: int, pieces: Iterable[tuple[Body, bytes | None]]) -> None:
        """Octets of bodies; None where one ends."""
        for body, octets in pieces:
            if body not in self._objects:
                entry = self._entry(place, body.direction, "object") | body.about
                self._objects[body] = self._folder.begin(entry, self._name(place, body.direction, "object"))
            file = self._objects[body]
            if octets is not None:
                if file is not None:
                    file.add(octets)
                continue
            del self._objects[body]
            if file is not None:
                file.entry["whole"] = body.whole
                self._folder.end(file)
