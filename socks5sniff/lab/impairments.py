"""What networks do to TCP segments, done to a list of packets: the same every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from socks5sniff.proxy.packets import ACK, PSH, SYN, Packet, RawFrame, Renderer, TcpSegment

Change = Callable[[list[Packet]], list[Packet]]

STEP = 1000
"""Nanoseconds between a packet and one put in behind it."""


def data_at(packets: Sequence[Packet], flow: int, sender: int) -> list[int]:
    """Where the segments with payload of one direction of a connection are."""
    return [
        at
        for at, packet in enumerate(packets)
        if isinstance(packet, TcpSegment) and (packet.flow, packet.sender) == (flow, sender) and packet.payload
    ]


def moved(packets: Sequence[Packet], order: Sequence[int]) -> list[Packet]:
    """The packets in another order, at the same points in time."""
    return [replace(packets[source], time=packets[at].time) for at, source in enumerate(order)]


def reverse(flow: int, sender: int, first: int, count: int) -> Change:
    """`count` data segments of a direction, from number `first`, arrive in reverse order."""

    def change(packets: list[Packet]) -> list[Packet]:
        places = data_at(packets, flow, sender)[first : first + count]
        order = list(range(len(packets)))
        for at, source in zip(places, reversed(places), strict=True):
            order[at] = source
        return moved(packets, order)

    return change


def drop(flow: int, sender: int, number: int) -> Change:
    """A data segment is lost on the way to the capture (the receiver got it)."""

    def change(packets: list[Packet]) -> list[Packet]:
        lost = data_at(packets, flow, sender)[number]
        return [packet for at, packet in enumerate(packets) if at != lost]

    return change


def drop_start(flow: int, count: int = 3) -> Change:
    """The capture begins after the connection's first `count` packets."""

    def change(packets: list[Packet]) -> list[Packet]:
        own = [at for at, packet in enumerate(packets) if isinstance(packet, TcpSegment) and packet.flow == flow]
        return [packet for at, packet in enumerate(packets) if at not in own[:count]]

    return change


def repeat(flow: int, sender: int, number: int, alter: Callable[[bytes], bytes] = bytes, later: int = 0) -> Change:
    """A data segment comes again, `later` packets behind the first copy; `alter` may change its octets."""

    def change(packets: list[Packet]) -> list[Packet]:
        place = data_at(packets, flow, sender)[number]
        original = packets[place]
        assert isinstance(original, TcpSegment)
        behind = min(place + later, len(packets) - 1)
        copy = replace(original, time=packets[behind].time + STEP // 2, payload=alter(original.payload))
        return [*packets[: behind + 1], copy, *packets[behind + 1 :]]

    return change


def overlap(flow: int, sender: int, number: int, back: int) -> Change:
    """A data segment brings the last `back` octets of the one before it once more."""

    def change(packets: list[Packet]) -> list[Packet]:
        places = data_at(packets, flow, sender)
        before, place = packets[places[number - 1]], places[number]
        own = packets[place]
        assert isinstance(before, TcpSegment)
        assert isinstance(own, TcpSegment)
        longer = replace(own, sequence=(own.sequence - back) & 0xFFFFFFFF, payload=before.payload[-back:] + own.payload)
        return [*packets[:place], longer, *packets[place + 1 :]]

    return change


def cut(flow: int, sender: int, number: int, size: int) -> Change:
    """A data segment comes as several of `size` octets."""

    def change(packets: list[Packet]) -> list[Packet]:
        place = data_at(packets, flow, sender)[number]
        own = packets[place]
        assert isinstance(own, TcpSegment)
        parts: list[Packet] = [
            replace(
                own,
                time=own.time + at,
                sequence=(own.sequence + at) & 0xFFFFFFFF,
                payload=own.payload[at : at + size],
                flags=ACK | PSH if at + size >= len(own.payload) else ACK,
            )
            for at in range(0, len(own.payload), size)
        ]
        return [*packets[:place], *parts, *packets[place + 1 :]]

    return change


def fragment(flow: int, sender: int, number: int, size: int) -> Change:
    """A data segment comes as IPv4 fragments of `size` octets (a multiple of 8)."""

    def change(packets: list[Packet]) -> list[Packet]:
        from scapy.layers.inet import IP
        from scapy.layers.l2 import Ether

        place = data_at(packets, flow, sender)[number]
        own = packets[place]
        assert isinstance(own, TcpSegment)
        frame = Ether(Renderer().frame(own))
        whole = frame[IP]
        whole.flags, whole.id, whole.chksum = 0, 0x7777, None
        head = Ether(src=frame.src, dst=frame.dst, type=0x0800)
        pieces = [bytes(head / part) for part in whole.fragment(fragsize=size)]
        parts: list[Packet] = [
            RawFrame(own.time + at, octets, flow, own if at == len(pieces) - 1 else None)
            for at, octets in enumerate(pieces)
        ]
        return [*packets[:place], *parts, *packets[place + 1 :]]

    return change


def keepalive(flow: int, sender: int, number: int) -> Change:
    """A TCP keep-alive (one octet before the next, RFC 9293 s3.8.4) behind a data segment."""

    def change(packets: list[Packet]) -> list[Packet]:
        place = data_at(packets, flow, sender)[number]
        own = packets[place]
        assert isinstance(own, TcpSegment)
        probe = replace(
            own,
            time=own.time + STEP // 2,
            sequence=(own.sequence + len(own.payload) - 1) & 0xFFFFFFFF,
            payload=own.payload[-1:],
            flags=ACK,
        )
        return [*packets[: place + 1], probe, *packets[place + 1 :]]

    return change


def repeat_syn(flow: int) -> Change:
    """The first SYN was not answered in time and comes again."""

    def change(packets: list[Packet]) -> list[Packet]:
        place = next(
            at
            for at, packet in enumerate(packets)
            if isinstance(packet, TcpSegment) and packet.flow == flow and packet.flags == SYN
        )
        copy = replace(packets[place], time=packets[place].time + STEP // 2)
        return [*packets[: place + 1], copy, *packets[place + 1 :]]

    return change
