"""What `socks5sniff.read` takes: paths, octets, open files, and several of them."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.errors import InputError
from tests.cli.capture import capture

THREE = capture(3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "x.pcap"
    found.write_bytes(THREE)
    return found


def found(given: object, **options: object) -> list[str]:
    return [str(c.destination) for c in socks5sniff.read(given, **options)]  # type: ignore[arg-type]


EXPECTED = [f"host{number}.example.com:443" for number in range(3)]


def test_paths(path: Path) -> None:
    assert found(str(path)) == found(path) == EXPECTED


def test_octets() -> None:
    assert found(THREE) == found(bytearray(THREE)) == found(memoryview(THREE)) == EXPECTED
    assert found(gzip.compress(THREE)) == EXPECTED


def test_open_files_are_read_from_where_they_stand_and_stay_open(path: Path) -> None:
    with path.open("rb") as file:
        assert found(file) == EXPECTED
        assert not file.closed
        file.seek(0)
        (conversation, *_) = socks5sniff.read(file)
        assert conversation.capture == str(path)
    with gzip.open(io.BytesIO(gzip.compress(THREE))) as file:
        assert found(file) == EXPECTED
    assert found(io.BytesIO(THREE)) == EXPECTED
    with path.open("rb", buffering=0) as raw:
        assert found(raw) == EXPECTED


def test_a_file_in_text_mode_is_read_as_what_it_is(path: Path) -> None:
    with path.open() as file:
        assert found(file) == EXPECTED


def test_a_pipe_of_another_program(path: Path) -> None:
    code = f"import sys; sys.stdout.buffer.write(open({str(path)!r}, 'rb').read())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert found(process.stdout) == EXPECTED


def test_several_of_all_kinds(path: Path) -> None:
    records = list(socks5sniff.read([path, io.BytesIO(THREE)]))
    assert {record.capture for record in records} <= {str(path), "octets"}
    assert max(record.last_frame for record in records) == 60


@pytest.mark.parametrize("given", [5, None, [None], io.StringIO("text")])
def test_anything_else_is_told_what_is_taken(given: object) -> None:
    with pytest.raises(TypeError, match="a capture is a path, its octets, or a file opened with 'rb'"):
        found(given)


def test_a_closed_file(path: Path) -> None:
    with path.open("rb") as file:
        pass
    with pytest.raises(InputError, match="closed file"):
        found(file)


def test_no_octets() -> None:
    with pytest.raises(InputError, match="octets: empty"):
        found(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_an_open_descriptor_by_its_path(path: Path) -> None:
    with path.open("rb") as file:
        assert found(f"/dev/fd/{file.fileno()}") == EXPECTED
