"""Where the headers of a batch lie, also those of packets that were put together, and the frames they came in."""

from __future__ import annotations

import numpy as np

from socks5sniff.capture.batch import FrameBatch
from socks5sniff.packets import PacketReader
from socks5sniff.packets.columns import Datagrams, Segments
from socks5sniff.packets.kinds import Kind
from socks5sniff.packets.layers import Layers

from .samples import batch_of, ethernet, ipv4, tcp, udp
from .test_fragments import PAYLOAD, fragments

INNER = fragments(4, tcp(PAYLOAD), [1024])
FRAMES = [
    ethernet(0x0800, ipv4(6, tcp(b"hello"))),
    *(ethernet(0x86DD, part) for packet in INNER for part in fragments(6, packet, [512], 4, len(packet))),
    ethernet(0x0800, ipv4(17, udp(b"question"))),
]
"""In the middle a segment in two fragments, each of which comes in two more."""


def located() -> tuple[FrameBatch, Layers, Segments, Datagrams]:
    """The frames, and what is read of them."""
    reader, batch = PacketReader(), batch_of(FRAMES)
    reader.layers = layers = Layers()
    return batch, layers, *reader.read(batch)


def test_each_header_is_where_its_octets_are() -> None:
    batch, layers, segments, datagrams = located()
    memory = np.concatenate((batch.octets, segments.spill))
    places = {
        kind: sorted(at for layer in layers.layers if layer.kind == kind for at in layer.rows.at.tolist())
        for kind in (Kind.ETHERNET, Kind.IPV4, Kind.TCP, Kind.UDP)
    }
    assert places[Kind.ETHERNET] == batch.offset.tolist()
    assert places[Kind.TCP] == sorted((segments.payload - 20).tolist())
    assert places[Kind.UDP] == (datagrams.payload - 8).tolist()
    assert [bytes(memory[at : at + 2]) for at in places[Kind.TCP]] == [b"\x9c\x40"] * 2
    ends = sorted(
        end for layer in layers.layers if layer.kind == Kind.TCP for end in (*layer.rows.end, *layer.rows.wire)
    )
    assert ends == sorted([*(segments.payload + segments.length)] * 2)


def test_what_was_put_together_is_found_in_its_frames() -> None:
    batch, layers, segments, _ = located()
    memory = np.concatenate((batch.octets, segments.spill))
    place, length = int(segments.payload[1]) - 20, 20 + len(PAYLOAD)
    pieces = [*layers.origins(place, length)]
    assert [piece.place for piece in pieces] == [place, *(piece.place + piece.length for piece in pieces[:-1])]
    assert sum(piece.length for piece in pieces) == length
    assert [piece.frame for piece in pieces] == [2, 3, 4, 5]
    for piece in pieces:
        sent = FRAMES[piece.frame - 1][piece.offset : piece.offset + piece.length]
        assert sent == bytes(memory[piece.place : piece.place + piece.length])
    assert [*layers.origins(place + 1, 1)] == [
        pieces[0]._replace(place=place + 1, length=1, offset=pieces[0].offset + 1)
    ]
    assert place in layers.starts


def test_a_new_batch_begins_anew() -> None:
    reader = PacketReader()
    reader.layers = layers = Layers()
    reader.read(batch_of(FRAMES))
    reader.read(batch_of(FRAMES[:1]))
    assert [layer.rows.at.tolist() for layer in layers.layers] == [[0], [14], [34]]
    assert (layers.starts, layers.pieces, [*layers.origins(0, 1000)]) == (set(), [], [])
