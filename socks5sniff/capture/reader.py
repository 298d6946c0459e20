"""One capture, from its octets to its batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import DamagedInputError, InputError
from .batch import FrameBatch, Interface
from .chain import SLACK
from .decode import DamageError, Decoder
from .formats import foreign
from .pcap import PcapDecoder, is_pcap
from .pcapng import SECTION, PcapngDecoder
from .source import Source

REGION = 8 << 20
"""Octets read at a time: about 10,000 full frames. Read into the same memory again and again, so that a capture of
any size takes no more than this (and a mapped file that someone truncates would end the process)."""


def batches(source: Source, interfaces: list[Interface], region: int = REGION) -> Iterator[FrameBatch]:
    """The frames of one capture, in file order, numbered from 1.

    Args:
        source: the capture's octets; closed when the iterator ends or is closed.
        interfaces: the list that the batches share; the capture's interfaces are added to it.
        region: octets read at a time.

    Raises:
        InputError: it is not a capture.
        DamagedInputError: it is damaged or truncated; all whole frames before the fault have been given.
    """
    if source.total is not None and source.compression is None:
        region = min(region, source.total + 1)
    memory = bytearray(region + SLACK)
    begin = end = 0
    passed = 0
    number = 1
    decoder: Decoder | None = None
    try:
        while True:
            got = source.readinto(memoryview(memory)[end : len(memory) - SLACK])
            end += got
            if decoder is None:
                if got and end < 4:
                    continue
                decoder = _decoder(source, bytes(memory[:end]), interfaces)
            octets = np.frombuffer(memory, np.uint8)
            for batch in decoder.batches(memory, octets, begin, end):
                batch.first_number = number
                number += len(batch)
                yield batch
            begin = decoder.rest
            if not got:
                if begin < end:
                    raise DamageError(_cut(decoder.needed(memory, begin, end), end - begin), begin)
                return
            size = decoder.needed(memory, begin, end) if begin < end else 0
            old, kept = memory, end - begin
            if size > len(memory) - SLACK:
                # A new memory, not a longer one: someone may still hold views of the old one.
                memory = bytearray(size + SLACK)
            memory[:kept] = old[begin:end]
            passed += begin
            begin, end = 0, kept
    except DamageError as damage:
        position = begin if damage.position is None else damage.position
        raise DamagedInputError(source.name, passed + position, number, damage.what) from None
    finally:
        source.close()


def _decoder(source: Source, head: bytes, interfaces: list[Interface]) -> Decoder:
    if is_pcap(head):
        return PcapDecoder(source.name, interfaces)
    if head.startswith(SECTION):
        return PcapngDecoder(source.name, interfaces)
    packed = f"{source.compression} of something that " if source.compression else ""
    raise InputError(f"{source.name}: not a pcap or pcapng capture: {packed}{foreign(head)}")


def _cut(size: int, have: int) -> str:
    return f"truncated: the input ends {have:,} octets into a record of {'at least ' * (have < 12)}{size:,}"
