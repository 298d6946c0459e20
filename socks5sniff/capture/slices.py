"""One large plain file in slices that several processes read, each from a record header on.

Where a slice may begin is guessed: payload can hold what looks like a record. What counts is where the slice before it
ended, which whoever read that one tells; a slice that began elsewhere has to be read again from there.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from ..errors import DamagedInputError, InputError
from .batch import FrameBatch, Interface
from .chain import RECORD_LIMIT, SLACK, Layout, Memory, chain
from .decode import DamageError
from .pcap import PcapDecoder, is_pcap
from .pcapng import SECTION, PcapngDecoder
from .reader import REGION, cut_short

Decoder = PcapDecoder | PcapngDecoder

_HEAD = 64 << 10
"""Octets of a file in which everything lies that later frames need to be understood; where not, slices tell."""
_REACH = (256 << 10, 4 << 20)
"""Octets that are searched for a record header."""
_SMALL = 64
"""Octets of a small record: a file that with nothing but these would be too short to be cut is not looked at."""
_LINKED = 16
"""Records in a row that are believed."""


class Slice(NamedTuple):
    """A part of a plain file: records that begin in it.

    Attributes:
        name: the file's.
        begin, end: octets; a record header lies at `begin`, or the file's begins.
        decoder: what is known of the file by then; None at its beginning.
    """

    name: str
    begin: int
    end: int
    decoder: Decoder | None = None


class Read(NamedTuple):
    """What reading a slice came to.

    Attributes:
        rest: where the first record behind it begins.
        decoder: what is known of the file by then.
        fault: what the file ends with, the frame counted from the slice's beginning.
    """

    rest: int
    decoder: Decoder
    fault: DamagedInputError | None


def slices(name: str, size: int, frames: int) -> list[Slice]:
    """A file in slices that are about equal; one where it cannot be cut.

    Args:
        size: octets that are enough for one.
        frames: the same, as far as the middle of the file tells how large its frames are.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(name, "rb") as file:
            total = os.fstat(file.fileno()).st_size
            found = [Slice(name, 0, total)]
            if total < 2 * min(size, frames * _SMALL):
                return found
            decoder = _known(name, file)
            if decoder is None or decoder.layout is None:
                return found
            count = max(total // min(size, frames * _mean(file, total // 2, decoder)), 1)
            for number in range(1, count):
                begin = _record(file, total * number // count, decoder)
                if begin is not None and begin > found[-1].begin:
                    found[-1] = found[-1]._replace(end=begin)
                    found.append(Slice(name, begin, total, decoder))
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    return found


def last_time(part: Slice) -> int:
    """The latest time of the last frames of a slice, ns, as far as they can be found without reading all of it."""
    decoder = part.decoder
    found = 0
    with open(part.name, "rb", buffering=0) as file:
        decoder = decoder or _known(part.name, file)
        start = None if decoder is None else _record(file, max(part.end - _REACH[0], part.begin), decoder)
        if decoder is None or start is None:
            return found
        file.seek(start)
        memory = bytearray(part.end - start + SLACK)
        have = _fill(file, memory, 0, len(memory) - SLACK)
        decoder = pickle.loads(pickle.dumps(decoder))
        try:
            for batch in decoder.batches(memory, np.frombuffer(memory, np.uint8), 0, have):
                found = max(found, int(batch.time.max()))
        except DamageError:
            pass
    return found


def room(part: Slice) -> int:
    """Octets of memory that `read` needs."""
    return part.end - part.begin + SLACK


def read(part: Slice, interfaces: list[Interface], memory: Memory) -> Iterator[FrameBatch | Read]:
    """The frames of a slice, and at last what it came to.

    Args:
        part: the slice.
        interfaces: the list that its frames refer to; the file's interfaces are added to it.
        memory: where the frames are to lie, of `room` octets at least.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(part.name, "rb", buffering=0) as file:
            yield from _read(part, interfaces, file, memory)
    except OSError as error:
        raise InputError(f"{part.name}: cannot be read: {error.strerror or error}") from None


def _read(part: Slice, interfaces: list[Interface], file: BinaryIO, memory: Memory) -> Iterator[FrameBatch | Read]:
    file.seek(part.begin)
    total = part.end - part.begin
    have = _fill(file, memory, 0, min(REGION, total))
    decoder = part.decoder or _decoder(part.name, bytes(memory[:4]), interfaces)
    if part.decoder is not None:
        decoder.go_on(interfaces)
    begin, fault, frames = 0, None, 0
    try:
        while True:
            for batch in decoder.batches(memory, np.frombuffer(memory, np.uint8), begin, have):
                frames += len(batch)
                yield batch
            begin = decoder.rest
            if begin >= part.end - part.begin:
                break
            more = _fill(file, memory, have, min(have + REGION, total))  # a region at a time, that is in the cache
            if more > have:
                have = more
                continue
            # The last record ends behind the slice.
            needed = decoder.needed(memory, begin, have)
            memory = bytearray(memory[begin:have]) + bytes(max(needed - (have - begin), 0) + SLACK)
            part = part._replace(begin=part.begin + begin)
            begin, have = 0, _fill(file, memory, have - begin, len(memory) - SLACK)
            total = have
            if have < needed:
                raise DamageError(cut_short(needed, have), 0)
    except DamageError as damage:
        position = begin if damage.position is None else damage.position
        fault = DamagedInputError(part.name, part.begin + position, frames + 1, damage.what)
    yield Read(part.begin + begin, decoder, fault)


def _fill(file: BinaryIO, memory: Memory, have: int, until: int) -> int:
    view = memoryview(memory)[:until]
    while have < len(view):
        count = file.readinto(view[have:])  # type: ignore[attr-defined]
        if not count:
            break
        have += count
    return have


def _decoder(name: str, head: bytes, interfaces: list[Interface]) -> Decoder:
    if is_pcap(head):
        return PcapDecoder(name, interfaces)
    assert head.startswith(SECTION), "slices are made of captures"
    return PcapngDecoder(name, interfaces)


def _known(name: str, file: BinaryIO) -> Decoder | None:
    """What the beginning of a file tells of the rest; None where it is no capture."""
    memory = bytearray(_HEAD + SLACK)
    have = _fill(file, memory, 0, _HEAD)
    head = bytes(memory[:4])
    if not is_pcap(head) and head != SECTION:
        return None
    decoder = _decoder(name, head, [])
    try:
        for _ in decoder.batches(memory, np.frombuffer(memory, np.uint8), 0, have):
            pass
    except DamageError:
        return None
    return decoder


def _mean(file: BinaryIO, at: int, decoder: Decoder) -> int:
    """Octets of a record, as those behind `at` have it; the largest that is believed where none is found there."""
    begin = _record(file, at, decoder)
    if begin is None:
        return RECORD_LIMIT
    assert decoder.layout is not None
    file.seek(begin)
    memory = bytearray(_REACH[0] + SLACK)
    have = _fill(file, memory, 0, _REACH[0])
    starts, rest = chain(memory, 0, have, decoder.layout, decoder.mark)
    return rest // max(len(starts), 1) or RECORD_LIMIT


def _record(file: BinaryIO, at: int, decoder: Decoder) -> int | None:
    """Where a record begins at `at` or behind it."""
    for reach in _REACH:
        file.seek(at)
        memory = bytearray(reach + SLACK)
        have = _fill(file, memory, 0, reach)
        assert decoder.layout is not None
        found = _linked(memory, have, decoder.layout, decoder.mark)
        if found is not None:
            return at + found
    return None


def _linked(memory: Memory, end: int, layout: Layout, mark: bytes) -> int | None:
    place = memory.find(mark, 0, end)
    while place >= 0:
        start = at = place - layout.mark_at
        count = 0
        while start >= 0 and count < _LINKED and at + layout.least <= end:
            size = layout.size(memory, at)
            there = memory[at + layout.mark_at : at + layout.mark_at + layout.mark_size] == mark
            if not there or not layout.least <= size <= RECORD_LIMIT or at + size > end:
                break
            at += size
            count += 1
        if count == _LINKED:
            return start
        place = memory.find(mark, place + 1, end)
    return None
