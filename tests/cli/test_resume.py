"""`read --dataset --resume`: whatever ended a reading and wherever, the dataset is that of one that nothing ended."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow.dataset
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from socks5sniff.analysis import analyser
from socks5sniff.archive import checkpoint, plan
from socks5sniff.archive import reading as archive_reading
from socks5sniff.capture import merge
from socks5sniff.cli import main, resuming
from socks5sniff.errors import ExitCode, ResumeError
from tests.archive.test_reading import records_of, split
from tests.benchmarks import captures

ROOT = Path(__file__).resolve().parents[2]
CONVERSATIONS = 240
SLOWER = 100
"""So much longer conversations take than in the benchmark's capture: most have ended before the capture does."""


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resume") / "churn.pcap"
    captures.write("churn", path, CONVERSATIONS)
    octets = bytearray(path.read_bytes())
    first, at = int.from_bytes(octets[24:28], "little"), 24
    while at < len(octets):
        seconds, micros, size = (int.from_bytes(octets[at + 4 * k : at + 4 * k + 4], "little") for k in range(3))
        seconds, micros = divmod(((seconds - first) * 10**6 + micros) * SLOWER, 10**6)
        octets[at : at + 8] = (first + seconds).to_bytes(4, "little") + micros.to_bytes(4, "little")
        at += 16 + size
    path.write_bytes(octets)
    return path


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints wherever there may be one, of which there are many."""
    monkeypatch.setattr(resuming, "LEAST", 0)
    monkeypatch.setattr(resuming, "SHARE", 0)
    monkeypatch.setattr(merge, "REGION", 100_000)
    monkeypatch.setattr(plan, "LEAST", 100_000)
    monkeypatch.setattr(archive_reading, "WORTH", 10)
    monkeypatch.setattr(analyser, "AT_ONCE", 20)


def one_after_another(churn: Path, folder: Path) -> list[str]:
    names = split(churn, folder, 7)
    random.Random(1).shuffle(names)
    return names


def overlapping(churn: Path, folder: Path) -> list[str]:
    """Two interfaces' rings, and a compressed one."""
    octets, records = churn.read_bytes(), records_of(churn)
    half = len(records) // 2
    contents = [records[:half:2], records[1:half:3], records[3:half:6], records[5:half:6], records[half:]]
    names = []
    for number, content in enumerate(contents):
        whole = octets[:24] + b"".join(content)
        names.append(str(folder / f"{number}.pcap"))
        Path(names[-1]).write_bytes(gzip.compress(whole, 1) if number == 1 else whole)
    return names


def single(churn: Path, folder: Path) -> list[str]:
    return [str(churn)]


def scenarios(churn: Path, folder: Path) -> list[str]:
    """Captures of different places: the same addresses are other machines in each."""
    return [*map(str, sorted((ROOT / "captures").glob("*.pcapng"))[::12])]


WHOLE: list[tuple[Callable[[Path, Path], list[str]], int]] = [
    *((inputs, 1) for inputs in (single, one_after_another, overlapping, scenarios)),
    *((inputs, 2) for inputs in (one_after_another, overlapping)),
]
"""Captures, and how many processes read them: those of different places are read by one."""


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """All records, day included, as DuckDB sees them."""
    query = f"SELECT * FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true, union_by_name = true)"
    return duckdb.connect().execute(f"{query} ORDER BY id").fetchall()


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] in "_.")


class CrashError(Exception):
    """What ends a process in a test."""


def crashing(arguments: Sequence[str], saves: int) -> tuple[int | None, int]:
    """Run a command that ends unexpectedly behind its so-manieth checkpoint; its status, None where it did."""
    save, count = checkpoint.Checkpoint.save, 0

    def counted(self: checkpoint.Checkpoint, *values: Any, **named: Any) -> None:
        nonlocal count
        save(self, *values, **named)
        count += 1
        if count == saves:
            raise CrashError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "save", counted)
        try:
            return main([*arguments]), count
        except CrashError:
            return None, count


@pytest.mark.parametrize(("inputs", "jobs"), WHOLE)
def test_ended_anywhere_and_gone_on_with(
    inputs: Callable[[Path, Path], list[str]], jobs: int, churn: Path, tmp_path: Path
) -> None:
    command = ["read", *inputs(churn, tmp_path), "--frames", "--jobs", str(jobs), "--dataset"]
    status = main([*command, str(tmp_path / "whole")])
    expected = rows(tmp_path / "whole")
    assert len(expected) > 12
    assert bool([*(tmp_path / "whole").glob("*/*-p*.parquet")]) is (jobs > 1), "workers write"

    @settings(max_examples=1, deadline=None, phases=[Phase.generate])
    @given(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.integers(0, 1 << 30))
    def interrupted(saves: list[int], number: int) -> None:
        folder = tmp_path / f"set-{number}-{len(list(tmp_path.iterdir()))}"
        found, _ = crashing([*command, str(folder)], saves[0])
        for count in [*saves[1:], 1 << 20]:
            if found is None:
                begun = [*folder.glob("*/*.parquet")]
                assert bool(kept(folder)) or not begun
                found, _ = crashing([*command, str(folder), *(["--resume"] if kept(folder) else [])], count)
        assert found == status
        assert rows(folder) == expected
        assert kept(folder) == []

    interrupted()


@pytest.mark.parametrize("counts", [(1, 2, 1), (2, 1, 3)], ids=str)
def test_another_number_of_processes_goes_on(counts: tuple[int, ...], churn: Path, tmp_path: Path) -> None:
    """Unasked, it is that of this machine's cores."""
    command = ["read", *one_after_another(churn, tmp_path), "--dataset"]
    assert main([*command, str(tmp_path / "whole")]) == ExitCode.OK
    command.append(str(tmp_path / "set"))
    first, second, last = ([*command, "--jobs", str(count)] for count in counts)
    assert crashing(first, 4) == (None, 4)
    assert crashing([*second, "--resume"], 2) == (None, 2)
    assert main([*last, "--resume"]) == ExitCode.OK
    assert rows(tmp_path / "set") == rows(tmp_path / "whole")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster with two worker processes."""
    import distributed

    cluster: Any = distributed.LocalCluster  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
    with cluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0) as running:
        yield running.scheduler_address


def test_a_cluster_s_reading_is_gone_on_with(scheduler: str, churn: Path, tmp_path: Path) -> None:
    """By the same cluster, or by processes that know nothing of it."""
    folder = tmp_path / "set"
    assert main(["read", str(churn), "--frames", "--dataset", str(tmp_path / "whole")]) == ExitCode.OK
    command = ["read", str(churn), "--frames", "--dataset", str(folder)]
    assert crashing([*command, "--cluster", scheduler], 2) == (None, 2)
    assert kept(folder)
    assert [*folder.glob("*/*-p*.parquet")], "its workers write"
    assert crashing([*command, "--jobs", "2", "--resume"], 1) == (None, 1)
    assert main([*command, "--cluster", scheduler, "--resume"]) == ExitCode.OK
    assert rows(folder) == rows(tmp_path / "whole")
    assert kept(folder) == []


def test_workers_of_a_cluster_that_do_not_see_the_folder_write_nothing(
    scheduler: str, churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    monkeypatch.setattr(checkpoint.Checkpoint, "witness", str(tmp_path / "elsewhere"))
    assert main(["read", str(churn), "--dataset", str(tmp_path / "whole")]) == ExitCode.OK
    assert main(["read", str(churn), "--cluster", scheduler, "--dataset", str(folder)]) == ExitCode.OK
    assert rows(folder) == rows(tmp_path / "whole")
    assert not [*folder.glob("*/*-p*.parquet")]
    assert kept(folder) == []


FAST = """
import sys
from socks5sniff.analysis import analyser
from socks5sniff.archive import plan, reading
from socks5sniff.capture import merge
from socks5sniff.cli import main, resuming
analyser.AT_ONCE = 20
resuming.LEAST = resuming.SHARE = 0
merge.REGION, plan.LEAST, reading.WORTH = 50_000, 100_000, 10
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize(("how", "count"), [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGINT, 2)])
def test_a_process_that_is_killed(how: signal.Signals, count: int, churn: Path, tmp_path: Path) -> None:
    jobs = ["--jobs", str(count)]
    assert main(["read", str(churn), "--dataset", str(tmp_path / "whole")]) == ExitCode.OK
    command = [sys.executable, "-c", FAST, "read", str(churn), "--dataset", str(tmp_path / "set"), *jobs]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not [path for path in kept(tmp_path / "set") if path.name.endswith("-1")] and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    left = kept(tmp_path / "set")
    if left:  # it may have been quicker
        left[-1].with_name(f".{left[-1].name}.half").write_bytes(b"one that was being written")
        assert process.returncode == (-how if how is signal.SIGKILL else ExitCode.INTERRUPTED)
        assert ("--resume goes on with it" in err) is (how is signal.SIGINT)
        again = ["read", str(churn), "--dataset", str(tmp_path / "set"), *jobs, "--resume"]
        while (status := main(again)) != ExitCode.OK:
            assert status == ExitCode.USAGE, "workers of the process that was killed hold the lock for a moment"
            assert time.monotonic() < until
            time.sleep(0.1)
    assert rows(tmp_path / "set") == rows(tmp_path / "whole")
    assert kept(tmp_path / "set") == []


@pytest.fixture
def begun(churn: Path, tmp_path: Path) -> tuple[list[str], Path]:
    """A command that was ended in the middle, and its dataset."""
    names = sorted(split(churn, tmp_path, 5))
    command = ["read", *names, "--dataset", str(tmp_path / "set")]
    assert crashing(command, 7) == (None, 7)
    return command, tmp_path / "set"


def test_readers_of_the_dataset_pass_checkpoints_over(begun: tuple[list[str], Path]) -> None:
    _, folder = begun
    assert kept(folder)
    count = len(rows(folder))
    # Polars takes every file of a folder for one of the dataset's, whatever its name, unless it is told.
    assert polars.scan_parquet(folder / "*/*.parquet", hive_partitioning=True).collect().height == count
    assert polars.scan_parquet(folder, hidden_file_prefix="_", hive_partitioning=True).collect().height == count
    assert pyarrow.dataset.dataset(folder, format="parquet", partitioning="hive").count_rows() == count


def test_captures_that_were_read_may_be_gone(begun: tuple[list[str], Path], churn: Path, tmp_path: Path) -> None:
    """A ring forgets the oldest."""
    command, folder = begun
    assert main([*command[:-1], str(tmp_path / "whole")]) == ExitCode.OK
    found = checkpoint.checkpoints(str(folder))[0].progress()[0]
    assert list(found.ended)
    for name in found.ended:
        os.unlink(name)
    assert main([*command, "--resume"]) == ExitCode.OK
    assert rows(folder) == rows(tmp_path / "whole")


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]], ids=["one process", "two"])
def test_a_capture_that_was_damaged_and_is_mended(churn: Path, tmp_path: Path, jobs: list[str]) -> None:
    with suppress(ImportError):  # as Dask does in its own process: exceptions are pickled otherwise from here on
        import_module("tblib.pickling_support").install()
    names = sorted(split(churn, tmp_path, 5))
    assert main(["read", *names, "--dataset", str(tmp_path / "whole")]) == ExitCode.OK
    sound = Path(names[2]).read_bytes()
    Path(names[2]).write_bytes(sound[: len(sound) // 2])
    command = ["read", *names, *jobs, "--dataset", str(tmp_path / "set")]
    assert main(command) == ExitCode.DAMAGED
    parts = [*(tmp_path / "set").glob("*/*.parquet")]
    assert main([*command, "--resume"]) == ExitCode.DAMAGED  # still
    Path(names[2]).write_bytes(sound)
    assert main([*command, "--resume"]) == ExitCode.OK
    assert rows(tmp_path / "set") == rows(tmp_path / "whole")
    assert kept(tmp_path / "set") == []
    assert any(part.exists() for part in parts), "what was read before it is not read again"


def refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main([*arguments]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


def test_without_resume(begun: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, folder = begun
    before = rows(folder)
    assert "add --resume to go on, or remove" in refused(command, capsys)
    assert rows(folder) == before
    other = split(Path(command[1]), tmp_path, 1)
    assert main(["read", *other, "--outcome", "rejected", "--dataset", str(folder)]) == ExitCode.OK
    assert "is unfinished there" in capsys.readouterr().err


def test_what_cannot_go_on(
    begun: tuple[list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, folder = begun
    again = [*command, "--resume"]
    assert "begun with other port" in refused([*again, "--port", "1081"], capsys)
    assert "begun with other where" in refused([*again, "--where", "reply.code == 5"], capsys)
    assert "begun with other captures" in refused(["read", *again[2:]], capsys)
    assert "nothing is unfinished" in refused([*command[:-1], str(tmp_path / "new"), "--resume"], capsys)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "__version__", "0.0.0")
        assert "was begun by socks5sniff" in refused(again, capsys)
    mine = checkpoint.checkpoints(str(folder))[0]
    mine.load()
    assert "another program is at it" in refused(again, capsys)
    mine.leave()
    part = next(folder.glob("*/*.parquet"))
    octets = part.read_bytes()
    part.unlink()
    assert "are gone" in refused(again, capsys)
    part.write_bytes(octets)
    os.utime(command[1], ns=(1, 1))
    assert f"{command[1]} has changed since it was read" in refused(again, capsys)
    assert "--resume goes with --dataset" in refused(["read", *command[1:6], "--resume"], capsys)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_what_others_may_have_written_is_left_alone(
    begun: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, folder = begun
    paths = kept(folder)
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600] * len(paths)
    for path in paths:
        path.chmod(0o620)
    assert "other users may have written it" in refused([*command, "--resume"], capsys)
    for path in paths:
        path.chmod(0o600)
    folder.chmod(0o777)
    assert "other users may have written it" in refused([*command, "--resume"], capsys)
    folder.chmod(0o755)
    os.link(paths[0], tmp_path / "link")
    assert "other users may have written it" in refused([*command, "--resume"], capsys)
    os.unlink(tmp_path / "link")
    for path in paths:
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    assert path.name in refused([*command, "--resume"], capsys)


class Evil:
    """Calls something when it is loaded."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "touch evil"),
        Evil(eval, "1"),
        Evil(getattr, "", "join"),
        Evil(main, []),
        Evil(pickle.loads, b""),
    ],
)
def test_nothing_is_called_that_is_no_part_of_a_state(
    evil: Evil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = checkpoint.Checkpoint(str(tmp_path))
    kept.save(checkpoint.Progress({}, kept.writer), [], [evil], clean=True)
    kept.leave()
    with pytest.raises(ResumeError, match="is no part of a reading's state"):
        kept.load()
    assert not (tmp_path / "evil").exists()


def test_a_damaged_checkpoint(begun: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    command, folder = begun
    whole = {path: path.read_bytes() for path in kept(folder)}
    for octets in (b"", b"{}\n", b"\x80\n", b'{"request":1}\n', b"[1]\n"):
        for path in whole:
            path.write_bytes(octets)
        assert "damaged: remove it" in refused([*command, "--resume"], capsys)
    for path, octets in whole.items():
        path.write_bytes(octets[:-1000])
    assert "cannot be understood" in refused([*command, "--resume"], capsys)


def test_a_fault_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(b"no capture")
    assert main(["read", str(tmp_path / "x.pcap"), "--dataset", str(tmp_path / "set")]) == ExitCode.INPUT
    assert not (tmp_path / "set").exists()


def test_a_dataset_behind_a_url_has_its_checkpoint_in_the_users_own_folder(
    churn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its place a URL of this machine's files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    names = sorted(split(churn, tmp_path, 5))
    assert main(["read", *names, "--dataset", str(tmp_path / "whole")]) == ExitCode.OK
    command = ["read", *names, "--dataset", f"local://{tmp_path}/set"]
    assert crashing(command, 7)[0] is None
    assert kept(tmp_path / "set") == []
    assert len(kept(tmp_path / "state")) > 0
    assert main([*command, "--resume"]) == ExitCode.OK
    assert rows(tmp_path / "set") == rows(tmp_path / "whole")
    assert kept(tmp_path / "state") == []
