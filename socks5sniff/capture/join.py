"""Small batches put together, so that what comes behind is not called for every few frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .batch import FrameBatch
from .decode import DamageError


def joined(batches: Iterable[FrameBatch], small: int, most: int) -> Iterator[FrameBatch]:
    """Batches of one memory; those with fewer than `small` frames are put together, up to `most`.

    A fault comes behind all frames before it.
    """
    waiting: list[FrameBatch] = []
    count = 0
    fault: DamageError | None = None
    steps = iter(batches)
    while True:
        try:
            batch = next(steps, None)
        except DamageError as damage:
            batch, fault = None, damage
        if batch is not None and len(batch) < small and count + len(batch) <= most:
            waiting.append(batch)
            count += len(batch)
            continue
        if waiting:
            yield one_after_another(waiting)
            waiting, count = [], 0
        if batch is None:
            break
        if len(batch) < small:
            waiting, count = [batch], len(batch)
        else:
            yield batch
    if fault is not None:
        raise fault


def one_after_another(batches: Sequence[FrameBatch]) -> FrameBatch:
    """Batches of one memory as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    return FrameBatch(
        octets=first.octets,
        offset=np.concatenate([batch.offset for batch in batches]),
        captured=np.concatenate([batch.captured for batch in batches]),
        length=np.concatenate([batch.length for batch in batches]),
        time=np.concatenate([batch.time for batch in batches]),
        first_number=first.first_number,
        interface=np.concatenate([batch.interface for batch in batches]),
        interfaces=first.interfaces,
        process=_processes(batches),
        processes=first.processes,
    )


def in_one_memory(batches: Sequence[FrameBatch]) -> FrameBatch:
    """Batches of several memories as one, their octets copied into a new memory."""
    pieces = []
    size = 0
    for batch in batches:
        low = int(batch.offset.min())
        pieces.append(batch.octets[low : int((batch.offset + batch.captured).max())])
        batch.offset = batch.offset + (size - low)
        size += len(pieces[-1])
    batches[0].octets = np.concatenate(pieces)
    return one_after_another(batches)


def rows_of(batch: FrameBatch, rows: slice | NDArray[np.intp]) -> FrameBatch:
    """Some rows of a batch."""
    return FrameBatch(
        octets=batch.octets,
        offset=batch.offset[rows],
        captured=batch.captured[rows],
        length=batch.length[rows],
        time=batch.time[rows],
        first_number=batch.first_number,
        interface=batch.interface[rows],
        interfaces=batch.interfaces,
        process=None if batch.process is None else batch.process[rows],
        processes=batch.processes,
    )


def _processes(batches: Sequence[FrameBatch]) -> NDArray[np.int32] | None:
    """The processes of several batches' frames."""
    if all(batch.process is None for batch in batches):
        return None
    return np.concatenate(
        [np.zeros(len(batch), np.int32) if batch.process is None else batch.process for batch in batches]
    )
