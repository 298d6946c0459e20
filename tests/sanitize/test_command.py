"""The command: what it writes, what it refuses, and what it says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
CAPTURE = ROOT / "captures" / "auth-password.pcapng"
PASSWORD = b"correct horse"


def run(*arguments: str, octets: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "socks5sniff", "sanitize", *arguments],
        input=octets,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcapng"
    before = CAPTURE.read_bytes()
    assert main(["sanitize", str(CAPTURE), "-o", str(out), "--users"]) == 0
    assert capsys.readouterr().out == f"34 frames in {out}; 1 password overwritten\n"
    (conversation,) = socks5sniff.read(out, show_passwords=True)
    assert conversation.password == "x" * len(PASSWORD)
    assert conversation.username not in (None, "alice")
    assert CAPTURE.read_bytes() == before
    if os.name == "posix":
        assert out.stat().st_mode & 0o077 == 0


def test_an_output_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcapng"
    out.write_bytes(b"mine")
    assert main(["sanitize", str(CAPTURE), "-o", str(out)]) == ExitCode.OUTPUT
    assert "--force replaces it" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main(["sanitize", str(CAPTURE), "-o", str(out), "--force"]) == 0
    assert out.read_bytes() != b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out.pcapng"]


def test_the_input_is_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sanitize", str(CAPTURE), "-o", str(CAPTURE), "--force"]) == ExitCode.USAGE
    assert "is one of the inputs" in capsys.readouterr().err


def test_pipes(tmp_path: Path) -> None:
    done = run("-", "-o", "-", octets=CAPTURE.read_bytes())
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout
    assert next(socks5sniff.read(io.BytesIO(done.stdout), show_passwords=True)).password == "x" * len(PASSWORD)


def test_compressed_input(tmp_path: Path) -> None:
    import gzip

    source, out = tmp_path / "in.pcap.gz", tmp_path / "out.pcapng"
    source.write_bytes(gzip.compress(CAPTURE.read_bytes()))
    assert main(["sanitize", str(source), "-o", str(out)]) == 0
    assert PASSWORD not in out.read_bytes()


def test_a_damaged_capture_is_written_as_far_as_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    source.write_bytes(CAPTURE.read_bytes()[:-100])
    assert main(["sanitize", str(source), "-o", str(out)]) == ExitCode.DAMAGED
    assert "truncated" in capsys.readouterr().err
    assert PASSWORD not in out.read_bytes()
    assert len([*socks5sniff.read(out)]) == 1


@pytest.mark.parametrize("octets", [b"", b"no capture at all"])
def test_no_capture(octets: bytes, tmp_path: Path) -> None:
    source = tmp_path / "in.pcapng"
    source.write_bytes(octets)
    assert main(["sanitize", str(source), "-o", str(tmp_path / "out.pcapng")]) == ExitCode.INPUT
    assert [path.name for path in tmp_path.iterdir()] == ["in.pcapng"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sanitize", str(CAPTURE), "-o", "/dev/full", "--force"]) == ExitCode.OUTPUT
    assert "No space left" in capsys.readouterr().err


def test_one_key_gives_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    options = ["--users", "--destinations", "--addresses", "--key-file", str(key)]
    for name in ("one", "two"):
        assert main(["sanitize", str(CAPTURE), "-o", str(tmp_path / name), *options]) == 0
    assert main(["sanitize", str(CAPTURE), "-o", str(tmp_path / "three"), *options[:3]]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "three").read_bytes()
    key.write_text("secret")
    assert main(["sanitize", str(CAPTURE), "-o", str(tmp_path / "four"), *options]) == ExitCode.INPUT
    assert "openssl rand -hex 32" in capsys.readouterr().err


def test_a_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    arguments = ["sanitize", str(CAPTURE), "-o", str(tmp_path / "out.pcapng")]
    assert main([*arguments, "--addresses"]) == ExitCode.MISSING
    assert 'pip install "socks5sniff[sanitize]"' in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
    assert main([*arguments, "--users"]) == 0


def test_a_short_password_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from . import wire
    from .test_copies import SHORT, connection

    source = wire.write(tmp_path / "in.pcapng", wire.frames(connection(SHORT)))
    assert main(["sanitize", str(source), "-o", str(tmp_path / "out.pcapng")]) == 0
    assert "1 password of few octets" in capsys.readouterr().err
