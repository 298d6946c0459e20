"""Where live writes: whole lines to files that are appended to and cut, without ever waiting."""

from __future__ import annotations

import os
import time
from io import FileIO
from pathlib import Path

import pytest

from socks5sniff.cli import live_output
from socks5sniff.cli.live_output import LiveOutput, RecordFiles
from socks5sniff.errors import OutputError
from socks5sniff.live.behind import BehindFile
from socks5sniff.live.rotation import Rotation


def always() -> bool:
    return True


def record_files(path: Path, rotation: Rotation | None = None) -> RecordFiles:
    return RecordFiles(str(path), rotation or Rotation(), private=False, owner=None, say=lambda text: None)


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before\n")
    out = record_files(path).output
    out.write("one")
    out.write(" line\n")
    out.flush()
    out.write("another, \ud800 and ü\n")
    out.close(always)
    assert path.read_bytes() == b"before\none line\nanother, \\ud800 and \xc3\xbc\n"


def test_every_line_is_in_one_of_many_files_and_files_that_ended_are_let_go(tmp_path: Path) -> None:
    files = record_files(tmp_path / "x.log", Rotation(size=20))
    for number in range(200):
        files.output.write(f"line {number}\n")
        files.output.flush()
        files.look()
    deadline = time.monotonic() + 10
    while len(files.output._ended) > 3:
        assert time.monotonic() < deadline
        files.reopen()
    files.output.close(always)
    found = [line for path in sorted(tmp_path.iterdir()) for line in path.read_text().splitlines()]
    assert found == [f"line {number}" for number in range(200)]
    assert len([*tmp_path.iterdir()]) > 40


def test_what_a_reader_does_not_take_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "BEHIND_OCTETS", 100_000)
    reading, writing = os.pipe()
    out = LiveOutput(lambda: BehindFile(FileIO(writing, "wb"), "pipe"), "utf-8", lambda text: None)
    for _ in range(100):
        out.write("x" * 9_998 + "\n" + "\n")
        out.flush()
    assert out.waiting < 200_000
    assert out.lost > 100
    with pytest.raises(OutputError, match=r"pipe: [\d,]+ octets are left unwritten, nobody reads them"):
        out.close(lambda: False)
    os.close(reading)


def test_a_reader_who_goes_away_is_a_broken_pipe() -> None:
    reading, writing = os.pipe()
    out = LiveOutput(lambda: BehindFile(FileIO(writing, "wb"), "pipe"), "utf-8", lambda text: None)
    os.close(reading)
    out.write("line\n")
    with pytest.raises(BrokenPipeError):
        out.close(always)


def test_a_name_that_cannot_be_opened_again_leaves_the_present_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    files = record_files(folder / "x")
    files.output.write("one\n")
    folder.rename(tmp_path / "moved")
    with pytest.raises(OutputError, match="No such file or directory"):
        files.reopen()
    files.output.write("two\n")
    files.output.close(always)
    assert (tmp_path / "moved" / "x").read_text() == "one\ntwo\n"
