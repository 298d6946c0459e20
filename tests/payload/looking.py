"""A second look at captures, put together in the simplest way, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from socks5sniff.payload import Chunk, Datagram, Survey, Tunnel, second_look, survey
from tests.capture.samples import Frame, pcap
from tests.traffic import Packet

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = sorted((ROOT / "captures").glob("*.pcapng"))


class Looked:
    """What both looks gave.

    Attributes:
        survey: the first one.
        chunks: by tunnel's place and direction.
        datagrams: by tunnel's place.
    """

    def __init__(self, names: Sequence[str], chosen: Sequence[Tunnel] | None = None) -> None:
        self.survey: Survey = survey(names)
        self.tunnels = self.survey.tunnels if chosen is None else chosen
        self.chunks: dict[tuple[int, int], list[Chunk]] = {
            (place, direction): [] for place in range(len(self.tunnels)) for direction in (0, 1)
        }
        self.datagrams: list[list[Datagram]] = [[] for _ in self.tunnels]
        self.order: list[Chunk] = []
        for delivered in second_look(names, self.tunnels):
            for chunk in delivered.chunks.each():
                kept = chunk if chunk.octets is None else chunk._replace(octets=bytes(chunk.octets))
                self.chunks[chunk.tunnel, chunk.direction].append(kept)
                self.order.append(kept)
            for datagram in delivered.datagrams.each():
                self.datagrams[datagram.tunnel].append(datagram._replace(octets=bytes(datagram.octets)))

    def octets(self, place: int, direction: int) -> bytes:
        """A stream, with zeros for gaps."""
        chunks = self.chunks[place, direction]
        return b"".join(bytes(chunk.length) if chunk.octets is None else bytes(chunk.octets) for chunk in chunks)

    def gaps(self, place: int, direction: int) -> list[tuple[int, int]]:
        """Offset and length of each."""
        return [(chunk.offset, chunk.length) for chunk in self.chunks[place, direction] if chunk.octets is None]


def written(folder: Path, packets: Iterable[Packet], captured: int | None = None) -> str:
    """A capture file of packets, cut at `captured` octets of a frame."""
    frames = [(packet.time, packet.frame()) for packet in packets]
    path = folder / "made.pcap"
    path.write_bytes(pcap([Frame(time, octets[:captured], len(octets)) for time, octets in frames], nano=True))
    return str(path)
