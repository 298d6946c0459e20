"""`read --format html`: one file, and the options that belong to it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode

from ..report.reading import data_of, read
from .capture import ACK, HEADER, SYN, frame

RST = 4
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


def refused(folder: Path, count: int) -> str:
    """A capture of connections to a proxy, each of which an RST answers."""
    frames = []
    for number in range(count):
        frames.append(frame(2 * number + 1, True, 20_000 + number, 1000, 0, SYN, b""))
        frames.append(frame(2 * number + 2, False, 20_000 + number, 0, 1001, RST | ACK, b""))
    path = folder / "refused.pcap"
    path.write_bytes(HEADER + b"".join(frames))
    return str(path)


def test_connections_that_came_to_nothing_are_listed(tmp_path: Path) -> None:
    about = html(tmp_path, refused(tmp_path, 3))[0]["about"]
    assert [attempt["client"]["port"] for attempt in about["attempts"]] == [20_000, 20_001, 20_002]
    assert about["attempts"][1] == {
        "client": {"address": "192.0.2.1", "port": 20_001},
        "proxy": {"address": "192.0.2.2", "port": 1080},
        "outcome": "refused",
        "start": "2026-06-21T00:00:00.003000000Z",
        "frame": 3,
    }
    assert html(tmp_path, CHAIN)[0]["about"]["attempts"] == []


def test_of_many_the_page_lists_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks5sniff.sinks.html.SHOWN", 2)
    about = html(tmp_path, refused(tmp_path, 5))[0]["about"]
    assert [attempt["frame"] for attempt in about["attempts"]] == [1, 3]
    assert about["all attempts"] == 5


def test_what_went_past_the_proxy_is_listed_as_bypass_lists_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = str(CAPTURES / "local-dns.pcapng")
    about = html(tmp_path, capture)[0]["about"]
    assert main(["bypass", capture, "--format", "jsonl"]) == ExitCode.OK
    wanted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert about["bypasses"] == wanted != []
    assert about["all bypasses"] == len(wanted)
