"""Regular handshakes found in columns: many at once, without a call per segment.

Of connections that begin in a batch, most have their whole handshake in it, and the tunnel's first octets: greeting,
selection, perhaps user name and password, CONNECT request and success reply, one segment each, taking turns, nothing
missing, then the client speaks. That is checked for all of them with a few operations on columns; what is left per
handshake is to look its shape up, to read its two addresses and to name the tunnel. The findings are those that
`Connection` would come to segment by segment, which a test holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from socks5sniff.codec import domain_deviations, ipv4_text, ipv6_text
from socks5sniff.record import Target
from socks5sniff.record.regular import Regular
from socks5sniff.session import could_open

from .transcripts import SELECTED_NONE, SELECTED_PASSWORD, Key, Transcripts
from .tunnel import HEAD_LIMIT, identify

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 7
"""Segments of the longest regular handshake and the tunnel's first one."""


class Openings(NamedTuple):
    """The first segments with payload of some connections, a row each, LONGEST wide.

    `segments` is how many of a row are its connection's, at least five; the rest is anything.
    `acknowledgment`: -1 where there is none.
    `start`, `captured`: where the captured payload lies in `octets`; elsewhere when `start` is beyond its end.
    `bases`: per side, sequence number of the first octet.
    `context`: see `Transcripts.find`.
    """

    octets: NDArray[np.uint8]
    segments: NDArray[np.intp]
    side: NDArray[np.uint8]
    sequence: NDArray[np.uint32]
    acknowledgment: NDArray[np.int64]
    length: NDArray[np.int64]
    start: NDArray[np.int64]
    captured: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.int64]
    bases: tuple[NDArray[np.uint32], NDArray[np.uint32]]
    context: NDArray[np.int64]


def find_regular(openings: Openings, transcripts: Transcripts) -> list[tuple[int, Regular]]:
    """The regular handshakes among connections that begin in this batch, each with its row."""
    if not len(openings.octets):
        return []
    fits = _orderly(openings)
    chosen = _octet(openings, 1, 1)
    found: list[tuple[int, Regular]] = []
    for steps, selected in ((4, SELECTED_NONE), (6, SELECTED_PASSWORD)):
        rows = np.flatnonzero(fits[:, steps] & (chosen == selected[1]) & (openings.segments > steps))
        if len(rows):
            rows = rows[_well_formed(openings, rows, steps)]
            _read(openings, rows, steps, transcripts, found)
    return found


def _orderly(openings: Openings) -> NDArray[np.bool_]:
    """For each segment: it and all before it take turns, are complete, and nothing is missing between them."""
    length, sequence = openings.length, openings.sequence
    ends = sequence + length.astype(np.uint32)
    first, second = openings.bases
    fits = openings.side == np.arange(LONGEST, dtype=np.uint8) % 2
    fits &= (openings.captured == length) & (openings.start + length <= len(openings.octets))
    fits &= sequence == np.column_stack((first, second, ends[:, :-2]))
    # Nothing is acknowledged that has not been seen.
    heard = np.column_stack((second, ends[:, :-1]))
    unseen = (openings.acknowledgment.astype(np.uint32) - heard).view(np.int32)
    fits &= (unseen <= 0) | (openings.acknowledgment < 0)
    orderly: NDArray[np.bool_] = np.logical_and.accumulate(fits, axis=1)
    return orderly


def _octet(openings: Openings, place: int, offset: int | NDArray[np.int64]) -> NDArray[np.uint8]:
    """An octet of each row's segment number `place`; anything where the segment is shorter."""
    found: NDArray[np.uint8] = openings.octets[np.minimum(openings.start[:, place] + offset, len(openings.octets) - 1)]
    return found


def _well_formed(openings: Openings, rows: NDArray[np.intp], steps: int) -> NDArray[np.bool_]:
    """Whether the segments of each row are the frames of a handshake of so many, each whole and nothing but it."""
    those = openings._replace(start=openings.start[rows], length=openings.length[rows])
    length = those.length
    fits: NDArray[np.bool_] = (_octet(those, 0, 0) == 5) & (_octet(those, 1, 0) == 5) & (length[:, 1] == 2)
    for place, code in ((steps - 2, 1), (steps - 1, 0)):
        kind = _octet(those, place, 3)
        named = 7 + _octet(those, place, 4).astype(np.int64) * (kind == 3)
        fits &= length[:, place] == np.where(kind == 1, 10, np.where(kind == 4, 22, named))
        fits &= (_octet(those, place, 0) == 5) & (_octet(those, place, 1) == code) & (_octet(those, place, 2) == 0)
    request = length[:, steps - 2]
    fits &= (_octet(those, steps - 2, request - 2) != 0) | (_octet(those, steps - 2, request - 1) != 0)
    fits &= _octet(those, steps - 1, 3) != 3
    return fits


def _read(
    openings: Openings, rows: NDArray[np.intp], steps: int, transcripts: Transcripts, found: list[tuple[int, Regular]]
) -> None:
    """Add those rows whose shape, addresses and tunnel can be told."""
    memory = openings.octets.data
    shapes = transcripts.shapes
    selected = SELECTED_NONE if steps == 4 else SELECTED_PASSWORD
    refused: set[Key] = set()
    for row, frames, times, lengths, starts, head_length, context in zip(
        rows.tolist(),
        openings.frame[rows, :steps].tolist(),
        openings.time[rows, :steps].tolist(),
        openings.length[rows, :steps].tolist(),
        openings.start[rows].tolist(),
        np.minimum(openings.length[rows, steps], HEAD_LIMIT).tolist(),
        openings.context[rows].tolist(),
        strict=True,
    ):
        a, b, c = starts[0], starts[steps - 2], starts[steps - 1]
        greeting = bytes(memory[a : a + lengths[0]])
        request = bytes(memory[b : b + lengths[-2]])
        reply = bytes(memory[c : c + lengths[-1]])
        key: Key = (greeting, selected, request[3], reply[3], context)
        said = [greeting, selected, request, reply]
        username = password = None
        if steps == 6:
            said[2:2] = (bytes(memory[starts[place] : starts[place] + lengths[place]]) for place in (2, 3))
            login = transcripts.login(said[2])
            if login is None:
                continue
            username, password = login
            key = (*key, said[3])
        destination = _target(request)
        bound = _target(reply)
        if destination is None or bound is None:
            continue
        shape = shapes.get(key)
        if shape is None:
            if key not in refused:
                sides = (0, 1) * (steps // 2)
                shape = transcripts.study(key, list(zip(sides, said, frames, times, strict=True)), context)
            if shape is None:
                refused.add(key)
                continue
        head = bytes(memory[starts[steps] : starts[steps] + head_length])
        if could_open(head[0]):
            continue  # perhaps a conversation inside
        tunnel = identify(head, b"", destination.port, head_length == HEAD_LIMIT)
        if tunnel is not None:
            regular = Regular(shape, destination, bound, username, password, frames, times, lengths, tunnel)
            found.append((row, regular))


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
