"""Whatever a capture is cut into, and wherever: the records are those of one reading, ids and order included."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import pytest

from socks5sniff.archive.sequel import Asks, Sequel
from socks5sniff.archive.stretch import Outline, Settings, Stretch
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.sinks import Options
from socks5sniff.sinks.json_lines import JsonLinesSink
from tests.analysis.test_net import CAPTURES, REPORTED, cut, lines, whole

SETTINGS = Settings(udp_frames=True)


def analysed(frames: Sequence[FrameBatch]) -> Stretch:
    stretch = Stretch(SETTINGS)
    stretch.read(frames)
    return stretch


def again(stretch: Stretch) -> Stretch:
    return pickle.loads(pickle.dumps(stretch))


def read(stretches: Sequence[Sequence[FrameBatch]]) -> list[str]:
    """What `jsonl` prints of a capture that is cut into these stretches."""
    out = StringIO()
    sink = JsonLinesSink(out, Options())
    sequel = Sequel(SETTINGS)
    read_ = [analysed(frames) for frames in stretches]
    outlines: list[Outline] = [pickle.loads(pickle.dumps(stretch.outline())) for stretch in read_]
    for place, (stretch, outline) in enumerate(zip(read_, outlines, strict=True)):
        if not sequel.fits(outline):
            stretch = Stretch(SETTINGS, sequel.flows.clock)
            stretch.read(stretches[place])
            outline = stretch.outline()
        asks = Asks(stretch.packets, stretch.state, stretch.every_datagram)
        order = sequel.take_stretch(outline, outlines[place + 1 :], asks)
        for batch in sequel.take_inner(pickle.loads(pickle.dumps(stretch.finish(order)))):
            sink.records(batch)
    for batch in sequel.finish():
        sink.records(batch)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("path", CAPTURES + REPORTED, ids=lambda path: path.name)
def test_cut_at_every_kth_packet(path: Path) -> None:
    frames = whole(path)
    expected = lines(frames)
    for size in (1, 2, 7, 50):
        if sum(map(len, frames)) / size < 300:
            assert read([[batch] for batch in cut(frames, size)]) == expected, f"every {size} packets"


def parts(frames: Sequence[FrameBatch], count: int) -> Iterator[list[FrameBatch]]:
    size = sum(map(len, frames)) // count + 1
    for batch in cut(list(frames), size):
        yield [batch]
