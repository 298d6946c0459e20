"""The pieces that captures are read in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

from socks5sniff.capture.merge import Note, Survey, survey
from socks5sniff.capture.slices import last_time, slices
from socks5sniff.errors import Socks5sniffError
from socks5sniff.streams.flows import NO_TIME

from .piece import Piece

LEAST, MOST = 8 << 20, 64 << 20
"""Octets of a piece: small enough for every worker to have some, and for their memory."""
FRAMES = 128_000
"""Frames of a piece of a large file: what is known of them takes as much memory as they do, or more."""
WRITTEN = 4 * FRAMES
"""The same where workers write what they find: files with few records are read slowly."""
SMALL = 16 << 20
"""Octets of files that are read as one piece; a larger file is one by itself."""
LARGE = 64 << 20
"""Octets of files that cannot be cut, above which they are refused here: a worker holds a piece as a whole."""


class UnsuitableError(Exception):
    """These inputs are better read by one process."""


def planned(
    names: Sequence[str], workers: int, dataset: bool, faults: list[Socks5sniffError], note: Note
) -> list[Piece]:
    """The pieces of captures in their order.

    Args:
        names: see `open_captures`.
        workers: for how many they are.
        dataset: these write one.
        faults: what is wrong with some of the captures is added here.
        note: told of those that are empty.

    Raises:
        UnsuitableError: one of them can be read only from its beginning to its end, and is large.
        InputError: none of them can be read.
    """
    found = survey(names, faults, note)
    if any(each.total is None or (not each.plain and each.total > LARGE) for each in found):
        raise UnsuitableError
    total = sum(each.total or 0 for each in found)
    size = min(max(total // (4 * workers), LEAST), MOST)
    frames = WRITTEN if dataset else FRAMES
    pieces: list[Piece] = []
    for group in _groups(found, size):
        whole = [Piece((str(each.name),), (each.place,), each.first, each.total or 0) for each in group]
        if len(group) == 1 and group[0].plain:
            pieces += [whole[0]._replace(slice=part) for part in slices(whole[0].names[0], size, frames)]
        else:
            pieces.append(reduce(Piece.joined, whole))
    _check_order(pieces)
    return pieces


def _check_order(pieces: Sequence[Piece]) -> None:
    """Large files that overlap are merged by one process."""
    latest = NO_TIME
    last = max((place for place, piece in enumerate(pieces) if piece.begins), default=0)
    for piece in pieces[: last + 1]:
        if piece.begins and latest > piece.first:
            raise UnsuitableError
        if piece.partial and piece.slice is not None:
            latest = max(latest, last_time(piece.slice))


def _groups(found: Sequence[Survey], size: int) -> Iterator[list[Survey]]:
    """Small files that follow each other are one piece."""
    group: list[Survey] = []
    size = min(size, SMALL)
    for each in found:
        if group and sum(one.total or 0 for one in group) + (each.total or 0) > size:
            yield group
            group = []
        group.append(each)
    if group:
        yield group
