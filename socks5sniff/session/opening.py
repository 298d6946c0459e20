"""Who opens SOCKS, and where: the first octets of a connection, before any state of the table.

The SOCKS client is the side whose octets are a greeting or a SOCKS4 request, whichever side opened the TCP connection.
It begins with its first octet, with one exception: where the TCP server is the client ("reverse" proxies call back to
a controller) both sides may first say a little of their own, at most PREAMBLE_LIMIT octets each. Then the greeting is
the first sound one within that limit, and it counts only when what the other side says next starts with a choice that
fits. Where the TCP client is the SOCKS client, the other side's first words may precede too: a server that spoke first.
"""

from __future__ import annotations

from typing import NamedTuple

from ..codec import AddressType, Method, starts_proxy_header

PREAMBLE_LIMIT = 64
"""Octets of each side that may precede the greeting. Longer talk is another protocol."""

CHOICE_LENGTH = 2
"""Octets of a method selection. As the first words of the TCP server, `05 00` may be a selection before its time."""

SOUND_METHODS = frozenset(method for method in Method if method != Method.NO_ACCEPTABLE) | frozenset(range(0x80, 0xFF))
"""Assigned and private methods. FF is no method to offer."""

_SOCKS4_COMMANDS = (b"", b"\x01", b"\x02", b"\xf0", b"\xf1")
"""The second octet of a SOCKS4 request, if it has come: CONNECT, BIND, and Tor's two."""

_HTTP = tuple(
    f"{word} ".encode()
    for word in ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI")
)


class Opening(NamedTuple):
    """Who opens, and how many octets of each side precede the opening."""

    client: int
    preamble: tuple[int, int]


class Foreign(NamedTuple):
    """Nobody opens SOCKS here."""

    name: str | None
    """The protocol, when it is one worth a name."""


def could_open(first_octet: int) -> bool:
    """Whether a SOCKS client's first octet can be this."""
    return first_octet in (4, 5)


def could_begin(octets: bytes) -> bool:
    """Whether what a SOCKS client says first can begin with these octets: a PROXY protocol header may precede."""
    return could_open(octets[0]) or starts_proxy_header(octets)


def find_client(octets: tuple[bytes, bytes], side: int, mark: int) -> Opening | Foreign | None:
    """Who opens SOCKS, given all octets of both sides so far; None while nobody has.

    Args:
        octets: by side.
        side: the side that spoke last.
        mark: how many octets side 0 had sent when side 1 last spoke.
    """
    last, other = octets[side], octets[1 - side]
    name = foreign_name(last)
    if name is not None:
        return Foreign(name)
    if side == 1:
        if could_open(last[0]) and (len(last) > CHOICE_LENGTH or last[1:] not in (b"", b"\0")):
            return Opening(1, (mark, 0))
        may_still = len(last) <= PREAMBLE_LIMIT or last.find(5, 0, PREAMBLE_LIMIT + 1) >= 0
        return None if may_still else Foreign(None)
    greeting = find_greeting(other)
    if greeting is not None:
        fits = _fits(last[mark:], other[greeting:])
        if fits is not False:
            return Opening(1, (mark, greeting)) if fits else None
    if len(other) <= PREAMBLE_LIMIT and could_open(last[0]):
        return Opening(0, (0, len(other)))
    return None if len(last) <= PREAMBLE_LIMIT else Foreign(None)


def find_greeting(octets: bytes) -> int | None:
    """The offset, at most PREAMBLE_LIMIT, of the first sound greeting that ends the octets or has a request or a
    sub-negotiation behind it; None when there is none."""
    at = octets.find(5, 0, PREAMBLE_LIMIT + 1)
    while at >= 0:
        end = at + 2 + (octets[at + 1] if at + 1 < len(octets) else 0)
        methods = octets[at + 2 : end]
        whole = methods != b"" and len(octets) >= end
        if whole and sound_methods(methods) and octets[end : end + 1] in (b"", b"\1", b"\5"):
            return at
        at = octets.find(5, at + 1, PREAMBLE_LIMIT + 1)
    return None


def sound_so_far(octets: bytes) -> bool:
    """Whether the beginning of an opening has nothing that a SOCKS client would not send."""
    if octets[0] == 5:
        return sound_methods(octets[2:])
    return octets[1:2] in _SOCKS4_COMMANDS and printable(octets[8:].partition(b"\0")[0])


def sound_methods(methods: bytes) -> bool:
    """Whether a client that means SOCKS would list these: no method twice, none that was never assigned."""
    return SOUND_METHODS.issuperset(methods) and len(set(methods)) == len(methods)


def printable(text: bytes) -> bool:
    """Whether octets could be a user id or a host name: no control characters."""
    return not text or (min(text) >= 0x20 and 0x7F not in text)


def looks_like_request(octets: bytes) -> bool | None:
    """Whether octets start a SOCKS5 request: VER 05, a command of RFC 1928 or Tor, RSV 00, a known ATYP.

    None when there are too few to tell.
    """
    for octet, allowed in zip(octets, _REQUEST_HEAD):  # noqa: B905 - octets may be fewer or more
        if octet not in allowed:
            return False
    return True if len(octets) >= len(_REQUEST_HEAD) else None


_REQUEST_HEAD = ((5,), (1, 2, 3, 0xF0, 0xF1), (0,), tuple(AddressType))


def foreign_name(octets: bytes) -> str | None:
    """The protocol that octets at the start of a direction show; None when it is none of those worth a name."""
    if octets[:1] == b"\x06":
        return "SOCKS6"
    if octets[:2] == b"\x16\x03":
        return "TLS"
    if octets.startswith(b"SSH-"):
        return "SSH"
    if octets.startswith(_HTTP) or octets.startswith(b"HTTP/"):
        return "HTTP"
    return None


def _fits(answer: bytes, greeting: bytes) -> bool | None:
    """Whether octets start with a choice from a greeting; None: too few to tell."""
    if answer[0] != 5:
        return False
    if len(answer) < 2:
        return None
    return answer[1] == Method.NO_ACCEPTABLE or answer[1] in greeting[2 : 2 + greeting[1]]
