"""How many processes read where nobody says it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from socks5sniff.archive import plan, processes
from socks5sniff.cli import main, working
from socks5sniff.errors import ExitCode
from socks5sniff.explain import Overview
from socks5sniff.stats import Statistics
from socks5sniff.where import Expression
from tests.benchmarks import captures


def sized(path: Path, octets: int) -> str:
    """A file that is that long, and takes no room."""
    path.touch()
    os.truncate(path, octets)
    return str(path)


def made(folder: Path, conversations: int) -> str:
    """A capture of so many."""
    captures.write("churn", folder / "churn.pcap", conversations)
    return str(folder / "churn.pcap")


def alone(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What one process prints."""
    assert main([*command, "--jobs", "1"]) == ExitCode.OK
    return capsys.readouterr().out


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "_cores", lambda: 4)
    monkeypatch.setattr(working, "_memory", lambda: 64 << 30)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("megabytes", "count"), [(0, 1), (20, 1), (511, 1), (512, 2), (767, 2), (768, 3), (1024, 4), (100_000, 4)]
)
def test_one_for_every_256_mb_as_many_as_there_are_cores(megabytes: int, count: int, tmp_path: Path) -> None:
    assert working.worthwhile([sized(tmp_path / "a", megabytes << 20)]) == count


@pytest.mark.usefixtures("four_cores")
def test_all_captures_count(tmp_path: Path) -> None:
    names = [sized(tmp_path / str(number), 64 << 20) for number in range(12)]
    assert working.worthwhile(names) == 3
    assert working.worthwhile([*names, "s3://bucket/capture.pcap", str(tmp_path / "none")]) == 3, "of unknown size"


def test_no_more_than_eight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "_cores", lambda: 64)
    monkeypatch.setattr(working, "_memory", lambda: 64 << 30)
    assert working.worthwhile([sized(tmp_path / "a", 1 << 40)]) == 8


def test_one_for_every_gigabyte_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "_cores", lambda: 8)
    capture = sized(tmp_path / "a", 10 << 30)
    for octets, count in ((100 << 20, 1), (3 << 30, 3), (64 << 30, 8)):
        monkeypatch.setattr(working, "_memory", lambda octets=octets: octets)
        assert working.worthwhile([capture]) == count


def test_memory_is_that_of_this_machine_or_less() -> None:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 62
    assert 1 << 20 < working._memory() <= pages


def test_this_process_may_use_no_more_cores_than_it_is_given() -> None:
    assert 1 <= working._cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("share", "options", "started"), [(100_000, [], [3]), (1 << 40, [], []), (1, ["--jobs", "1"], [])]
)
@pytest.mark.parametrize(
    "command", [["read", "--format", "jsonl"], ["stats"], ["explain"], ["bypass", "--all"]], ids=str
)
def test_the_same_comes_out(
    command: list[str],
    share: int,
    options: list[str],
    started: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capture = made(tmp_path, 200)
    expected = alone([*command, capture], capsys)
    counts = []

    class Counted(processes.Processes):
        def __init__(self, count: int) -> None:
            counts.append(count)
            super().__init__(count)

    monkeypatch.setattr(processes, "Processes", Counted)
    monkeypatch.setattr(working, "SHARE", share)
    monkeypatch.setattr(working, "_cores", lambda: 3)
    monkeypatch.setattr(working, "_memory", lambda: 64 << 30)
    assert main([*command, capture, *options]) == ExitCode.OK
    assert capsys.readouterr().out == expected
    assert counts == started


@pytest.mark.parametrize("filters", [[], ["-Y", "id <= 150 && duration >= 0"]], ids=["all", "some, by their ids"])
@pytest.mark.parametrize("command", ["stats", "explain"])
def test_figures_are_counted_where_records_are_made(
    command: str,
    filters: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The process that puts them together gets those of few conversations only: of what goes on between pieces."""
    asked = [command, made(tmp_path, 300), *filters]
    expected = alone(asked, capsys)
    monkeypatch.setattr(plan, "LEAST", 50_000)
    here = []
    for counted in (Statistics, Overview):
        add = counted.add
        monkeypatch.setattr(counted, "add", lambda self, c, add=add: here.append(c.id) or add(self, c))
    assert main([*asked, "--jobs", "2"]) == ExitCode.OK
    assert capsys.readouterr().out == expected
    assert len(here) < 60


def test_with_a_condition_to_fail_each_record_is_looked_at_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["stats", made(tmp_path, 60), "--fail-if", "reply.code == 0"]
    said = []
    for jobs in ("1", "2"):
        assert main([*command, "--jobs", jobs]) == ExitCode.MATCHED
        said.append(capsys.readouterr())
    assert said[0] == said[1]


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "accesslog", "table"])
@pytest.mark.parametrize(
    ("where", "here"),
    [
        ("destination.port == 443 && bytes.sent > 100", False),
        ("outcome == 'rejected'", False),
        ("id < 100 || id > 250", True),
        ("parent != 3 && id < 200", True),
    ],
)
def test_filters_are_asked_where_records_are_made(
    where: str,
    here: bool,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """But those that need to know ids, and for formats that are not lines."""
    command = ["read", made(tmp_path, 300), "--format", form, "-Y", where]
    expected = alone(command, capsys)
    monkeypatch.setattr(plan, "LEAST", 50_000)
    asked = []
    call = Expression.__call__
    monkeypatch.setattr(Expression, "__call__", lambda self, c: asked.append(c.id) or call(self, c))
    assert main([*command, "--jobs", "2"]) == ExitCode.OK
    assert capsys.readouterr().out == expected
    assert (len(asked) == 300) is (here or form == "table")


def test_no_process_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = made(tmp_path, 60)

    def refused(*_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(processes, "_Worker", refused)
    assert main(["read", capture, "--jobs", "2"]) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert err.endswith("--jobs 1 needs none\n")
    assert err.count("\n") == 1
