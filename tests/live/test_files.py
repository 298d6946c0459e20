"""Files that are written: whose they are, what is left alone, what a full disk and a rotation do to them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from socks5sniff.capture import open_captures
from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.capture.creating import Owner, open_to_write
from socks5sniff.errors import OutputError
from socks5sniff.live.behind import BehindFile
from socks5sniff.live.engine import Counts
from socks5sniff.live.rotation import Rotation, Series
from socks5sniff.live.saving import Saving

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
LOOPBACK = [Interface("lo", "lo", 1)]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")


def batch(*frames: bytes, first: int = 1) -> FrameBatch:
    sizes = np.array([len(frame) for frame in frames], np.int64)
    return FrameBatch(
        octets=np.frombuffer(b"".join(frames), np.uint8),
        offset=np.cumsum(sizes) - sizes,
        captured=sizes,
        length=sizes,
        time=START + np.arange(len(frames)),
        first_number=first,
        interface=np.zeros(len(frames), np.uint16),
        interfaces=LOOPBACK,
    )


def frames_in(path: Path | str) -> list[bytes]:
    return [found.frame(row) for found in open_captures([str(path)]) for row in range(len(found))]


class Full(FileIO):
    """A file on a disk that takes no more than so many octets."""

    room = 0

    def write(self, octets: memoryview, /) -> int:  # type: ignore[override]
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = super().write(octets[: self.room])
        self.room -= done
        return done


def saving(path: Path, rotation: Rotation | None = None, said: list[str] | None = None) -> Saving:
    say = ([] if said is None else said).append
    return Saving(str(path), LOOPBACK, 262_144, rotation or Rotation(), lambda: (Counts(0, 0),), START, say)


def wait_until(done: object) -> None:
    deadline = time.monotonic() + 10
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestOpening:
    def test_a_new_file_is_private_if_it_has_to_be(self, tmp_path: Path) -> None:
        umask = os.umask(0o022)
        try:
            open_to_write(str(tmp_path / "private"), private=True).close()
            open_to_write(str(tmp_path / "public"), private=False).close()
        finally:
            os.umask(umask)
        assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "public").stat().st_mode & 0o777 == 0o644

    def test_what_is_there_is_replaced_or_appended_to(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        for append, expected in ((False, b"one\n"), (True, b"one\none\n"), (False, b"one\n")):
            with open_to_write(str(path), private=False, append=append) as file:
                file.write(b"one\n")
            assert path.read_bytes() == expected

    @posix
    def test_a_device_stays_as_it_is(self, tmp_path: Path) -> None:
        before = os.stat("/dev/null")
        open_to_write("/dev/null", private=True, owner=Owner(12345, 12345)).close()
        after = os.stat("/dev/null")
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)

    @posix
    def test_links_are_followed_only_where_nobody_else_can_put_them(self, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"kept")
        for mode in (0o1777, 0o775):
            shared = tmp_path / f"shared{mode:o}"
            shared.mkdir()
            shared.chmod(mode)
            (shared / "link").symlink_to(target)
            with pytest.raises(OutputError, match="is a link, in a folder that others may write to"):
                open_to_write(str(shared / "link"), private=True)
            os.link(target, shared / "hard")
            with pytest.raises(OutputError, match="has another name elsewhere"):
                open_to_write(str(shared / "hard"), private=True)
            (shared / "hard").unlink()
        assert target.read_bytes() == b"kept"
        (tmp_path / "mine").mkdir(mode=0o755)
        (tmp_path / "mine" / "link").symlink_to(target)
        open_to_write(str(tmp_path / "mine" / "link"), private=True).close()
        assert target.read_bytes() == b""

    @as_root
    @pytest.mark.parametrize("append", [False, True])
    def test_another_users_file_is_left_alone(self, tmp_path: Path, append: bool) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"kept")
        os.chown(path, 65534, 65534)
        with pytest.raises(OutputError, match=r"x: belongs to another user \(nobody\), and is left alone"):
            open_to_write(str(path), private=True, append=append)
        assert path.read_bytes() == b"kept"
        assert path.stat().st_mode & 0o777 == 0o644

    @as_root
    def test_under_sudo_new_files_are_the_callers_and_roots_are_left_alone(self, tmp_path: Path) -> None:
        open_to_write(str(tmp_path / "x"), private=True, owner=Owner(12345, 54321)).close()
        open_to_write(str(tmp_path / "x"), private=True, owner=Owner(12345, 54321)).close()
        assert ((tmp_path / "x").stat().st_uid, (tmp_path / "x").stat().st_gid) == (12345, 54321)
        (tmp_path / "roots").touch()
        with pytest.raises(OutputError, match="belongs to another user"):
            open_to_write(str(tmp_path / "roots"), private=True, owner=Owner(12345, 54321))

    @posix
    def test_a_file_has_one_writer_who_replaces_it(self, tmp_path: Path) -> None:
        path = str(tmp_path / "x")
        with open_to_write(path, private=True) as first:
            first.write(b"first")
            with pytest.raises(OutputError, match="x: another program is writing it"):
                open_to_write(path, private=True)
            assert Path(path).read_bytes() == b"first"
        open_to_write(path, private=True).close()


class TestTheDisk:
    def test_a_full_disk_is_waited_for_and_nothing_is_lost_or_written_twice(self, tmp_path: Path) -> None:
        raw = Full(tmp_path / "x", "ab")
        raw.room = 10
        file = BehindFile(raw, "x")
        for number in range(5):
            file.write(b"%d-------\n" % number)
        file.flush()
        wait_until(lambda: file.stalled)
        assert file.stalled == "No space left on device"
        assert (tmp_path / "x").read_bytes() == b"0-------\n"  # whole pieces only
        assert file.written == 9
        raw.room = 1000
        file.sync()
        assert file.stalled is None
        assert (tmp_path / "x").read_bytes() == b"".join(b"%d-------\n" % number for number in range(5))
        file.close()
        assert file.join()

    def test_at_the_end_it_is_waited_for_no_longer(self, tmp_path: Path) -> None:
        raw = Full(tmp_path / "x", "ab")
        raw.room = 7
        file = BehindFile(raw, "x")
        file.write(b"whole\n")
        file.write(b"not whole\n")
        file.close()
        wait_until(lambda: file.stalled)
        file.hurry()
        with pytest.raises(OSError, match="No space left"):
            file.join()
        assert (tmp_path / "x").read_bytes() == b"whole\n"

    def test_a_reader_who_does_not_read_holds_up_nobody(self) -> None:
        reading, writing = os.pipe()
        file = BehindFile(FileIO(writing, "wb"), "pipe")
        began = time.monotonic()
        file.write(bytes(1 << 20))
        file.close()
        assert not file.join(0.1)
        assert file.waiting == 1 << 20
        assert time.monotonic() - began < 5
        got = 0
        while got < 1 << 20:
            got += len(os.read(reading, 1 << 16))
        assert file.join()
        os.close(reading)

    def test_what_is_counted_as_saved_is_in_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        raw = Full(tmp_path / "x.pcapng", "ab")
        raw.room = 2000
        monkeypatch.setattr("socks5sniff.live.saving.open_to_write", lambda name, **options: raw)
        said: list[str] = []
        kept = saving(tmp_path / "x.pcapng", said=said)
        for number in range(10):
            kept.take(batch(bytes(400), bytes(400), first=2 * number + 1), START)
            kept.write(START + SECOND * (number + 1))
        wait_until(lambda: kept.write(START + 20 * SECOND) or kept.frames == 4)
        assert said == [
            f"{tmp_path / 'x.pcapng'}: No space left on device; saving waits for space, the analysis goes on"
        ]
        raw.room = 1000
        wait_until(lambda: kept.write(START + 20 * SECOND) or kept.frames == 6)
        kept.close(START + 30 * SECOND)
        assert (kept.frames, kept.lost) == (6, 14)
        assert len(frames_in(tmp_path / "x.pcapng")) == 6

    def test_saving_goes_on_when_there_is_space_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        raw = Full(tmp_path / "x.pcapng", "ab")
        monkeypatch.setattr("socks5sniff.live.saving.open_to_write", lambda name, **options: raw)
        said: list[str] = []
        kept = saving(tmp_path / "x.pcapng", said=said)
        kept.take(batch(b"one"), START)
        wait_until(lambda: kept.write(START + SECOND) or said)
        raw.room = 1 << 20
        wait_until(lambda: kept.write(START + SECOND) or len(said) == 2)
        kept.take(batch(b"two", first=2), START)
        kept.close(START + SECOND)
        assert said[1] == f"{tmp_path / 'x.pcapng'}: there is space again, saving goes on"
        assert frames_in(tmp_path / "x.pcapng") == [b"one", b"two"]
        assert (kept.frames, kept.lost, kept.failure) == (2, 0, None)


class TestRotation:
    def test_numbers_go_on_after_a_restart_and_old_files_count(self, tmp_path: Path) -> None:
        path = str(tmp_path / "x.jsonl")
        for run in range(3):
            series = Series(path, Rotation(size=1, keep=4))
            for _ in range(2):
                series.next(START).write_text(str(run))
                series.tidy()
        assert [file.name for file in sorted(tmp_path.iterdir())] == [
            f"x_{number:05d}_{time.strftime('%Y%m%d%H%M%S', time.localtime(START / 1e9))}.jsonl"
            for number in (3, 4, 5, 6)
        ]

    def test_the_oldest_go_when_all_are_too_large_together(self, tmp_path: Path) -> None:
        series = Series(str(tmp_path / "x"), Rotation(seconds=1, keep_size=250))
        for _ in range(5):
            series.next(START).write_bytes(bytes(100))
            series.tidy()
        assert [file.name[:7] for file in sorted(tmp_path.iterdir())] == ["x_00004", "x_00005"]

    @posix
    def test_nothing_but_the_series_own_files_is_deleted(self, tmp_path: Path) -> None:
        others = ["x_00001.pcapng", "y_00001_20260101000000.pcapng", "x_00001_20260101000000.pcap", "x.pcapng"]
        for name in others:
            (tmp_path / name).touch()
        (tmp_path / "x_00002_20260101000000.pcapng").symlink_to(tmp_path / "x.pcapng")
        series = Series(str(tmp_path / "x.pcapng"), Rotation(seconds=1, keep=1))
        series.next(START).touch()
        series.next(START).touch()
        series.tidy()
        assert {file.name for file in tmp_path.iterdir()} > {*others, "x_00002_20260101000000.pcapng"}
        assert len([*tmp_path.iterdir()]) == len(others) + 2

    def test_each_file_of_a_rotation_tells_its_own_frames(self, tmp_path: Path) -> None:
        kept = saving(tmp_path / "x.pcapng", Rotation(size=1000))
        for number in range(6):
            kept.take(batch(bytes(600), first=number + 1), START)
            kept.write(START + SECOND * (number + 1))
        kept.close(START + 9 * SECOND)
        assert kept.frames == 6
        assert sum(len(frames_in(file)) for file in tmp_path.iterdir()) == 6


class TestOtherForms:
    def test_a_name_that_ends_in_pcap_becomes_pcap(self, tmp_path: Path) -> None:
        kept = saving(tmp_path / "x.pcap")
        kept.take(batch(b"one", b"three", b""), START)
        kept.comment(1, lambda: "left out")
        kept.close(START)
        octets = (tmp_path / "x.pcap").read_bytes()
        assert octets[:4] == bytes.fromhex("4d3cb2a1")
        assert frames_in(tmp_path / "x.pcap") == [b"one", b"three", b""]
        (found,) = open_captures([str(tmp_path / "x.pcap")])
        assert found.time.tolist() == [START, START + 1, START + 2]

    def test_a_pcap_file_holds_one_kind_of_frames(self, tmp_path: Path) -> None:
        interfaces = [Interface("lo", "lo", 1), Interface("tun0", "tun0", 101)]
        with pytest.raises(OutputError, match=r"x\.pcap: a pcap file holds frames of one link type"):
            Saving(str(tmp_path / "x.pcap"), interfaces, 262_144, Rotation(), tuple, START, print)

    def test_a_file_that_was_moved_away_is_begun_again_and_one_that_was_not_goes_on(self, tmp_path: Path) -> None:
        path, moved = tmp_path / "x.pcapng", tmp_path / "moved.pcapng"
        kept = saving(path)
        kept.take(batch(b"one"), START)
        kept.write(START + SECOND)
        kept.reopen(START + SECOND)
        path.rename(moved)
        kept.take(batch(b"two", first=2), START)
        kept.write(START + 2 * SECOND)
        kept.reopen(START + 2 * SECOND)
        kept.take(batch(b"three", first=3), START)
        kept.close(START + 3 * SECOND)
        assert frames_in(moved) == [b"one", b"two"]
        assert frames_in(path) == [b"three"]
        assert kept.frames == 3

    def test_a_file_that_somebody_empties_begins_again(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pcapng"
        kept = saving(path)
        kept.write(START)
        kept.take(batch(b"one"), START)
        kept.write(START + SECOND)
        kept.sync()
        os.truncate(path, 0)
        kept.take(batch(b"two", first=2), START)
        kept.close(START + 2 * SECOND)
        assert frames_in(path) == [b"two"]

    @pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump not installed")
    def test_tcpdump_reads_the_pcap_file(self, tmp_path: Path) -> None:
        kept = saving(tmp_path / "x.pcap")
        kept.take(batch(bytes(60), bytes(61)), START)
        kept.close(START)
        command = ["tcpdump", "-tt", "--time-stamp-precision=nano", "-n", "-r", str(tmp_path / "x.pcap")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [line.split()[0] for line in done.stdout.splitlines() if line[0].isdigit()] == [
            "1700000000.000000000",
            "1700000000.000000001",
        ]
