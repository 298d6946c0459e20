"""The addresses in front of datagrams that a tunnel carries: UDP inside TCP (see `analysis.udp_in_tcp`)."""

from __future__ import annotations

from collections.abc import Iterator

from socks5sniff.codec import Address, AddressType, Decoded, decode_fwd_udp_header, decode_gost_udp_header

_OWN = {0: (AddressType.IPV4, 4), 1: (AddressType.IPV6, 16)}
_OWN_NAME = 2


Head = tuple[int, int, Address, "tuple[int, int] | None"]


def heads(kind: str, client: int, octets: tuple[bytes, bytes]) -> Iterator[Head]:
    """By side, where the host of each datagram's address is, the address, and where the data begin and end.

    Args:
        kind: whose way it is, as of `udp_in_tcp.kind_of`.
        client: the client's side.
        octets: of the tunnel, by side.
    """
    starts, connected = [0, 0], None
    if kind == "sing-box, version 2":
        found = decode_gost_udp_header(b"\0\0" + octets[client][:260])
        if not isinstance(found, Decoded):
            return
        yield client, 2 + (found.frame.destination.type == AddressType.DOMAIN), found.frame.destination, None
        starts[client] = found.length - 2
        connected = found.frame.destination if octets[client][:1] != b"\0" else None
    for side in (0, 1):
        if connected is not None:
            yield from _connected(side, octets[side], starts[side], connected)
        else:
            yield from _heads(kind, side, octets[side], starts[side])


def _connected(side: int, octets: bytes, at: int, address: Address) -> Iterator[Head]:
    """Datagrams that all go to one place, which they do not name."""
    nowhere = Address(AddressType.DOMAIN, b"", address.port)
    while at + 2 <= len(octets):
        end = at + 2 + (octets[at] << 8 | octets[at + 1])
        yield side, at, nowhere, (at + 2, end)
        at = end


def _heads(kind: str, side: int, octets: bytes, at: int) -> Iterator[Head]:
    while at < len(octets):
        if kind == "hev-socks5":
            fwd = decode_fwd_udp_header(octets, at)
            if not isinstance(fwd, Decoded):
                return
            address, place, data, size = fwd.frame.destination, at + 4, at + fwd.length, fwd.frame.data_length
        elif kind == "GOST":
            gost = decode_gost_udp_header(octets, at)
            if not isinstance(gost, Decoded):
                return
            address, place, data, size = gost.frame.destination, at + 4, at + gost.length, gost.frame.reserved
        else:
            own = _own(octets, at)
            if own is None:
                return
            place, address, data, size = own
        named = kind in ("hev-socks5", "GOST") and address.type == AddressType.DOMAIN
        yield side, place + named, address, (data, data + size)
        at = data + size


def _own(octets: bytes, at: int) -> tuple[int, Address, int, int] | None:
    """Where a host of sing-box's is, the address, and where the data are and how many."""
    kind, size = _OWN.get(octets[at], (AddressType.DOMAIN, 0))
    start = at + 1
    if kind == AddressType.DOMAIN:
        if octets[at] != _OWN_NAME or len(octets) <= start:
            return None
        size, start = octets[start], start + 1
    end = start + size
    if len(octets) < end + 4:
        return None
    address = Address(kind, octets[start:end], octets[end] << 8 | octets[end + 1])
    return start, address, end + 4, octets[end + 2] << 8 | octets[end + 3]
