"""The command as a process: what it loads, its exit statuses, pipes on both ends, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .capture import HEADER, capture, connect

COMMAND = [sys.executable, "-m", "socks5sniff"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False, **options
    )


def start(*arguments: str, env: dict[str, str] = ENVIRONMENT) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.pcap"
    path.write_bytes(capture(3))
    return path


def loaded(*arguments: str) -> set[str]:
    """Packages, and packages in them, that a command line imports."""
    code = (
        "import sys\nfrom socks5sniff.cli import main\nmain(sys.argv[1:])\n"
        "print(*{'.'.join(name.split('.')[:n]) for name in sys.modules for n in (1, 2)}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT,
        check=True,
    )
    return set(done.stderr.split())


LATER = 10_001
"""Number, and so the millisecond, of frames that come when earlier connections have been closed for a while."""
SLOW = {"scapy", "pyshark", "rich", "tabulate", "zstandard", "lz4", "psutil", "asyncio", "numpy.ma"}


def test_the_version_needs_nothing() -> None:
    assert not loaded("--version") & {"click", "numpy", *SLOW}


def test_help_needs_click_only() -> None:
    assert not loaded("--help") & {"numpy", *SLOW}


def test_reading_loads_what_the_format_needs(small: Path) -> None:
    assert not loaded("read", "--format", "jsonl", str(small)) & SLOW
    assert not loaded("read", str(small)) & SLOW


def test_a_capture_as_a_table(small: Path) -> None:
    done = run("read", str(small))
    assert (done.returncode, done.stderr) == (0, "")
    assert "host1.example.com:443" in done.stdout
    assert "rejected: connection refused" in done.stdout
    assert done.stdout.endswith("3 conversations in 30 packets\nsucceeded 2, rejected 1\n")


def test_a_filtered_capture(small: Path) -> None:
    done = run("read", "--format", "jsonl", "--destination", "host2.*", "--client", "192.0.2.0/24", str(small))
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (record["id"], record["outcome"], record["first_frame"]) == (3, "rejected", 21)


def test_a_missing_file(tmp_path: Path) -> None:
    done = run("read", str(tmp_path / "nothing.pcap"))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("socks5sniff: ")
    assert "nothing.pcap" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_truncated_file_prints_what_was_decoded(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(capture(3)[:-10])
    done = run("read", "--format", "jsonl", str(path))
    assert done.returncode == 4
    assert len(done.stdout.splitlines()) == 3
    assert "cut.pcap" in done.stderr
    assert "frame 30" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away(tmp_path: Path, unbuffered: str) -> None:
    path = tmp_path / "many.pcap"
    path.write_bytes(capture(500))
    with start("read", "--format", "jsonl", str(path), env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("name", ["table", "json", "jsonl", "csv", "zeek", "accesslog"])
def test_a_full_disk(small: Path, name: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "read", "--format", name, str(small)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=ENVIRONMENT,
            check=False,
        )
    assert done.returncode == 5
    assert done.stderr == "socks5sniff: standard output: No space left on device\n"


def test_output_that_the_terminal_cannot_show() -> None:
    """Not even a locale without Unicode makes the command fail."""
    done = run("read", "é.pcap", encoding="latin-1")
    assert done.returncode == 3


@pytest.mark.parametrize("name", ["jsonl", "table", "accesslog"])
def test_results_of_a_pipe_come_as_they_complete(name: str) -> None:
    """The first conversation can be read once later packets have come, while the pipe is still open."""
    with start("read", "--format", name, "-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HEADER + b"".join(connect(1, 50_001)) + b"".join(connect(LATER, 50_002, b"other")))
        process.stdin.flush()
        line = b""
        while b"example.com" not in line:
            line = process.stdout.readline()
            assert line
        process.stdin.close()
        assert b"other" in process.stdout.read()
        assert process.wait(60) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_on_a_pipe_prints_what_was_decoded() -> None:
    """Also the conversation that was still open."""
    with start("read", "--format", "jsonl", "-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(HEADER + b"".join(connect(1, 50_001)) + b"".join(connect(LATER, 50_002, closed=False)))
        process.stdin.flush()
        printed = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        printed += process.stdout.read()
        assert process.stderr.read() == b""
        assert process.wait(60) == 130
    records = [json.loads(line) for line in printed.splitlines()]
    assert [(record["id"], record["close"]) for record in records] == [(1, "fin"), (2, "open")]
