"""The octets of one conversation, for Python."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from socks5sniff.capture.source import Capture, inputs
from socks5sniff.errors import InputError
from socks5sniff.record import Conversation

from .chunks import Chunk, Datagram
from .inputs import rewindable
from .look import second_look
from .survey import Survey, Tunnel, survey

DIRECTIONS = ("client", "destination")
"""Whose octets, as Chunk.direction numbers them."""

_REASONS = {
    "auth-failed": "authentication failed",
    "no-acceptable-method": "the proxy accepted none of the methods",
    "malformed": "its handshake cannot be read",
}


class Stretch(NamedTuple):
    """Octets of a tunnel that came in one segment, a datagram's data, or a gap."""

    direction: str
    """Whose octets: `client` or `destination`."""
    offset: int
    """Of the first octet in the tunnel, each direction by itself; 0 for a datagram."""
    length: int
    """-1 for a gap whose length nobody knows, in GSSAPI tokens."""
    octets: bytes | None
    """None where they are not in the capture."""
    frame: int
    time_ns: int
    """Since 1970."""


def streams(path: Capture, id: int, *, ports: Collection[int] = ()) -> Iterator[Stretch]:
    """What a conversation's tunnel carried, both directions in the capture's order; of an association, its datagrams.

    Each octet comes once, whatever was sent again; what is missing comes as a gap. The capture is read twice.

    Args:
        path: a capture, as of `read`; what can be read only once is copied to a temporary file.
        id: the conversation's number in `read`.
        ports: see `read`.

    Raises:
        InputError: the capture cannot be opened, there is no such conversation, or it opened no tunnel.
        DamagedInputError: the capture is damaged; all that came before has been given.
    """
    given = inputs(path)
    with rewindable(given) as names:
        found = survey(names, keep=lambda c: c.id == id, last=lambda c: c.id == id, ports=ports)
        tunnel = chosen(found, id, str(path) if isinstance(path, str) else "the capture")
        for delivered in second_look(names, [tunnel]):
            yield from map(_of_chunk, delivered.chunks.each())
            if not tunnel.carries:
                yield from map(_of_datagram, delivered.datagrams.each())
        if found.fault is not None:
            raise found.fault


def chosen(found: Survey, number: int, name: str) -> Tunnel:
    """The one conversation that was asked for.

    Args:
        name: the capture's, for messages.

    Raises:
        InputError: it is not there, or carried nothing that can be told from its handshake.
        DamagedInputError: it is not there, and the capture is damaged.
    """
    if not found.tunnels:
        if found.fault is not None:
            raise found.fault
        there = "there is 1" if found.conversations == 1 else f"there are {found.conversations:,}"
        raise InputError(f"{name}: conversation {number} is not there; {there}")
    tunnel = found.tunnels[0]
    if not tunnel.carries and not tunnel.datagram_count:
        raise InputError(f"{name}: conversation {number} opened no tunnel: {why_none(tunnel.conversation)}")
    return tunnel


def why_none(c: Conversation) -> str:
    """Why a conversation carried nothing."""
    if c.command == "udp-associate" and c.outcome == "succeeded":
        return "it is a UDP association of which the capture holds no datagram"
    if c.outcome == "succeeded":
        return f"its command was {c.command}"
    if c.outcome == "rejected" and c.reply is not None:
        return f"the proxy refused it ({c.reply.name})"
    if c.method == "gssapi" and c.command is None and c.outcome == "incomplete":
        return "its request goes in GSSAPI tokens that cannot be read"
    return _REASONS.get(c.outcome, "the capture does not hold its whole handshake")


def _of_chunk(chunk: Chunk) -> Stretch:
    octets = None if chunk.octets is None else bytes(chunk.octets)
    return Stretch(DIRECTIONS[chunk.direction], chunk.offset, chunk.length, octets, chunk.frame, chunk.time)


def _of_datagram(datagram: Datagram) -> Stretch:
    octets = bytes(datagram.octets)
    return Stretch(DIRECTIONS[datagram.direction], 0, datagram.length, octets, datagram.frame, datagram.time)
