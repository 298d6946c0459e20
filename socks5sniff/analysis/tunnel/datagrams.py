"""Name what the datagrams between a client and one remote party of a UDP association carry: QUIC or DNS."""

from __future__ import annotations

from collections.abc import Sequence

from socks5sniff.record import Tunnel

from . import dns
from .heads import HEAD_LIMIT, WAIT, Finding
from .quic import quic

DATAGRAM_LIMIT = 8
"""Datagrams of each direction that are looked at, of HEAD_LIMIT octets together at most."""


def identify_datagrams(sent: Sequence[bytes], received: Sequence[bytes], complete: bool) -> Tunnel | None:
    """What the datagrams carry; the same window gives the same answer, as with `identify`.

    Args:
        sent: DATA of the first datagrams from the client to one remote party, in order.
        received: DATA of the first ones back.
        complete: no more will come.

    Returns:
        The finding, or None while more datagrams would tell (never None when `complete` and any is there).
    """
    if not sent and not received:
        return None
    asked, sent_whole = _window(sent)
    answered, received_whole = _window(received)
    for finding in (
        quic(asked, complete or sent_whole),
        _dns(asked, answered, complete or sent_whole, complete or received_whole),
    ):
        if finding is not None:
            return finding if isinstance(finding, Tunnel) else None
    return Tunnel("unknown")


def _window(datagrams: Sequence[bytes]) -> tuple[list[bytes], bool]:
    """Those that are looked at, and whether no other would be."""
    taken: list[bytes] = []
    room = HEAD_LIMIT
    for datagram in datagrams[:DATAGRAM_LIMIT]:
        if len(datagram) > room:
            return taken or [datagram[:HEAD_LIMIT]], True
        taken.append(datagram)
        room -= len(datagram)
    return taken, len(taken) == DATAGRAM_LIMIT or not room


def _dns(sent: Sequence[bytes], received: Sequence[bytes], sent_whole: bool, received_whole: bool) -> Finding:
    """A query, and the answer to it."""
    if not sent:
        return None if sent_whole else WAIT
    asked = dns.question(sent[0])
    if asked is None:
        return None
    for datagram in received:
        outcome = dns.outcome(datagram, asked)
        if outcome is not None:
            return Tunnel("dns", detail=f"{asked}: {outcome}")
    return Tunnel("dns", detail=str(asked)) if received_whole else WAIT
