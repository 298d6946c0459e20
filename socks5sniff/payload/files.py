"""Files of what tunnels carried, in a folder that has its name once all of it is there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from socks5sniff.errors import OutputError

from .chunks import Octets

MANIFEST = "manifest.jsonl"
BUFFERED = 32 << 20
"""Octets of all files that wait to be written: a file is opened once for many of them, and thousands grow at a time."""
_ZEROS = bytes(1 << 16)


class Limits(NamedTuple):
    """Bounds of what is written."""

    size: int
    """Octets of a file."""
    files: int
    """Files, the manifest not counted."""


class Growing:
    """A file that is being written, with what the manifest says of it.

    Attributes:
        entry: its line in the manifest, as far as it is known.
    """

    def __init__(self, folder: Folder, entry: dict[str, Any], name: str) -> None:
        self.entry = entry | {"file": name, "octets": 0, "sha256": "", "missing": []}
        self._folder = folder
        self._path = os.path.join(folder.path, name)
        self._digest = hashlib.sha256()
        self._room = folder.limits.size
        self._waiting: list[Octets] = []
        self._held = 0
        self._omitted = 0
        self._made = False

    def add(self, octets: Octets) -> None:
        """The next octets; those beyond the largest size are left out, and counted."""
        length = len(octets)
        if length > self._room:
            self._omitted += length - self._room
            octets, length = octets[: self._room], self._room
        if length:
            self._digest.update(octets)
            self._room -= length
            self._waiting.append(bytes(octets))
            self._held += length
            self._folder.hold(self, length)

    def miss(self, offset: int, length: int, fill: bool) -> None:
        """Octets that are not there; zeros in their place where `fill` says so."""
        self.entry["missing"].append([offset, length])
        while fill and length > 0:
            if not self._room:
                self._omitted += length
                break
            self.add(_ZEROS[:length])
            length -= len(_ZEROS)

    def write(self) -> int:
        """Write what waits; gives how many octets that were."""
        held, self._held = self._held, 0
        with open(self._path, "ab" if self._made else "xb", buffering=0) as file:
            _write(file, b"".join(self._waiting))
        self._made = True
        self._waiting.clear()
        return held

    def close(self) -> dict[str, Any]:
        """All of it is there: its line in the manifest."""
        if self._held or not self._made:
            self._folder.release(self, self.write())
        self.entry["octets"] = self._folder.limits.size - self._room
        self.entry["sha256"] = self._digest.hexdigest()
        if self._omitted:
            self.entry["omitted"] = self._omitted
        return self.entry


def _write(file: FileIO, octets: bytes) -> None:
    """All of it: a system may take less at a time."""
    rest = memoryview(octets)
    while rest:
        rest = rest[file.write(rest) :]


class Folder:
    """Where files are written.

    Attributes:
        path: the folder, under its temporary name.
        left_out: files that were not begun, because there would have been too many.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.left_out = 0
        self._files = 0
        self._held = 0
        self._holding: dict[Growing, None] = {}
        self._entries: list[dict[str, Any]] = []

    def begin(self, entry: dict[str, Any], name: str) -> Growing | None:
        """A new file, None where there are too many. `name` must be safe, and no other file's."""
        if self._files >= self.limits.files:
            self.left_out += 1
            return None
        self._files += 1
        return Growing(self, entry, name)

    def end(self, file: Growing) -> None:
        """A file is whole."""
        self._entries.append(file.close())

    def hold(self, file: Growing, octets: int) -> None:
        """A file has so many more octets to write."""
        self._holding[file] = None
        self._held += octets
        if self._held > BUFFERED:
            for each in self._holding:
                each.write()
            self._holding.clear()
            self._held = 0

    def release(self, file: Growing, octets: int) -> None:
        """A file has written so many octets."""
        self._held -= octets
        self._holding.pop(file, None)

    def write_manifest(self) -> int:
        """Write the manifest, by id; gives how many files it lists."""
        with (self.path / MANIFEST).open("x", encoding="utf-8", newline="\n") as file:
            for entry in sorted(self._entries, key=lambda entry: (entry["id"], entry["kind"] != "stream")):
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return len(self._entries)


@contextmanager
def whole_folder(path: str, limits: Limits, *, force: bool) -> Iterator[Folder]:
    """A folder that has its name only once it is complete; nothing of it is left where something goes wrong before.

    Args:
        path: of the folder. An empty one may be there.
        force: replace a folder that an earlier extraction made, which its manifest shows.

    Raises:
        OutputError: it cannot be written, or something else is there.
    """
    place = Path(path).absolute()
    _refuse_existing(place, path, force)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name[:200]}.", dir=place.parent))
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
    try:
        yield Folder(temporary, limits)
        _refuse_existing(place, path, force)
        _replace(temporary, place)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise OutputError(f"{path}: {error.strerror or error}") from error
        raise


def _refuse_existing(place: Path, path: str, force: bool) -> None:
    if not os.path.lexists(place):
        return
    if not place.is_dir() or place.is_symlink():
        raise OutputError(f"{path}: is there already, and is no folder")
    if not any(place.iterdir()):
        return
    if not force:
        raise OutputError(f"{path}: is there already, and is left alone; --force replaces what extract wrote there")
    if not (place / MANIFEST).is_file():
        raise OutputError(f"{path}: has files and no {MANIFEST}, so extract did not write it, and it is left alone")


def _replace(temporary: Path, place: Path) -> None:
    """Give the folder its name; what was there under it goes last."""
    if not place.is_dir():
        temporary.rename(place)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{place.name[:200]}.", dir=place.parent))
    place.replace(old / "old")
    try:
        temporary.rename(place)
    except OSError:
        with contextlib.suppress(OSError):
            (old / "old").replace(place)
            old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
