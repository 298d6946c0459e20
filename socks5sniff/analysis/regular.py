"""Regular handshakes found in columns: many at once, without a call per segment.

Of connections that begin in a batch, most have their whole handshake in it: greeting, selection of no authentication,
CONNECT request and success reply, one segment each, taking turns, nothing missing. That is checked for all of them
with a few operations on columns; what is left per handshake is to look its shape up and to read its two addresses.
The findings are those that `Connection` would come to segment by segment, which a test holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from socks5sniff.codec import domain_deviations, ipv4_text, ipv6_text
from socks5sniff.record import Target

from .transcripts import SELECTED_NONE, Regular, Segment, Transcripts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDES = np.array([0, 1, 0, 1], np.uint8)
_PLACES = np.arange(4)


class Payloads(NamedTuple):
    """Segments with payload as columns, those of one connection one after the other.

    `acknowledgment`: -1 where there is none.
    `start`, `stop`: where the captured payload lies in `octets`; elsewhere when `start` is beyond its end.
    """

    octets: NDArray[np.uint8]
    side: NDArray[np.uint8]
    sequence: NDArray[np.uint32]
    acknowledgment: NDArray[np.int64]
    length: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]


def find_regular(
    payloads: Payloads,
    first: NDArray[np.intp],
    bases: tuple[NDArray[np.int64], NDArray[np.int64]],
    contexts: NDArray[np.int64],
    transcripts: Transcripts,
) -> list[tuple[int, Regular, list[Segment]]]:
    """The regular handshakes among connections that begin in this batch.

    Args:
        payloads: all payloads.
        first: intp[c], for each connection the place of its first payload; at least three more of it follow.
        bases: int64[c] per side, sequence number of the first octet.
        contexts: int64[c], see `Transcripts.find`.

    Returns:
        For each found: its place in `first`, the handshake, its four segments.
    """
    octets = payloads.octets
    last = len(octets) - 1
    if last < 0 or not len(first):
        return []
    at = first[:, None] + _PLACES
    length = payloads.length[at]
    start = payloads.start[at]
    stop = payloads.stop[at]
    sequence = payloads.sequence[at]
    fits = (payloads.side[at] == _SIDES).all(axis=1)
    fits &= (stop - start == length).all(axis=1) & (stop <= last + 1).all(axis=1)
    fits &= (sequence[:, 0] == bases[0].astype(np.uint32)) & (sequence[:, 1] == bases[1].astype(np.uint32))
    fits &= (sequence[:, 2] - sequence[:, 0] == length[:, 0]) & (sequence[:, 3] - sequence[:, 1] == length[:, 1])
    fits &= length[:, 1] == 2
    # Nothing is acknowledged that has not been seen.
    acknowledged = payloads.acknowledgment[at]
    heard = (bases[1], sequence[:, 2], sequence[:, 3], sequence[:, 2] + length[:, 2])
    unseen = (acknowledged.astype(np.uint32) - np.stack(heard, axis=1).astype(np.uint32)).view(np.int32)
    fits &= ((unseen <= 0) | (acknowledged < 0)).all(axis=1)

    def octet(place: int, offset: int | NDArray[np.int64]) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = octets[np.minimum(start[:, place] + offset, last)]
        return found

    fits &= (octet(0, 0) == 5) & (octet(1, 0) == 5) & (octet(1, 1) == 0)
    asked, answered = octet(2, 3), octet(3, 3)
    for place, kind in ((2, asked), (3, answered)):
        fits &= (octet(place, 0) == 5) & (octet(place, 1) == (place == 2)) & (octet(place, 2) == 0)
        whole = np.where(kind == 1, 10, np.where(kind == 4, 22, 7 + octet(place, 4).astype(np.int64) * (kind == 3)))
        fits &= length[:, place] == whole
    fits &= ((octet(2, length[:, 2] - 2) != 0) | (octet(2, length[:, 2] - 1) != 0)) & (answered != 3)
    places = np.flatnonzero(fits)
    if not len(places):
        return []
    memory = octets.data
    shapes = transcripts.shapes
    found = []
    for place, (f0, f1, f2, f3), (t0, t1, t2, t3), (a0, _, a2, a3), (z0, _, z2, z3), context in zip(
        places.tolist(),
        payloads.frame[at[places]].tolist(),
        payloads.time[at[places]].tolist(),
        start[places].tolist(),
        stop[places].tolist(),
        contexts[places].tolist(),
        strict=False,
    ):
        greeting = bytes(memory[a0:z0])
        request = bytes(memory[a2:z2])
        reply = bytes(memory[a3:z3])
        shape = shapes.get((greeting, SELECTED_NONE, request[3], reply[3], context))
        if shape is None:
            continue
        destination = _target(request)
        bound = _target(reply)
        if destination is None or bound is None:
            continue
        seen = [(0, greeting, f0, t0), (1, SELECTED_NONE, f1, t1), (0, request, f2, t2), (1, reply, f3, t3)]
        found.append((place, Regular(shape, destination, bound), seen))
    return found


def _target(frame: bytes) -> Target | None:
    """The address of a request or reply of the right length; None for a name in which the codec finds anything odd."""
    kind = frame[3]
    port = frame[-2] << 8 | frame[-1]
    if kind == 1:
        return Target("ipv4", ipv4_text(frame[4:8]), port)
    if kind == 4:
        return Target("ipv6", ipv6_text(frame[4:20]), port)
    if kind != 3:
        return None
    host = frame[5:-2]
    return None if domain_deviations(host) else Target("domain", host.decode("ascii"), port)
