"""`socks5sniff decap` as a command: what it writes where, and what it says."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = ROOT / "captures"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
CONNECT = str(CAPTURES / "connect-domain.pcapng")
MAGIC = b"\x0a\x0d\x0d\x0a"


def test_it_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcapng"
    assert main(["decap", CONNECT, "-o", str(out)]) == ExitCode.OK
    assert capsys.readouterr() == (f"1 connection and 0 datagrams in {out}\n", "")
    assert [*socks5sniff.read(out)] == []


def test_a_file_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcapng"
    out.write_bytes(b"mine")
    assert main(["decap", CONNECT, "-o", str(out)]) == ExitCode.OUTPUT
    assert capsys.readouterr().err == f"socks5sniff: {out}: is there already, and is left alone; --force replaces it\n"
    assert out.read_bytes() == b"mine"
    assert main(["decap", CONNECT, "-o", str(out), "--force"]) == ExitCode.OK
    assert out.read_bytes().startswith(MAGIC)


def test_the_input_is_never_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "x.pcapng"
    capture.write_bytes(Path(CONNECT).read_bytes())
    assert main(["decap", str(capture), "-o", str(capture), "--force"]) == ExitCode.USAGE
    assert "is one of the inputs" in capsys.readouterr().err
    assert capture.read_bytes() == Path(CONNECT).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "there"),
    [
        ([str(CAPTURES / "reply-not-allowed.pcapng")], "1 conversation"),
        (
            [CONNECT, "--client", "192.0.2.99"],
            "1 conversation, 0 of them wanted",
        ),
        ([str(CAPTURES / "not-socks-http.pcapng")], "0 conversations"),
    ],
    ids=["refused", "not wanted", "no SOCKS"],
)
def test_nothing_to_write(arguments: list[str], there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decap", *arguments, "-o", str(tmp_path / "out.pcapng")]) == ExitCode.FAILED
    assert capsys.readouterr() == ("", f"socks5sniff: nothing to write: of {there}, none carried anything\n")
    assert [*tmp_path.iterdir()] == []


def test_what_came_before_the_damage_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture, out = tmp_path / "cut.pcapng", tmp_path / "out.pcapng"
    capture.write_bytes((CAPTURES / "connect-many.pcapng").read_bytes()[:-30])
    assert main(["decap", str(capture), "-o", str(out)]) == ExitCode.DAMAGED
    said = capsys.readouterr()
    assert re.match(r"12 connections and 0 datagrams in ", said.out)
    assert "truncated" in said.err
    assert out.read_bytes().startswith(MAGIC)


def test_octets_that_are_missing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = CAPTURES / "tcp-lost-tunnel.pcapng"
    assert main(["decap", str(capture), "-o", str(tmp_path / "out.pcapng")]) == ExitCode.OK
    assert "octets of 1 connection are not in the capture" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not here: a device that is always full")
def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decap", CONNECT, "-o", "/dev/full"]) == ExitCode.OUTPUT
    assert capsys.readouterr().err == "socks5sniff: /dev/full: cannot be written: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: a limit to files' sizes")
def test_a_disk_that_gets_full_leaves_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    out = tmp_path / "out.pcapng"
    command = [sys.executable, "-m", "socks5sniff", "decap", str(CAPTURES / "connect-bulk.pcapng"), "-o", str(out)]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (ExitCode.OUTPUT, "")
    assert done.stderr == f"socks5sniff: {out}: cannot be written: File too large\n"
    assert [*tmp_path.iterdir()] == []


def test_from_standard_input_to_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = io.TextIOWrapper(io.BytesIO())
    given = io.TextIOWrapper(io.BytesIO(Path(CONNECT).read_bytes()))
    monkeypatch.setattr(sys, "stdin", given)
    monkeypatch.setattr(sys, "stdout", written)
    assert main(["decap", "-", "-o", "-"]) == ExitCode.OK
    octets = written.buffer.getvalue()
    monkeypatch.undo()
    assert main(["decap", CONNECT, "-o", str(tmp_path / "out.pcapng")]) == ExitCode.OK
    assert octets == (tmp_path / "out.pcapng").read_bytes()
