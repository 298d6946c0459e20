"""One file in slices: the same frames, wherever it is cut."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from socks5sniff.capture import slices as slices_module
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.slices import Read, Slice, read, room, slices
from tests.capture.samples import START, Frame, pcap

CAPTURES = sorted((Path(__file__).resolve().parents[2] / "captures").glob("*.pcap*"))


def rows_of(batch: FrameBatch) -> list[tuple[bytes, int, int, int]]:
    return [
        (batch.frame(row), int(batch.time[row]), int(batch.length[row]), batch.interfaces[number].link_type)
        for row, number in enumerate(batch.interface.tolist())
    ]


def frames_of(path: Path) -> list[tuple[bytes, int, int, int]]:
    return [
        told for batch in open_captures([str(path)]) for told in rows_of(batch)
    ]


@pytest.mark.parametrize("path", CAPTURES[::3], ids=lambda path: path.name)
def test_slices_have_the_file_s_frames(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices_module, "_LINKED", 2)
    expected = frames_of(path)
    parts = slices(str(path), 700, 1 << 30)
    found = []
    rest, decoder = 0, None
    for part in parts:
        if part.begin < rest:
            continue
        if part.begin != rest or decoder is not None:
            part = part._replace(begin=rest, decoder=decoder)
        for step in read(pickle.loads(pickle.dumps(part)), [], bytearray(room(part))):
            if isinstance(step, Read):
                assert step.fault is None
                rest, decoder = step.rest, step.decoder
            else:
                found += rows_of(step)
    assert found == expected
    assert rest == path.stat().st_size
    assert len(parts) > 1 or path.stat().st_size < 2_000


@pytest.mark.parametrize("frame", [60, 1400])
def test_slices_are_about_equal_and_hold_so_many_frames_at_most(tmp_path: Path, frame: int) -> None:
    """What a worker knows of many small frames takes more memory than these do."""
    path = tmp_path / "frames.pcap"
    path.write_bytes(pcap([Frame(START + number * 1000, bytes(frame)) for number in range(4000)]))
    total = path.stat().st_size
    parts = slices(str(path), total // 3, 1000)
    assert len(parts) == 4
    assert all(abs(part.end - part.begin - total / 4) < 2 * frame for part in parts)
    assert len(slices(str(path), total // 3, 1 << 30)) == 3
    assert len(slices(str(path), total + 1, 1 << 30)) == 1


def test_a_file_too_short_to_be_cut_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ring of thousands of files each would be read in three places."""
    path = tmp_path / "frames.pcap"
    path.write_bytes(pcap([Frame(START, bytes(60))] * 1000))
    total = path.stat().st_size
    monkeypatch.setattr(slices_module, "_known", None)
    assert slices(str(path), total // 2 + 1, 1000) == [Slice(str(path), 0, total)]
