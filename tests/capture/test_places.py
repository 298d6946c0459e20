"""Where files are made that nobody sees before they are whole; what `whole_file` does is in `test_creating`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from socks5sniff.capture.places import Place
from socks5sniff.errors import MissingError, OutputError

fsspec = pytest.importorskip("fsspec")


class StopError(Exception):
    """Something else goes wrong meanwhile."""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, in which nothing is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    fsspec.filesystem("memory").store.clear()
    assert list(folder.iterdir()) == []


def test_a_folder_is_made_with_the_first_file(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()
    with place("c/d") as file:
        file.write(b"octets")
        assert not (tmp_path / "a" / "b" / "c" / "d").exists()
    assert (tmp_path / "a" / "b" / "c" / "d").read_bytes() == b"octets"


@pytest.mark.parametrize("where", ["folder", "memory://place"])
def test_what_fails_leaves_nothing(where: str, tmp_path: Path) -> None:
    place = Place(where if "://" in where else str(tmp_path / where))
    with suppress(StopError), place("c/d") as file:
        file.write(b"octets")
        raise StopError
    assert not [path for path in (tmp_path / "folder").rglob("*") if path.is_file()]
    assert fsspec.filesystem("memory").find("/") == []


def test_behind_a_url(scratch: Path) -> None:
    memory = fsspec.filesystem("memory")
    with Place("memory://place/")("c/d") as file:
        file.write(b"octets")
        assert memory.find("/") == []
    assert memory.find("/") == ["/place/c/d"]
    assert memory.cat("/place/c/d") == b"octets"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("403"), "memory://place: no permission to write there"),
        (OSError("the server is gone"), "memory://place: cannot be written: the server is gone"),
        (ValueError("see https://host/x?signature=secret"), "memory://place: cannot be written: see https://host/x"),
    ],
)
def test_what_a_server_refuses(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    place = Place("memory://place")
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
    with pytest.raises(OutputError) as caught, place("c/d") as file:
        file.write(b"octets")
    assert str(caught.value) == said


def test_a_full_disk_is_told_with_the_folder(scratch: Path) -> None:
    said = f"{scratch}: No space left on device; TMPDIR names another folder"
    with pytest.raises(OutputError, match=said), Place("memory://place")("c/d"):
        raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "nowhere://x", "ssh://me:secret@host/x"])
def test_where_nothing_can_be_written(url: str) -> None:
    with pytest.raises((OutputError, MissingError)) as caught:
        Place(url)
    assert "secret" not in str(caught.value)
