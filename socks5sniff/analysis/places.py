"""Which capture files are of one place, told from their beginnings.

The files of a rotation, of two interfaces or of two taps, one direction a file: all of these fit together, and are read
as one capture. Two files that hold the same connection, by endpoints and initial sequence number, and do not agree on
what it says, or that hold two connections between the same endpoints at once, were captured in different places, where
the same addresses are other machines: laboratories, containers, tests that always begin with the same numbers. Nothing
of the one may be joined with anything of the other.

Looked at are the first LOOK octets of each file, if there are several: a file is read twice as far as that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import Interface
from socks5sniff.capture.reader import CaptureReader
from socks5sniff.capture.remote import is_url
from socks5sniff.capture.source import STANDARD_INPUT, Input, Source
from socks5sniff.errors import Socks5sniffError
from socks5sniff.packets.columns import Segments, TcpFlag
from socks5sniff.packets.reader import PacketReader
from socks5sniff.streams.heads import marks, windows

LOOK = 1 << 20
"""Octets of a file that are looked at: some thousand packets, of laboratories' files mostly all."""
MAX_ROWS = 1 << 21
"""Packets that are remembered, 100 octets each; the files behind are taken to fit."""
EARLY = 4096
"""Octets of a direction from its SYN on that are compared: dialogues differ there, if they do."""
APART = 60_000_000_000
"""Nanoseconds by which two clocks may differ about one connection; what is further apart may be another one."""
AT_ONCE = 1_000_000_000
"""The same for packets whose connection's beginning was not seen: sequence numbers come again, at 10 Gb/s after 3 s."""

Fact = tuple[int, ...]
"""What files may say different things about."""


class _Rows(NamedTuple):
    """TCP segments as columns.

    Attributes:
        file: place of the file among the names.
        low, high, way: the connection and the direction.
        sequence: of the first octet of a payload or of a SYN; of a FIN, that behind its last octet.
        time: ns.
        kind: SYN, SAYS, ENDS or NOTHING.
        captured: octets of a payload.
        short: the first SHORT of them.
        mark: a number for the first octets, see `HeadRows.marks`.
    """

    file: NDArray[np.int64]
    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    way: NDArray[np.uint8]
    sequence: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.uint8]
    captured: NDArray[np.int64]
    short: NDArray[np.uint8]
    mark: NDArray[np.uint64]

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.file)

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> _Rows:
        """Some of them."""
        return _Rows._make(column[chosen] for column in self)


SYN, SAYS, ENDS, NOTHING = range(4)
_SHORT = 16


def places(names: Sequence[Input]) -> list[list[Input]]:
    """The captures of each place, in the order of the names; one list where all fit together."""
    if len(names) < 2:
        return [list(names)]
    parts: list[_Rows] = []
    reader, interfaces = PacketReader(), list[Interface]()
    size = 0
    for number, name in enumerate(names):
        if isinstance(name, str) and name != STANDARD_INPUT and not is_url(name):
            fresh = [*_beginning(number, name, reader, interfaces)]
            parts += fresh
            size += sum(part.size for part in fresh)
        if size > MAX_ROWS:
            break
    facts: list[dict[Fact, int]] = [{} for _ in names]
    if parts:
        rows = _of_several(_joined(parts))
        first = _firsts(rows)
        for number, fact, value in (*_octets(rows, first), *_connections(rows, first)):
            facts[number].setdefault(fact, value)
    if not any(facts):
        return [list(names)]
    return [[names[number] for number in each] for each in _grouped(facts)]


def _grouped(facts: Sequence[dict[Fact, int]]) -> list[list[int]]:
    """Files by place: each goes where it contradicts nothing, and fits best."""
    groups: list[tuple[dict[Fact, int], list[int]]] = []
    for number, mine in enumerate(facts):
        fitting = [
            (-sum(fact in known for fact in mine), place)
            for place, (known, _) in enumerate(groups)
            if all(known.get(fact, value) == value for fact, value in mine.items())
        ]
        if fitting:
            known, members = groups[min(fitting)[1]]
            known.update(mine)
            members.append(number)
        else:
            groups.append((dict(mine), [number]))
    return [members for _, members in groups]


def _beginning(number: int, name: str, reader: PacketReader, interfaces: list[Interface]) -> Iterator[_Rows]:
    """The TCP segments of a file's first octets; what is wrong with it, its reading will tell."""
    try:
        source = Source(name)
        for batch in CaptureReader(source, interfaces, [], LOOK).batches():
            yield _rows(number, reader.read(batch)[0])
            if source.consumed >= LOOK:
                return
    except Socks5sniffError:
        return


def _rows(number: int, segments: Segments) -> _Rows:
    flags, captured = segments.flags, segments.captured
    # A single octet may be a keep-alive's, which is any (RFC 9293 s3.8.4).
    says = (captured > 1) & ((flags & TcpFlag.RST) == 0)
    kind = np.where(flags & TcpFlag.SYN, SYN, np.where(says, SAYS, NOTHING))
    ends = np.flatnonzero(flags & TcpFlag.FIN)
    swapped = segments.source > segments.destination
    sequence = segments.sequence.astype(np.int64)
    short = windows(segments, segments.payload, captured)
    found = _Rows(
        np.full(len(segments), number),
        np.where(swapped, segments.destination, segments.source),
        np.where(swapped, segments.source, segments.destination),
        swapped.astype(np.uint8),
        sequence,
        segments.time,
        kind.astype(np.uint8),
        captured,
        short[:, :_SHORT].copy(),
        marks(short, captured),
    )
    fins = found.take(ends)._replace(
        kind=np.full(len(ends), ENDS, np.uint8),
        sequence=(sequence[ends] + segments.length[ends]) & 0xFFFFFFFF,
    )
    return _joined([found, fins])


def _joined(parts: list[_Rows]) -> _Rows:
    return _Rows._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _of_several(rows: _Rows) -> _Rows:
    """The rows of connections that are in several files; a direction's together, file by file."""
    order = np.lexsort((rows.time, rows.file, rows.way, rows.high, rows.low))
    rows = rows.take(order)
    starts = _runs(rows.low, rows.high)
    length = np.diff(np.append(starts, rows.size))
    most = np.maximum.reduceat(rows.file, starts) if rows.size else rows.file
    least = np.minimum.reduceat(rows.file, starts) if rows.size else rows.file
    return rows.take(np.repeat(most > least, length))


def _runs(*keys: NDArray[np.generic]) -> NDArray[np.intp]:
    """Where runs of equal rows begin."""
    changes = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(np.concatenate((np.ones(min(len(keys[0]), 1), np.bool_), changes)))


def _firsts(rows: _Rows) -> NDArray[np.int64]:
    """The sequence number of the first SYN that each row's file has of its direction, -1 for none."""
    starts = _runs(rows.low, rows.high, rows.way, rows.file)
    at = np.where(rows.kind == SYN, np.arange(rows.size), rows.size)
    if not rows.size:
        return at
    earliest = np.minimum.reduceat(at, starts)
    found = np.where(earliest < rows.size, rows.sequence[np.minimum(earliest, rows.size - 1)], -1)
    return np.repeat(found, np.diff(np.append(starts, rows.size)))


def _octets(rows: _Rows, first: NDArray[np.int64]) -> Iterator[tuple[int, Fact, int]]:
    """Where files do not agree on what comes at a place of a direction: file, place, and a number for what it says."""
    early = (first < 0) | ((rows.sequence - first) & 0xFFFFFFFF < EARLY)
    chosen = np.flatnonzero(early & ((rows.kind == SAYS) | (rows.kind == ENDS)))
    rows, first = rows.take(chosen), first[chosen]
    order = np.lexsort((rows.file, rows.sequence, first, rows.way, rows.high, rows.low))
    rows, first = rows.take(order), first[order]
    starts = _runs(rows.low, rows.high, rows.way, first, rows.sequence)
    ends = np.append(starts[1:], rows.size)
    several = np.flatnonzero(rows.file[ends - 1] != rows.file[starts]) if rows.size else starts
    for place in several.tolist():
        begin, end = int(starts[place]), int(ends[place])
        limit = APART if first[begin] >= 0 else AT_ONCE
        near = begin + np.flatnonzero(np.abs(rows.time[begin:end] - rows.time[begin]) <= limit)
        values = _values(rows.take(near))
        if len(set(values)) > 1:
            yield from zip(rows.file[near].tolist(), [(place,)] * len(values), values, strict=True)


def _values(rows: _Rows) -> list[int]:
    """Numbers for what rows say that begin at one place: equal where one says the beginning of what the other says."""
    says = rows.kind == SAYS
    lengths = np.unique(rows.captured[says])
    if len(lengths) == 1:
        numbers: list[int] = np.where(says, (rows.mark >> np.uint64(1)).astype(np.int64), -1).tolist()
        return numbers
    size = min(int(lengths[0]), _SHORT) if len(lengths) else 0
    known: dict[bytes, int] = {}
    return [
        known.setdefault(octets.tobytes(), len(known)) if speaks else -1
        for octets, speaks in zip(rows.short[:, :size], says.tolist(), strict=True)
    ]


def _connections(rows: _Rows, first: NDArray[np.int64]) -> Iterator[tuple[int, Fact, int]]:
    """Connections between the same endpoints, in different files at the same time, that are not the same."""
    began = np.flatnonzero(first >= 0)
    rows, first = rows.take(began), first[began]
    if not rows.size:
        return
    starts = _runs(rows.low, rows.high, rows.way, rows.file)
    until = np.maximum.reduceat(rows.time, starts).tolist()
    numbers = np.where(rows.kind == SYN, rows.sequence, first).tolist()
    bounds = np.append(starts, rows.size).tolist()
    lives: defaultdict[Fact, list[Life]] = defaultdict(list)
    for place, (file, low, high, way, begin, end) in enumerate(
        zip(*(column[starts].tolist() for column in rows[:4]), rows.time[starts].tolist(), until, strict=True)
    ):
        firsts = frozenset(numbers[bounds[place] : bounds[place + 1]])
        lives[low, high, way].append(Life(file, firsts, begin, end))
    for key, each in lives.items():
        yield from ((life.file, key, min(life.firsts)) for life in contradicting(each))


class Life(NamedTuple):
    """What a file has between two endpoints: the first sequence numbers of one direction, and when it was."""

    file: int
    firsts: frozenset[int]
    begin: int
    end: int


def contradicting(lives: Iterable[Life]) -> list[Life]:
    """Those of which another cannot be the same, nor one before or after it: at once, and with other numbers.

    They are taken in the order of their beginnings. Of lives with equal numbers only the longest can contradict one
    that comes, and one that is known to contradict need not be looked at again: many files cost as much as they are.
    """
    found: list[Life] = []
    until: dict[frozenset[int], int] = {}
    calm: dict[frozenset[int], list[Life]] = {}
    """Those that contradict nothing so far."""
    many = 64
    for life in sorted(lives, key=lambda life: life.begin):
        if len(until) >= many:
            until = {firsts: end for firsts, end in until.items() if end >= life.begin}
            calm = {firsts: same for firsts, same in calm.items() if firsts in until}
            many = max(64, 2 * len(until))
        others = [firsts for firsts in calm if firsts.isdisjoint(life.firsts)]
        for firsts in others:
            found += [other for other in calm.pop(firsts) if other.end >= life.begin]
        if any(end >= life.begin and firsts.isdisjoint(life.firsts) for firsts, end in until.items()):
            found.append(life)
        else:
            calm.setdefault(life.firsts, []).append(life)
        until[life.firsts] = max(until.get(life.firsts, life.end), life.end)
    return found
