"""Several captures in one reading come in time order, each in its own order, numbered through."""

from __future__ import annotations

import gzip
import heapq
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.capture import merge, open_captures
from socks5sniff.capture.position import Halts, Position
from socks5sniff.errors import DamagedInputError, InputError, NotACaptureError

from .samples import SECOND, START, Frame, Row, frames, full, pcap, pcapng, plain, read


def picked_one_by_one(files: list[list[Frame]]) -> list[Frame]:
    """The rule itself: of the next frames of all files the earliest, the first file's where times are equal."""
    heap = [(content[0].time, place, 0) for place, content in enumerate(files) if content]
    heapq.heapify(heap)
    out = []
    while heap:
        _, place, row = heapq.heappop(heap)
        out.append(files[place][row])
        if row + 1 < len(files[place]):
            heapq.heappush(heap, (files[place][row + 1].time, place, row + 1))
    return full(out)


def save(folder: Path, files: list[list[Frame]]) -> list[Path]:
    paths = []
    for place, content in enumerate(files):
        paths.append(folder / f"{place}.cap")
        paths[-1].write_bytes((pcap, pcapng)[place % 2](content))
    return paths


def steps(times: list[int], place: int) -> list[Frame]:
    return [Frame(START + time * 1000, bytes([place, row % 256])) for row, time in enumerate(times)]


@given(
    st.lists(st.lists(st.integers(-5, 40), max_size=60), min_size=2, max_size=5),
    st.sampled_from(["sorted", "as they are", "equal"]),
    st.integers(100, 700),
)
@settings(max_examples=150, deadline=None)
def test_equals_picking_the_earliest_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, times: list[list[int]], how: str, region: int
) -> None:
    if how == "sorted":
        times = [sorted(each) for each in times]
    if how == "equal":
        times = [each[:1] * len(each) for each in times]
    files = [steps(each, place) for place, each in enumerate(times)]
    paths = save(tmp_path_factory.getbasetemp(), files)
    with pytest.MonkeyPatch.context() as patch:
        # Small reads, so that batches end everywhere.
        patch.setattr(merge, "REGION", region)
        patch.setattr(merge, "_LEAST_REGION", 100)
        patch.setattr(merge, "_PEEK", region)
        rows, error = read(*paths)
    assert (plain(rows), error) == (picked_one_by_one(files), None)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


@given(
    st.lists(st.lists(st.integers(-5, 40), max_size=60), min_size=1, max_size=5),
    st.booleans(),
    st.integers(100, 700),
    st.integers(0, 8),
)
@settings(max_examples=60, deadline=None)
def test_from_any_position_on_comes_the_rest(
    tmp_path_factory: pytest.TempPathFactory, times: list[list[int]], packed: bool, region: int, halt: int
) -> None:
    files = [steps(each, place) for place, each in enumerate(times)]
    paths = save(tmp_path_factory.getbasetemp(), files)
    for path in paths[::2] if packed else ():
        path.write_bytes(gzip.compress(path.read_bytes()))
    found: list[Position] = []
    cleans: list[bool] = []

    def wanted(clean: bool) -> bool:
        cleans.append(clean)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "REGION", region)
        patch.setattr(merge, "_LEAST_REGION", 100)
        patch.setattr(merge, "_PEEK", region)
        patch.setattr(merge, "_DECOMPRESSORS", 2)
        rows, error = read(*paths, halts=Halts(wanted, found.append))
        assert [not position.begun for position in found] == cleans
        for position in found[halt : halt + 2]:
            for path in (paths[place] for place in position.ended):
                path.write_bytes(b"gone")  # nobody looks at it again
            rest, again = read(*paths, start=position)
            assert rest == rows[position.frames :]
            assert str(again) == str(error)


def test_rotated_files_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = frames(600)
    paths = save(tmp_path, [content[at : at + 20] for at in range(0, 600, 20)])
    opened: list[io.FileIO] = []

    class Counted(io.FileIO):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            opened.append(self)

    monkeypatch.setattr("socks5sniff.capture.source.io.FileIO", Counted)
    names = [str(path) for path in paths]
    np.random.default_rng(1).shuffle(names)
    rows, error = read(*names)
    assert (plain(rows), error) == (full(content), None)
    assert sorted(file.name for file in opened) == sorted(names)
    assert all(file.closed for file in opened)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
def test_more_files_than_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlapping: bool, packed: bool
) -> None:
    content = frames(900)
    files = [content[at::30] if overlapping else content[at * 30 : at * 30 + 30] for at in range(30)]
    paths = save(tmp_path, files)
    for path in paths[::3] if packed else ():
        path.write_bytes(gzip.compress(path.read_bytes()))
    opened: list[io.FileIO] = []
    most = 0

    class Counted(io.FileIO):
        def __init__(self, name: str) -> None:
            nonlocal most
            super().__init__(name)
            opened.append(self)
            most = max(most, sum(not file.closed for file in opened))

    monkeypatch.setattr("socks5sniff.capture.source.io.FileIO", Counted)
    monkeypatch.setattr(merge, "_OPEN", 5)
    monkeypatch.setattr(merge, "_DECOMPRESSORS", 5)
    monkeypatch.setattr(merge, "_LEAST_REGION", 500)
    monkeypatch.setattr(merge, "REGION", 500)
    rows, error = read(*paths)
    assert (plain(rows), error) == (full(content), None)
    assert most < 5
    assert all(file.closed for file in opened)


def test_a_file_that_was_replaced_while_it_waited_is_not_mixed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = frames(200)
    paths = save(tmp_path, [content[:100], content[100:]])
    monkeypatch.setattr(merge, "_OPEN", 1)
    reading = open_captures([str(path) for path in paths])
    monkeypatch.setattr(merge, "_GATHERED", 0)
    first = next(reading)
    assert len(first) < 100
    (tmp_path / "other").write_bytes(paths[1].read_bytes())
    (tmp_path / "other").replace(paths[1])
    sizes = [len(first)]
    with pytest.raises(DamagedInputError, match="replaced by another file"):
        sizes.extend(len(batch) for batch in reading)
    assert 100 < sum(sizes) < 200


def test_files_of_two_interfaces_are_merged(tmp_path: Path) -> None:
    content = frames(20_000, largest=60)
    random = np.random.default_rng(2)
    side = random.random(20_000) < 0.3
    files = [[frame for frame, left in zip(content, side, strict=True) if left == which] for which in (True, False)]
    paths = save(tmp_path, files)
    rows, error = read(*paths)
    assert (plain(rows), error) == (full(content), None)
    assert [row.capture == str(paths[0]) for row in rows] == side.tolist()


def test_as_mergecap(tmp_path: Path) -> None:
    if shutil.which("mergecap") is None:
        pytest.skip("mergecap (Debian: wireshark-common) is not installed")
    random = np.random.default_rng(5)
    # No two times are equal: mergecap breaks ties in no particular order.
    files = [steps((random.integers(0, 750, 500).cumsum() * 4 + place).tolist(), place) for place in range(4)]
    paths = save(tmp_path, files)
    joined = tmp_path / "joined.pcapng"
    subprocess.run(["mergecap", "-w", str(joined), *map(str, paths)], check=True, capture_output=True)
    assert plain(read(*paths)[0]) == plain(read(joined)[0])


def test_a_single_file_is_never_sorted(tmp_path: Path) -> None:
    content = [Frame(START - row * SECOND, b"") for row in range(10)]
    (path,) = save(tmp_path, [content])
    assert plain(read(path)[0]) == full(content)


def test_files_without_frames_and_no_files_at_all(tmp_path: Path) -> None:
    paths = save(tmp_path, [[], frames(3), []])
    assert (plain(read(*paths)[0]), read(*paths)[1]) == (full(frames(3)), None)
    assert read() == ([], None)


def test_compressed_and_plain_files_together(tmp_path: Path) -> None:
    content = frames(200)
    paths = save(tmp_path, [content[::2], content[1::2]])
    paths[0].write_bytes(gzip.compress(paths[0].read_bytes()))
    assert (plain(read(*paths)[0]), read(*paths)[1]) == (full(content), None)


def test_a_file_and_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = frames(5000)
    (path,) = save(tmp_path, [content[1::2]])
    read_end, write_end = os.pipe()

    def feed() -> None:
        with open(write_end, "wb") as file:
            file.write(pcap(content[::2]))

    thread = threading.Thread(target=feed)
    thread.start()
    with open(read_end) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        rows, error = read(path, "-")
    thread.join()
    assert (plain(rows), error) == (full(content), None)


class TestFaults:
    """A fault of one input is raised when all that can be read of the others has been given."""

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        content = frames(100)
        paths = save(tmp_path, [content[:50], content[50:]])
        rows, error = read(paths[0], tmp_path / "nothing", paths[1])
        assert plain(rows) == full(content)
        assert type(error) is InputError
        assert "nothing: no such file" in str(error)

    def test_a_file_cut_off(self, tmp_path: Path) -> None:
        content = frames(900)
        paths = save(tmp_path, [content[::3], content[1::3], content[2::3]])
        octets = paths[1].read_bytes()
        paths[1].write_bytes(octets[: len(octets) // 2])
        rows, error = read(*paths)
        assert isinstance(error, DamagedInputError)
        whole = error.frame - 1
        kept = content[::3] + content[1::3][:whole] + content[2::3]
        assert plain(rows) == sorted(full(kept), key=lambda frame: frame.time)

    def test_several_faults_are_told_in_one_line(self, tmp_path: Path) -> None:
        (path,) = save(tmp_path, [frames(3)])
        rows, error = read(tmp_path / "a", path, tmp_path / "b")
        assert len(rows) == 3
        assert str(error) == f"{tmp_path}/a: no such file; {tmp_path}/b: no such file"


def test_more_files_than_interfaces_can_be_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks5sniff.capture.pcap.INTERFACE_LIMIT", 2)
    files = [[frame] for frame in frames(3)]
    paths = [tmp_path / f"{place}.pcap" for place in range(3)]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(pcap(content))
    rows, error = read(*paths)
    assert len(rows) == 2
    assert isinstance(error, DamagedInputError)
    assert "more than 2 interfaces" in str(error)


class TestNotes:
    """What is no fault is said, and ends only its own input."""

    def read(self, *paths: Path) -> tuple[int, list[str]]:
        told: list[str] = []
        return sum(len(batch) for batch in open_captures([str(path) for path in paths], note=told.append)), told

    def test_an_empty_file(self, tmp_path: Path) -> None:
        paths = save(tmp_path, [frames(3), frames(4)])
        empty = tmp_path / "empty"
        empty.touch()
        assert self.read(paths[0], empty, paths[1]) == (7, [f"{empty}: empty, there is nothing in it"])

    def test_a_file_that_is_being_written(self, tmp_path: Path) -> None:
        paths = save(tmp_path, [frames(3), frames(4)])
        octets = paths[1].read_bytes()
        with open(paths[1], "wb") as file:
            file.write(octets[:-5])
            file.flush()
            count, told = self.read(*paths)
        assert count == 6
        assert len(told) == 1
        assert re.sub(r"offset \d+", "offset N", told[0]) == (
            f"{paths[1]}: somebody is writing it; read to byte offset N, before frame 4"
        )

    def test_a_single_file_that_is_being_written(self, tmp_path: Path) -> None:
        (path,) = save(tmp_path, [frames(4)])
        octets = path.read_bytes()
        with open(path, "wb") as file:
            file.write(octets[:-5])
            file.flush()
            count, told = self.read(path)
        assert count == 3
        assert len(told) == 1

    def test_nothing_in_any_file_is_an_error(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).touch()
        with pytest.raises(NotACaptureError, match="none of 2 files is a capture"):
            self.read(tmp_path / "a", tmp_path / "b")

    def test_a_file_that_nobody_writes_is_damaged(self, tmp_path: Path) -> None:
        paths = save(tmp_path, [frames(3), frames(4)])
        paths[1].write_bytes(paths[1].read_bytes()[:-5])
        with pytest.raises(DamagedInputError):
            self.read(*paths)

    def test_a_damaged_file_is_damaged_whoever_writes_it(self, tmp_path: Path) -> None:
        paths = save(tmp_path, [frames(3), frames(4)])
        with open(paths[1], "ab") as file:
            file.write(b"no record at all")
            file.flush()
            with pytest.raises(DamagedInputError):
                self.read(*paths)

    def test_a_single_empty_file_is_an_error(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.touch()
        with pytest.raises(InputError):
            self.read(empty)


def test_interfaces_only_grow(tmp_path: Path) -> None:
    paths = save(tmp_path, [frames(50, seed=part, start=START + part * SECOND) for part in range(6)])
    before: list[object] = []
    for batch in open_captures([str(path) for path in paths]):
        assert batch.interfaces[: len(before)] == before
        assert int(batch.interface.max()) < len(batch.interfaces)
        before = list(batch.interfaces)
    assert [described.capture for described in before] == [str(path) for path in paths]  # type: ignore[attr-defined]


def test_progress_counts_all_files(tmp_path: Path) -> None:
    paths = save(tmp_path, [frames(500)[part::3] for part in range(3)])
    told: list[tuple[int, int]] = []
    for _ in open_captures(list(map(str, paths)), progress=lambda consumed, total: told.append((consumed, total))):
        pass
    total = sum(path.stat().st_size for path in paths)
    assert told[-1] == (total, total)


def test_batches_are_not_larger_than_one_file_s(tmp_path: Path) -> None:
    paths = save(tmp_path, [frames(40_000, seed=part, largest=5) for part in range(3)])
    sizes: list[int] = []
    rows: list[Row] = []
    for batch in open_captures(list(map(str, paths))):
        sizes.append(len(batch))
        rows += [Row(0, int(time), b"", 0, 0, "", "") for time in batch.time.tolist()]
        assert (batch.offset + batch.captured <= len(batch.octets)).all()
    assert max(sizes) <= 16_384
    assert sum(sizes) == 120_000
    assert [row.time for row in rows] == sorted(row.time for row in rows)
