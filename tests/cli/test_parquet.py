"""`read --format parquet` and `read --dataset`: what goes together, what is left behind, and exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from socks5sniff.sinks import parquet
from tests.sinks.parquet_reading import records

from .capture import capture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pcap(tmp_path: Path) -> Path:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(9))
    return path


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_file(pcap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "x.parquet"
    assert main(["read", str(pcap), "--format", "parquet", "-o", str(target)]) == ExitCode.OK
    assert main(["read", str(pcap), "--format", "jsonl"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert list(records(target)) == [json.loads(line) for line in out.splitlines()]
    assert err == ""


def test_filters_and_frames_go_with_it(pcap: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.parquet"
    arguments = ["read", str(pcap), "--outcome", "rejected", "--frames", "--format", "parquet", "-o", str(target)]
    assert main(arguments) == ExitCode.OK
    assert [record["id"] for record in records(target)] == [3, 6, 9]


def test_a_dataset_grows_with_every_run(pcap: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "set"
    for runs in (1, 2):
        assert main(["read", str(pcap), "--dataset", str(folder)]) == ExitCode.OK
        assert [path.parent.name for path in files(folder)] == ["date=2026-06-21"] * runs
    assert sum(len(list(records(path))) for path in files(folder)) == 18


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("where", ["-o", "--dataset"])
def test_passwords_are_for_the_user_alone(where: str, pcap: Path, tmp_path: Path) -> None:
    for shown, mode in (["--show-passwords"], 0o600), ([], 0o666 & ~_umask()):
        target = tmp_path / f"out{mode}"
        form = ["--format", "parquet"] if where == "-o" else []
        assert main(["read", str(pcap), *form, where, str(target), *shown]) == ExitCode.OK
        assert [path.stat().st_mode & 0o777 for path in ([target] if target.is_file() else files(target))] == [mode]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "parquet"], "add -o FILE, or --dataset DIR"),
        (["--format", "parquet", "-o", "-"], "add -o FILE, or --dataset DIR"),
        (["--dataset", "d", "-o", "f"], "goes with neither -o nor another --format"),
        (["--dataset", "d", "--format", "csv"], "goes with neither -o nor another --format"),
        (["--dataset", "d", "--time", "local"], "records have UTC"),
        (["--dataset", "d", "--quiet", "--fail-if", "reply.code == 5"], "--quiet and --dataset exclude each other"),
        (["--dataset", "d", "--columns", "id"], "--columns goes with --format table"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], said: str, pcap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert main(["read", str(pcap), *arguments]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
    assert files(tmp_path) == [pcap]


def test_the_input_is_not_the_output(pcap: Path) -> None:
    before = pcap.read_bytes()
    assert main(["read", str(pcap), "--format", "parquet", "-o", str(pcap)]) == ExitCode.USAGE
    assert pcap.read_bytes() == before


def test_an_input_that_is_not_there_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("before")
    for where in (["--format", "parquet", "-o", str(tmp_path / "x.parquet")], ["--dataset", str(tmp_path / "set")]):
        assert main(["read", str(tmp_path / "nothing"), *where]) == ExitCode.INPUT
    assert [path.name for path in files(tmp_path)] == ["x.parquet"]
    assert (tmp_path / "x.parquet").read_text() == "before"


def test_of_a_damaged_capture_is_written_what_could_be_read(pcap: Path, tmp_path: Path) -> None:
    pcap.write_bytes(pcap.read_bytes()[:-5])
    target = tmp_path / "x.parquet"
    assert main(["read", str(pcap), "--format", "parquet", "-o", str(target)]) == ExitCode.DAMAGED
    assert len(list(records(target))) == 9


@pytest.mark.skipif(os.name != "posix", reason="/dev/full is POSIX")
@pytest.mark.parametrize(
    ("where", "said"),
    [
        (["--format", "parquet", "-o", "/dev/full"], "/dev/full: No space left on device"),
        (["--dataset", "/dev/null/set"], "/dev/null/set: Not a directory"),
        (["--dataset", "https://example.test/set"], "https://example.test/set: nothing can be written there"),
    ],
)
def test_a_place_that_cannot_be_written(
    where: list[str], said: str, pcap: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if "full" in where[-1] and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    assert main(["read", str(pcap), *where]) == ExitCode.OUTPUT
    assert capfd.readouterr().err == f"socks5sniff: {said}\n"


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from socks5sniff.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_a_disk_that_gets_full(pcap: Path, tmp_path: Path) -> None:
    """In its place a limit on the size of files."""
    pcap.write_bytes(capture(300))
    (tmp_path / "x.parquet").write_text("before")
    for where in (["--format", "parquet", "-o", str(tmp_path / "x.parquet")], ["--dataset", str(tmp_path / "set")]):
        command = [sys.executable, "-c", LIMITED, "read", str(pcap), *where]
        done = subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.PIPE, text=True)
        assert done.returncode == ExitCode.OUTPUT, done.stderr
        assert done.stderr.count("\n") == 1
        assert "File too large" in done.stderr
    assert [path.name for path in files(tmp_path)] == ["x.parquet", "x.pcap"]
    assert (tmp_path / "x.parquet").read_text() == "before"


def test_a_fault_of_our_own_leaves_nothing_behind(
    pcap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class OwnError(Exception):
        pass

    def fail(*_: object) -> None:
        raise OwnError

    monkeypatch.setattr(parquet, "of_forms", fail)
    for where in (["--format", "parquet", "-o", str(tmp_path / "x.parquet")], ["--dataset", str(tmp_path / "set")]):
        with pytest.raises(OwnError):
            main(["read", str(pcap), *where])
    assert files(tmp_path) == [pcap]
    assert capfd.readouterr().err == ""


def test_without_pyarrow_it_is_said_how_to_get_it(
    pcap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("socks5sniff.sinks.arrow", "socks5sniff.sinks.parq"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["read", str(pcap), "--dataset", str(tmp_path / "set")]) == ExitCode.MISSING
    assert "pip install 'socks5sniff[parquet]'" in capsys.readouterr().err
    assert files(tmp_path) == [pcap]
