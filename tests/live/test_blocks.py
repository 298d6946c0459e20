"""Blocks of the kernel's ring, made here as the kernel lays them out, and the columns they become."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.live.blocks import Blocks
from socks5sniff.live.engine import LINK_ETHERNET, LINK_RAW, LINK_SLL2

SIZE = 1 << 20
MAC = bytes(range(12))
VLAN_VALID, TPID_VALID = 1 << 4, 1 << 6
OUTGOING, HOST = 4, 0


class Sent(NamedTuple):
    """A frame as the kernel would put it into a block."""

    octets: bytes
    length: int | None = None
    time: int = 1_700_000_000_123_456_789
    packet_type: int = HOST
    interface: int = 1
    status: int = 1
    tag: int = 0
    tpid: int = 0


def block(frames: list[Sent], maclen: int = 14) -> bytes:
    """struct tpacket_block_desc, and behind it struct tpacket3_hdr, sockaddr_ll and octets of each frame."""
    out = bytearray(48)
    for number, frame in enumerate(frames):
        net = 96 if maclen <= 14 else 112
        mac = net - maclen
        body = bytearray(mac) + frame.octets
        body += bytes(-len(body) % 8)
        following = len(body) if number + 1 < len(frames) else 0
        seconds, fraction = divmod(frame.time, 10**9)
        length = len(frame.octets) if frame.length is None else frame.length
        struct.pack_into(
            "IIIIIIHHIIHH8x", body, 0, following, seconds, fraction, len(frame.octets), length, frame.status, mac, net,
            0xABCD, frame.tag, frame.tpid, 0,
        )  # fmt: skip
        struct.pack_into("H", body, 48, 17)
        struct.pack_into(">H", body, 50, 0x0800)
        struct.pack_into("iHBB8s", body, 52, frame.interface, 772, frame.packet_type, 6, MAC[:8])
        out += body
    struct.pack_into("IIIIII", out, 0, 1, 0, 1, len(frames), 48, len(out))
    assert len(out) <= SIZE
    return bytes(out).ljust(SIZE, b"\xee")


def blocks(*made: bytes, link_type: int = LINK_ETHERNET, twice: int | bool = False) -> Blocks:
    return Blocks(np.frombuffer(bytearray(b"".join(made)), np.uint8), link_type, twice)


def frames_of(ring: Blocks, count: int = 1) -> list[bytes]:
    starts = np.concatenate([ring.starts(number * SIZE, SIZE) for number in range(count)])
    batch = ring.batch(starts)
    return [] if batch is None else [batch.frame(row) for row in range(len(batch))]


def test_columns_hold_what_the_kernel_said() -> None:
    ring = blocks(block([Sent(b"a" * 60), Sent(b"b" * 40, length=9000, time=5), Sent(b"c" * 262_144)]))
    batch = ring.batch(ring.starts(0, SIZE))
    assert batch is not None
    assert batch.captured.tolist() == [60, 40, 262_144]
    assert batch.length.tolist() == [60, 9000, 262_144]
    assert batch.time.tolist() == [1_700_000_000_123_456_789, 5, 1_700_000_000_123_456_789]
    assert [batch.frame(row)[:1] for row in range(3)] == [b"a", b"b", b"c"]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=400), st.booleans())
def test_frames_are_found_whatever_their_lengths(lengths: list[int], imitating: bool) -> None:
    # Payload full of what the kernel writes at the same place of each header would fool a search for it alone.
    mark = struct.pack("HH", 82, 96)
    contents = [mark * 80 if imitating else bytes([number % 256]) * 300 for number in range(len(lengths))]
    payloads = [content[:length] for content, length in zip(contents, lengths, strict=True)]
    ring = blocks(block([Sent(payload) for payload in payloads]))
    assert frames_of(ring) == payloads


def test_frames_with_another_link_header_among_many_are_found() -> None:
    usual = block([Sent(bytes([number]) * 60) for number in range(100)])
    ring = blocks(usual, block([Sent(b"x" * 70)] * 100, maclen=18))
    assert [frame[0] for frame in frames_of(ring, 2)] == [*range(100), *[120] * 100]


@pytest.mark.parametrize(("twice", "expected"), [(False, [1, 2, 3]), (True, [2, 3]), (1, [2, 3]), (2, [1, 2, 3])])
def test_on_loopback_the_outgoing_copy_is_left_out(twice: int | bool, expected: list[int]) -> None:
    sent = [Sent(b"\1", packet_type=OUTGOING), Sent(b"\2"), Sent(b"\3", interface=7)]
    assert [frame[0] for frame in frames_of(blocks(block(sent), twice=twice))] == expected


def test_a_block_of_outgoing_copies_gives_nothing() -> None:
    ring = blocks(block([Sent(b"\1", packet_type=OUTGOING)] * 3), twice=True)
    assert ring.batch(ring.starts(0, SIZE)) is None


def test_vlan_tags_that_the_kernel_took_off_are_put_back() -> None:
    plain = MAC + b"\x08\x00" + b"payload"
    sent = [
        Sent(plain),
        Sent(plain, status=1 | VLAN_VALID | TPID_VALID, tag=0x2007, tpid=0x88A8),
        Sent(plain, status=1 | VLAN_VALID, tag=7),
    ]
    assert frames_of(blocks(block(sent))) == [
        plain,
        MAC + b"\x88\xa8\x20\x07" + b"\x08\x00payload",
        MAC + b"\x81\x00\x00\x07" + b"\x08\x00payload",
    ]


def test_frames_without_link_layer_get_an_sll2_header() -> None:
    ring = blocks(block([Sent(b"\x45", interface=3, packet_type=OUTGOING)], maclen=0), link_type=LINK_SLL2)
    header = struct.pack(">HHIHBB8s", 0x0800, 0, 3, 772, OUTGOING, 6, MAC[:8])
    assert frames_of(ring) == [header + b"\x45"]


def test_frames_that_begin_with_ip_stay_as_they_are() -> None:
    assert frames_of(blocks(block([Sent(b"\x45\0")], maclen=0), link_type=LINK_RAW)) == [b"\x45\0"]
