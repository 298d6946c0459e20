"""The addresses in front of datagrams that a tunnel carries: UDP inside TCP (see `analysis.udp_in_tcp`)."""

from __future__ import annotations

from collections.abc import Iterator

from socks5sniff.codec import Address, AddressType, Decoded, decode_fwd_udp_header, decode_gost_udp_header

_OWN = {0: (AddressType.IPV4, 4), 1: (AddressType.IPV6, 16)}
_OWN_NAME = 2


def heads(kind: str, client: int, octets: tuple[bytes, bytes]) -> Iterator[tuple[int, int, Address]]:
    """By side, where the host of each datagram's address is, and the address.

    Args:
        kind: whose way it is, as of `udp_in_tcp.kind_of`.
        client: the client's side.
        octets: of the tunnel, by side.
    """
    starts, connected = [0, 0], False
    if kind == "sing-box, version 2":
        found = decode_gost_udp_header(b"\0\0" + octets[client][:260])
        if not isinstance(found, Decoded):
            return
        yield client, 2 + (found.frame.destination.type == AddressType.DOMAIN), found.frame.destination
        starts[client] = found.length - 2
        connected = octets[client][:1] != b"\0"
    if connected:
        return
    for side in (0, 1):
        yield from _heads(kind, side, octets[side], starts[side])


def _heads(kind: str, side: int, octets: bytes, at: int) -> Iterator[tuple[int, int, Address]]:
    while at < len(octets):
        if kind == "hev-socks5":
            fwd = decode_fwd_udp_header(octets, at)
            if not isinstance(fwd, Decoded):
                return
            address, place, behind = fwd.frame.destination, at + 4, at + fwd.length + fwd.frame.data_length
        elif kind == "GOST":
            gost = decode_gost_udp_header(octets, at)
            if not isinstance(gost, Decoded):
                return
            address, place, behind = gost.frame.destination, at + 4, at + gost.length + gost.frame.reserved
        else:
            own = _own(octets, at)
            if own is None:
                return
            yield side, own[0], own[1]
            at = own[2]
            continue
        yield side, place + (address.type == AddressType.DOMAIN), address
        at = behind


def _own(octets: bytes, at: int) -> tuple[int, Address, int] | None:
    """Where a host of sing-box's is, the address, and where the next datagram begins."""
    kind, size = _OWN.get(octets[at], (AddressType.DOMAIN, 0))
    start = at + 1
    if kind == AddressType.DOMAIN:
        if octets[at] != _OWN_NAME or len(octets) <= start:
            return None
        size, start = octets[start], start + 1
    end = start + size
    if len(octets) < end + 4:
        return None
    data = octets[end + 2] << 8 | octets[end + 3]
    return start, Address(kind, octets[start:end], octets[end] << 8 | octets[end + 1]), end + 4 + data
