"""`read --format html`: one file, and the options that belong to it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode

from ..report.reading import data_of, read

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
CHAIN = str(CAPTURES / "chain-of-three.pcapng")


def html(tmp_path: Path, *arguments: str, status: ExitCode = ExitCode.OK) -> tuple[dict, dict]:
    path = tmp_path / "report.html"
    assert main(["read", *arguments, "--format", "html", "-o", str(path)]) == status
    return read(data_of(path.read_text(encoding="utf-8")))


def test_a_report_holds_what_jsonl_has(tmp_path: Path) -> None:
    header, columns = html(tmp_path, CHAIN)
    assert columns["id"] == [1, 2, 3, 4, 5]
    assert header["about"]["inputs"] == [CHAIN]
    assert header["about"]["found"] == 5
    assert header["about"]["packets"] > 60


def test_filters_choose_its_conversations_too(tmp_path: Path) -> None:
    header, columns = html(tmp_path, CHAIN, "--destination", "www.example.test")
    assert columns["id"] == [4, 5]
    assert header["about"]["found"] == 5


def test_max_rows_bounds_the_table(tmp_path: Path) -> None:
    header, columns = html(tmp_path, CHAIN, "--max-rows", "2")
    assert columns["id"] == [1, 2]
    assert header["rest"]["conversations"] == 3
    assert html(tmp_path, CHAIN, "--max-rows", "0")[0]["rows"] == 0


def test_max_rows_belongs_to_html(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", CHAIN, "--max-rows", "2"]) == ExitCode.USAGE
    assert "--max-rows goes with --format html." in capsys.readouterr().err


def test_frames_lists_datagrams_there_too(tmp_path: Path) -> None:
    capture = str(CAPTURES / "udp-destinations.pcapng")
    assert "udp" not in html(tmp_path, capture)[1]["frames.type"]
    assert html(tmp_path, capture, "--frames")[1]["frames.type"].count("udp") == 14


def test_a_damaged_capture_s_report_says_so(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(Path(CHAIN).read_bytes()[:-100])
    header, columns = html(tmp_path, str(cut), status=ExitCode.DAMAGED)
    assert "cut.pcapng" in header["about"]["fault"]
    assert columns["id"][0] == 1


def test_passwords_are_masked_and_where_not_the_file_is_private(tmp_path: Path) -> None:
    capture = str(CAPTURES / "auth-password.pcapng")
    (masked,) = set(html(tmp_path, capture)[1]["password"])
    (shown,) = set(html(tmp_path, capture, "--show-passwords")[1]["password"])
    assert masked == "********" != shown
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600


def test_a_terminal_gets_no_page() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "socks5sniff", "read", CHAIN, "--format", "html"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == ExitCode.USAGE
    assert b"add -o FILE" in done.stderr


def test_standard_output_may_be_a_pipe() -> None:
    command = [sys.executable, "-m", "socks5sniff", "read", CHAIN, "--format", "html"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    assert read(data_of(done.stdout))[1]["id"] == [1, 2, 3, 4, 5]
