"""Datasets whose files workers write: the rows are those of one reading, whatever becomes of workers and disks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from socks5sniff.archive import plan
from socks5sniff.archive import reading as reading_module
from socks5sniff.archive.stretch import Stretch
from socks5sniff.capture.places import Place
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode, OutputError
from socks5sniff.record.batch import written
from socks5sniff.sinks import parquet, writing
from tests.benchmarks import captures
from tests.sinks.samples import sample

from .test_reading import split

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 conversations, with midnight in the middle of them."""
    path = tmp_path_factory.mktemp("parts") / "churn.pcap"
    captures.write("churn", path, 500)
    octets = bytearray(path.read_bytes())
    times, at = [], 24
    while at < len(octets):
        times.append(at)
        at += 16 + int.from_bytes(octets[at + 8 : at + 12], "little")
    middle = times[len(times) // 2]
    seconds, micros = (int.from_bytes(octets[middle + k : middle + k + 4], "little") for k in (0, 4))
    ahead = (-(seconds * 10**6 + micros)) % (DAY * 10**6)
    for at in times:
        now = sum(int.from_bytes(octets[at + k : at + k + 4], "little") * f for k, f in ((0, 10**6), (4, 1))) + ahead
        octets[at : at + 8] = (now // 10**6).to_bytes(4, "little") + (now % 10**6).to_bytes(4, "little")
    path.write_bytes(octets)
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LEAST", 100_000)
    monkeypatch.setattr(reading_module, "WORTH", 20)
    monkeypatch.setattr("socks5sniff.analysis.analyser.AT_ONCE", 20)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    query = f"SELECT * EXCLUDE capture FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true) ORDER BY id"
    return duckdb.connect().execute(query).fetchall()


def by_workers(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*.parquet") if re.search(r"-p\d+\.parquet$", path.name)]


def others(folder: Path) -> list[Path]:
    """What is no file of the dataset."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name[0] in "_."]


@pytest.fixture(scope="module")
def expected(churn: Path) -> list[tuple[Any, ...]]:
    """The rows of one reading."""
    folder = churn.with_name("one")
    assert main(["read", str(churn), "--dataset", str(folder)]) == ExitCode.OK
    return rows(folder)


@pytest.mark.parametrize(
    "options",
    [["--frames"], ["--where", "id > 100 and destination.type == 'domain'", "--show-passwords"]],
    ids=["all", "some"],
)
def test_rows_are_those_of_one_reading(options: list[str], churn: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    names = split(churn, tmp_path, 5)
    for folder, jobs in (one, "1"), (two, "2"):
        assert main(["read", *names, *options, "--jobs", jobs, "--dataset", str(folder)]) == ExitCode.OK
    found = rows(one)
    assert len(found) > 200
    assert rows(two) == found
    assert len({path.parent.name for path in by_workers(two)}) == 2, "before midnight and behind it"
    assert others(two) == []
    modes = {path.stat().st_mode & 0o777 for path in two.glob("*/*")}
    assert modes == {path.stat().st_mode & 0o777 for path in one.glob("*/*")}


def test_conversations_inside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "WORTH", 1)
    for folder, jobs in (tmp_path / "one", "1"), (tmp_path / "two", "2"):
        command = ["read", str(ROOT / "captures/chain-of-three.pcapng"), "--jobs", jobs, "--dataset", str(folder)]
        assert main(command) == ExitCode.OK
    assert rows(tmp_path / "two") == rows(tmp_path / "one")
    [path] = by_workers(tmp_path / "two")
    [[nested]] = duckdb.connect().execute(f"SELECT count(parent) FROM '{path}'").fetchall()
    assert nested


def test_what_matches_is_judged_where_all_records_are(churn: Path, tmp_path: Path) -> None:
    command = ["read", str(churn), "--jobs", "2", "--fail-if", "id == 400", "--dataset", str(tmp_path / "set")]
    assert main(command) == ExitCode.MATCHED
    assert not by_workers(tmp_path / "set")


def test_few_records_are_no_file(churn: Path, expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """Of a piece, of a day in it, or of what a filter leaves."""
    assert main(["read", str(churn), "--jobs", "2", "--dataset", str(tmp_path / "all")]) == ExitCode.OK
    few = ["read", str(churn), "--jobs", "2", "--where", "id in {7, 77, 477}"]
    assert main([*few, "--dataset", str(tmp_path / "few")]) == ExitCode.OK
    assert [row[0] for row in rows(tmp_path / "few")] == [7, 77, 477]
    assert not by_workers(tmp_path / "few")
    assert rows(tmp_path / "all") == expected
    for path in by_workers(tmp_path / "all"):
        [[count]] = duckdb.connect().execute(f"SELECT count(*) FROM '{path}'").fetchall()
        assert count >= reading_module.WORTH


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that have what the test has changed."""
    if sys.platform != "linux":
        pytest.skip("elsewhere nothing is forked")
    monkeypatch.setattr("socks5sniff.archive.processes.threading.active_count", lambda: 1)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("moment", ["before", "within", "behind"])
def test_a_worker_that_dies_while_it_writes(
    moment: str, churn: Path, expected: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one analyses the piece again, and writes it."""
    write, commit = Stretch.write, parquet._File.commit
    driver = os.getpid()

    def die() -> None:
        if os.getpid() != driver and not (tmp_path / "dead").exists():
            (tmp_path / "dead").touch()
            os._exit(9)

    def dying_write(*arguments: Any) -> Any:
        if moment == "before":
            die()
        found = write(*arguments)
        if moment == "behind":
            die()
        return found

    def dying_commit(file: parquet._File) -> None:
        file._write_out()
        die()
        commit(file)

    monkeypatch.setattr(Stretch, "write", dying_write)
    if moment == "within":
        monkeypatch.setattr(parquet._File, "commit", dying_commit)
    assert main(["read", str(churn), "--jobs", "2", "--dataset", str(tmp_path / "set")]) == ExitCode.OK
    assert (tmp_path / "dead").exists()
    assert rows(tmp_path / "set") == expected
    assert by_workers(tmp_path / "set")
    assert others(tmp_path / "set") == []


def no_room(place: Place, driver: int, begin: Callable[[Place, str], Any], name: str) -> Any:
    if os.getpid() != driver:
        raise OutputError(f"{name}: No space left on device")
    return begin(place, name)


@pytest.mark.usefixtures("forked")
def test_what_a_worker_cannot_write_is_written_by_the_one_that_asked(
    churn: Path, expected: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, driver = Place.__call__, os.getpid()
    monkeypatch.setattr(Place, "__call__", lambda place, name: no_room(place, driver, begin, name))
    assert main(["read", str(churn), "--jobs", "2", "--dataset", str(tmp_path / "set")]) == ExitCode.OK
    assert rows(tmp_path / "set") == expected
    assert not by_workers(tmp_path / "set")


FULL = """
import resource, sys
from socks5sniff.archive import plan, reading
from socks5sniff.cli import main
plan.LEAST, reading.WORTH = 100_000, 20
resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit that Linux has")
def test_no_room_for_anybody(churn: Path, expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """One line, nothing with a name that is not whole, and --resume goes on."""
    folder = tmp_path / "set"
    command = ["read", str(churn), "--jobs", "2", "--dataset", str(folder)]
    ended = subprocess.run([sys.executable, "-c", FULL, *command], capture_output=True, text=True)
    assert ended.returncode == ExitCode.OUTPUT
    said = ended.stderr.splitlines()
    assert len(said) == 2
    assert "File too large" in said[1]
    assert "--resume goes on with it" in said[0]
    assert [path.name[:12] for path in folder.rglob("*") if path.is_file()] == ["_unfinished-"]
    assert main([*command, "--resume"]) == ExitCode.OK
    assert rows(folder) == expected


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is written where another machine has another folder of that name."""
    batch = written([sample(id=number) for number in range(1, 4)])
    there = partial(os.path.lexists, str(tmp_path / "witness"))
    write = writing(Place(str(tmp_path / "set")), there, "x", None)
    names, left = write(1, batch, 1)
    assert (names, [row.id for row in left]) == ([], [1, 2, 3])
    assert not (tmp_path / "set").exists()
    (tmp_path / "witness").touch()
    names, left = write(1, batch, 1)
    assert [str(path.relative_to(tmp_path / "set")) for path in (tmp_path / "set").glob("*/*")] == names
    assert len(left) == 0
