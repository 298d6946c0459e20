"""The captures of the benchmark that are copies of real dialogues, and the one of flows without a beginning.

- `dialogues`: all of `captures/` and of `tests/benchmarks/foreign/`, copied and interleaved: 12,000 conversations.
- `slow`: the same, each dialogue spread over the whole file, so that all are open at once.
- `lossy`: the first again, 1 % of its packets lost and 1 % swapped with the next of their dialogue.
- `mixed`: a million packets of public captures, 1 % of them those of dialogues.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import pcap
from .originals import Addresses, Original, copies, load

NAMES = ("dialogues", "slow", "lossy", "mixed")
SIZES = {"dialogues": 12_000, "slow": 12_000, "lossy": 12_000, "mixed": 1_000_000}
"""Conversations; of `mixed`, packets."""

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ROOT.parent / "shared" / "captures" / "ndpi"
"""Public captures beside the checkout, which are not part of the project."""

_SOCKS = re.compile(r"socks|^tls_heur__")
"""Public captures with SOCKS conversations in them, which `mixed` does without."""
_FOREIGN = Path(__file__).with_name("foreign")
_SECOND = 1_000_000_000
_SPREAD = 60 * _SECOND
"""Dialogues begin evenly over this time and keep their own pace."""
_SLOW = 8 * _SECOND
"""`slow` ones all go on so long: few packets, so short that no pause between two of them says anything."""
_LOST = _SWAPPED = 0.01
_SHARE = 0.01
_BATCH = 65_536


class Copied(NamedTuple):
    """Copies of originals as packets, ordered by copy, in each copy as in the original.

    Attributes:
        octets: uint8: where the frames lie; begin, captured, length, time: int64[n], as in `Original`.
        copy: int64[n]: the copy that a packet belongs to, 0 to the number of originals - 1.
        position: int64[n]: its place in that copy, from 0.
    """

    octets: NDArray[np.uint8]
    begin: NDArray[np.int64]
    captured: NDArray[np.int64]
    length: NDArray[np.int64]
    time: NDArray[np.int64]
    copy: NDArray[np.int64]
    position: NDArray[np.int64]


def available(name: str) -> bool:
    """Whether it can be made here."""
    return name != "mixed" or PUBLIC.is_dir()


def originals() -> list[Original]:
    """The dialogues that the project holds: of its scenarios and of foreign programs."""
    counts = json.loads((_FOREIGN / "conversations.json").read_text(encoding="utf-8"))
    found = [load(_FOREIGN / name, count) for name, count in sorted(counts.items())]
    for path in sorted((ROOT / "captures").glob("*.pcapng")):
        truth = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found.append(load(path, len(truth["conversations"])))
    return [original for original in found if original is not None]


def write(name: str, path: Path, size: int, seed: int, start: int) -> int:
    """Write the capture to `path`; the number of SOCKS conversations in what was copied.

    Args:
        size: conversations, `mixed`: packets.
        start: nanoseconds since 1970 at which the first dialogue begins.
    """
    draw = np.random.default_rng(seed)
    given = Addresses()
    if name == "mixed":
        return _write_mixed(path, size, given, draw, start)
    chosen = _until(originals(), size, draw, lambda original: original.conversations)
    packets = _copy(chosen, given, draw)
    time = _slow(packets, draw) if name == "slow" else _own_pace(packets)
    if name == "lossy":
        packets, time = _impaired(packets, time, draw)
    _save(path, [packets], [time + start])
    return sum(original.conversations for original in chosen)


def _write_mixed(path: Path, size: int, given: Addresses, draw: np.random.Generator, start: int) -> int:
    captures = sorted(capture for capture in PUBLIC.iterdir() if not _SOCKS.search(capture.name))
    public = [original for original in (load(capture, 0) for capture in captures) if original is not None]
    own = int(size * _SHARE)
    others = _copy(_until(public, size - own, draw, len), given, draw)
    chosen = _until(originals(), own, draw, len)
    dialogues = _copy(chosen, given, draw)
    _save(path, [others, dialogues], [start + _own_pace(others, _SPREAD), start + _own_pace(dialogues)])
    return sum(original.conversations for original in chosen)


def _until(
    found: list[Original], size: int, draw: np.random.Generator, weight: Callable[[Original], int]
) -> list[Original]:
    """The originals again and again, each round in another order, until their weights come to `size`."""
    chosen: list[Original] = []
    while True:
        for number in draw.permutation(len(found)):
            if size <= 0:
                return chosen
            chosen.append(found[number])
            size -= weight(found[number])


def _copy(chosen: list[Original], given: Addresses, draw: np.random.Generator) -> Copied:
    """A copy of each of the originals, in this order."""
    rows: dict[int, list[int]] = {}
    for row, original in enumerate(chosen):
        rows.setdefault(id(original), []).append(row)
    parts: list[NDArray[np.uint8]] = []
    columns: list[NDArray[np.int64]] = []
    end = 0
    for numbers in rows.values():
        original = chosen[numbers[0]]
        count, size = len(numbers), len(original.octets)
        parts.append(copies(original, count, given, draw).reshape(-1))
        begin = end + np.arange(count)[:, None] * size + original.begin
        end += count * size
        every = [np.tile(column, count) for column in (original.captured, original.length, original.time)]
        position = np.tile(np.arange(len(original)), count)
        columns.append(np.stack([begin.reshape(-1), *every, np.repeat(numbers, len(original)), position]))
    table = np.concatenate(columns, axis=1)
    table = table[:, np.argsort(table[4], kind="stable")]
    return Copied(np.concatenate(parts), *table)


def _own_pace(packets: Copied, longest: int | None = None) -> NDArray[np.int64]:
    """Times from 0, each copy at its own pace; copies that last longer than `longest` are made as long."""
    time = packets.time
    if longest is not None:
        lasts = np.zeros(int(packets.copy[-1]) + 1, np.int64)
        np.maximum.at(lasts, packets.copy, time)
        time = (time * np.minimum(1, longest / np.maximum(lasts, 1))[packets.copy]).astype(np.int64)
    return time + packets.copy * (_SPREAD // (int(packets.copy[-1]) + 1))


def _slow(packets: Copied, draw: np.random.Generator) -> NDArray[np.int64]:
    """Times from 0: all copies begin in the first half second, in their order, and end in the last ones of the file."""
    count = int(packets.copy[-1]) + 1
    sizes = np.bincount(packets.copy, minlength=count)[packets.copy]
    share = (packets.position - 1 + draw.random(len(packets.copy))) / np.maximum(sizes - 1, 1)
    later = _SECOND // 2 + (share * (_SLOW - _SECOND // 2)).astype(np.int64)
    return np.where(packets.position == 0, packets.copy * (_SECOND // 2 // count), later)


def _impaired(packets: Copied, time: NDArray[np.int64], draw: np.random.Generator) -> tuple[Copied, NDArray[np.int64]]:
    """Some packets lost, some that come where the next one of their copy should."""
    swapped = np.flatnonzero((draw.random(len(time) - 1) < _SWAPPED) & (packets.copy[1:] == packets.copy[:-1]))
    swapped = swapped[np.diff(swapped, prepend=-2) > 1]
    order = np.arange(len(time))
    order[swapped], order[swapped + 1] = swapped + 1, swapped
    kept = np.flatnonzero(draw.random(len(time)) >= _LOST)
    columns = [column[order][kept] for column in packets[1:]]
    return Copied(packets.octets, *columns), time[kept]


def _save(path: Path, parts: list[Copied], times: list[NDArray[np.int64]]) -> None:
    """Write packets in order of time as a pcap file."""
    starts = np.cumsum([0, *(len(part.octets) for part in parts)])
    octets = np.concatenate([part.octets for part in parts])
    begin = np.concatenate([part.begin + start for part, start in zip(parts, starts, strict=False)])
    captured, length = (np.concatenate([part[column] for part in parts]) for column in (2, 3))
    time = np.concatenate(times)
    in_time = np.argsort(time, kind="stable")
    with path.open("wb") as file:
        file.write(pcap.FILE_HEADER)
        for at in range(0, len(in_time), _BATCH):
            rows = in_time[at : at + _BATCH]
            file.write(pcap.records(octets, begin[rows], captured[rows], length[rows], time[rows]).data)
