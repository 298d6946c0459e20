"""The capture file that is written while a capture runs: comments, rotation, selection, disk full."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from socks5sniff.capture import open_captures
from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.errors import OutputError
from socks5sniff.live import saving as saving_module
from socks5sniff.live.engine import Counts
from socks5sniff.live.holding import HOLD
from socks5sniff.live.rotation import Rotation
from socks5sniff.live.saving import Saving

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
INTERFACES = [Interface("lo", "lo", 1), Interface("eth0", "eth0", 1)]


def batch(first: int, frames: Sequence[bytes], interface: int = 0, gap: int = 0) -> FrameBatch:
    """Frames that lie in memory with `gap` octets between them."""
    sizes = np.array([len(frame) for frame in frames], np.int64)
    return FrameBatch(
        octets=np.frombuffer(b"".join(frame + bytes(gap) for frame in frames), np.uint8),
        offset=np.cumsum(sizes + gap) - sizes - gap,
        captured=sizes,
        length=sizes + 1000,
        time=START + np.arange(first, first + len(frames)),
        first_number=first,
        interface=np.full(len(frames), interface, np.uint16),
        interfaces=INTERFACES,
    )


class Recorder:
    """A Saving with what it complained of."""

    def __init__(self, path: Path, rotation: Rotation | None = None) -> None:
        self.complaints: list[str] = []
        self.counts: list[Counts | None] = [Counts(10, 3), None]
        rotation = rotation or Rotation()
        self.saving = Saving(
            str(path), INTERFACES, 262_144, rotation, lambda: tuple(self.counts), START, self.complaints.append
        )


def frames_in(path: Path) -> list[bytes]:
    return [found.frame(row) for found in open_captures([str(path)]) for row in range(len(found))]


def test_what_was_captured_can_be_read_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    saving = Recorder(path).saving
    saving.sync()
    assert frames_in(path) == []
    saving.take(batch(1, [b"one", b"two"]), START)
    saving.write(START)
    saving.sync()
    assert frames_in(path) == []  # held back
    saving.take(batch(3, [b"three"], interface=1), START + HOLD)
    saving.write(START + HOLD)
    saving.sync()
    assert frames_in(path) == [b"one", b"two"]
    saving.close(START + SECOND)
    assert frames_in(path) == [b"one", b"two", b"three"]
    (found, *_) = list(open_captures([str(path)]))
    assert found.time.tolist()[:2] == [START + 1, START + 2]
    assert found.length.tolist()[:2] == [1003, 1003]
    assert [interface.name for interface in found.interfaces] == ["lo", "eth0"]
    assert saving.frames == 3


def test_the_file_is_its_owners_alone_even_if_it_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(b"old")
    path.chmod(0o666)
    Recorder(path).saving.close(START)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark not installed")
def test_wireshark_shows_comments_and_capinfos_the_drops(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    saving = Recorder(path).saving
    saving.take(batch(1, [bytes(60), bytes(61)]), START)
    saving.take(batch(3, [bytes(62), bytes(63)]), START)
    saving.comment(2, lambda: "found")
    saving.comment(2, lambda: "found and decided: ü")
    saving.comment(3, lambda: "another")
    saving.comment(99, lambda: "not here")
    saving.close(START + SECOND)
    shown = subprocess.run(
        ["tshark", "-r", str(path), "-Y", "frame.comment", "-T", "fields", "-e", "frame.number", "-e", "frame.comment"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.splitlines() == ["2\tfound and decided: ü", "3\tanother"]
    statistics = path.read_bytes()
    # Interface statistics block of interface 0: isb_ifrecv (4) 10 and isb_ifdrop (5) 3, none of interface 1.
    assert statistics.count(b"\x05\0\0\0", len(statistics) - 80) >= 1
    assert b"\x04\0\x08\0\x0a\0\0\0\0\0\0\0\x05\0\x08\0\x03\0\0\0\0\0\0\0" in statistics


def test_only_wanted_streams_are_written_and_comments_stay_at_their_frames(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    saving = Recorder(path).saving
    saving.take(batch(1, [b"a7", b"b8", b"c7", b"d-"]), START, np.array([7, 8, 7, -1]))
    saving.take(batch(5, [b"e8"]), START, np.array([8]))
    saving.comment(3, lambda: "seven")
    saving.close(START + SECOND, lambda: {7})
    assert frames_in(path) == [b"a7", b"c7"]
    assert path.read_bytes().index(b"c7") < path.read_bytes().index(b"seven")


def test_a_new_file_is_begun_at_the_size_and_the_oldest_go(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "x.pcapng", Rotation(size=10_000, keep=2))
    saving = recorder.saving
    for number in range(5):
        saving.take(batch(number + 1, [bytes([number]) * 12_000]), START)
        recorder.counts = [Counts(number + 1, number), None]
        saving.write(START + (number + 1) * SECOND)
    saving.close(START + 9 * SECOND)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:8] for name in names] == ["x_00005_", "x_00006_"]
    assert all(name.endswith(".pcapng") for name in names)
    assert saving.series.files == 6
    assert frames_in(tmp_path / names[0]) == [bytes([4]) * 12_000]
    # Each file tells what was received and dropped in its own time.
    assert b"\x04\0\x08\0\x01\0\0\0\0\0\0\0\x05\0\x08\0\x01\0\0\0\0\0\0\0" in (tmp_path / names[0]).read_bytes()


def test_a_new_file_is_begun_between_frames_that_were_held_together(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "x.pcapng", Rotation(size=10_000))
    for number in range(3):
        recorder.saving.take(batch(number + 1, [bytes([number]) * 12_000]), START)
    recorder.saving.close(START + 9 * SECOND)
    found = [frames_in(path) for path in sorted(tmp_path.iterdir())]
    assert [frames for frames in found if frames] == [[bytes([number]) * 12_000] for number in range(3)]


def test_a_new_file_is_begun_after_the_time_also_when_the_line_is_idle(tmp_path: Path) -> None:
    saving = Recorder(tmp_path / "x.pcapng", Rotation(seconds=60)).saving
    saving.write(START + 59 * SECOND)
    assert saving.series.files == 1
    saving.write(START + 60 * SECOND)
    assert saving.series.files == 2
    saving.close(START + 61 * SECOND)
    assert len(list(tmp_path.iterdir())) == 2


def test_when_nothing_can_be_written_any_more_it_is_told_once_and_the_file_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    recorder = Recorder(path)
    saving = recorder.saving
    saving.take(batch(1, [b"whole"]), START)
    saving.write(START + HOLD)
    saving.sync()
    good = path.stat().st_size
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as if the disk were full a little further on
    resource.setrlimit(resource.RLIMIT_FSIZE, (good + 1000, limits[1]))
    try:
        saving.take(batch(2, [bytes(100_000)]), START)
        saving.write(START + 2 * HOLD)
        saving.sync()
        saving.take(batch(3, [b"more"]), START)
        saving.write(START + 3 * HOLD)
        saving.close(START + 4 * HOLD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert len(recorder.complaints) == 1
    assert recorder.complaints == [f"{saving.failure}; the analysis goes on, nothing more is saved"]
    assert str(path) in str(saving.failure)
    assert path.stat().st_size == good
    assert frames_in(path) == [b"whole"]


def test_a_disk_that_is_too_slow_costs_frames_of_the_file_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pcapng"
    monkeypatch.setattr("socks5sniff.live.saving.BEHIND_OCTETS", 1000)
    slow = threading.Event()

    class SlowFile(FileIO):
        def write(self, octets: object, /) -> int:
            assert slow.wait(10)
            return super().write(octets)  # type: ignore[arg-type]

    monkeypatch.setattr("socks5sniff.live.saving.open_to_write", lambda name, **options: SlowFile(name, "ab"))
    saving = Recorder(path).saving
    began = time.monotonic()
    for number in range(1, 6):
        saving.take(batch(number, [bytes([number]) * 600]), START)
        saving.write(START + HOLD)
    assert time.monotonic() - began < 5
    slow.set()
    saving.sync()
    saving.take(batch(6, [b"in time again"]), START)
    saving.close(START + 2 * HOLD)
    kept = frames_in(path)
    assert [frame[0] for frame in kept] == [1, 2, b"i"[0]]
    assert (saving.frames, saving.lost) == (3, 3)


def test_a_file_that_cannot_be_made_is_told_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no/x\.pcapng: No such file"):
        Recorder(tmp_path / "no" / "x.pcapng")


def test_frames_may_lie_anywhere_in_memory_and_the_memory_may_be_used_again(tmp_path: Path) -> None:
    memory = np.zeros(10_000_000, np.uint8)
    offset = np.array([9_000_000, 9_000_100, 0, 200, 5_000_000], np.int64)
    for number, at in enumerate(offset.tolist()):
        memory[at : at + 50] = number + 1
    sizes = np.array([50, 49, 48, 47, 0], np.int64)
    saving = Recorder(tmp_path / "x.pcapng").saving
    interface = np.zeros(5, np.uint16)
    saving.take(FrameBatch(memory, offset, sizes, sizes, np.full(5, START), 1, interface, INTERFACES), START)
    memory[:] = 0xEE
    saving.close(START)
    expected = [bytes([number + 1]) * size for number, size in enumerate(sizes.tolist())]
    assert frames_in(tmp_path / "x.pcapng") == expected


def test_what_the_disk_is_behind_is_exactly_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound frames are still written, one octet above it they are lost, and counted."""
    for behind, lost in ((saving_module.BEHIND_OCTETS, 0), (saving_module.BEHIND_OCTETS + 1, 1)):
        path = tmp_path / f"{lost}.pcapng"
        saving = Recorder(path).saving
        monkeypatch.setattr(Saving, "waiting", property(lambda self, behind=behind: behind))
        saving.take(batch(1, [b"one"]), START)
        saving.write(START + HOLD)
        monkeypatch.undo()
        saving.close(START + 2 * HOLD)
        assert (saving.frames, saving.lost) == (1 - lost, lost)
        assert len(frames_in(path)) == 1 - lost


def test_counts_are_those_since_the_file_was_begun() -> None:
    """Each file of a rotation says what was received and dropped while it was written."""
    since = saving_module._since
    assert since(Counts(10, 3), Counts(4, 1)) == Counts(6, 2)
    assert since(Counts(10, 3), None) == Counts(10, 3)
    assert since(None, Counts(4, 1)) is None
