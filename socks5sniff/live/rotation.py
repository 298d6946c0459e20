"""Output that is cut into files: when a new one begins, what it is called, and how many stay."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import localtime, strftime


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to begin a new file, and how many to keep; 0 for never, and for all.

    Attributes:
        size: octets of a file, about.
        seconds: age of a file.
        keep: files to keep; the oldest go.
        keep_size: octets that all files may have together; the oldest go.
    """

    size: int = 0
    seconds: float = 0
    keep: int = 0
    keep_size: int = 0

    @property
    def active(self) -> bool:
        return bool(self.size or self.seconds)

    def due(self, octets: int, age: float) -> bool:
        """Whether a file of so many octets, begun so many seconds ago, is to be followed by another."""
        return bool((self.size and octets >= self.size) or (self.seconds and age >= self.seconds))


class Series:
    """The files of a rotation: number and time come before the name's ending.

    Those of earlier runs are taken over: the numbers go on, and they are counted among those to keep.

    Attributes:
        files: how many this run has begun.
    """

    def __init__(self, path: str, rotation: Rotation) -> None:
        """Begins none yet; `path` is the name without number and time, and that of the only file if there is no
        rotation."""
        self.files = 0
        self._path = Path(path)
        self._rotation = rotation
        self._number = max((number for number, _, _ in self._found()), default=0) if rotation.active else 0

    def next(self, now: int) -> Path:
        """The path of the next file, begun at `now` (nanoseconds since 1970)."""
        self.files += 1
        if not self._rotation.active:
            return self._path
        self._number += 1
        stamp = strftime("%Y%m%d%H%M%S", localtime(now / 1e9))
        return self._path.with_name(f"{self._path.stem}_{self._number:05d}_{stamp}{self._path.suffix}")

    def tidy(self) -> None:
        """Delete the oldest files beyond those to keep; never the newest."""
        keep, room = self._rotation.keep, self._rotation.keep_size
        if not (self._rotation.active and (keep or room)):
            return
        found = sorted(self._found())
        total = sum(size for _, size, _ in found)
        while len(found) > 1 and ((keep and len(found) > keep) or (room and total > room)):
            _, size, path = found.pop(0)
            total -= size
            with contextlib.suppress(OSError):
                path.unlink()

    def _found(self) -> Iterator[tuple[int, int, Path]]:
        """Number, octets and path of this user's files that have such a name."""
        name = re.compile(rf"{re.escape(self._path.stem)}_(\d{{5,}})_\d{{14}}{re.escape(self._path.suffix)}")
        try:
            entries = [*os.scandir(self._path.parent)]
        except OSError:
            return
        for entry in entries:
            match = name.fullmatch(entry.name)
            if match:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_uid in _mine():
                        yield int(match[1]), status.st_size, Path(entry.path)


def _mine() -> set[int]:
    """Of this user, and of who called sudo, whose root's files become."""
    if not hasattr(os, "geteuid"):
        return {0}
    return {os.geteuid(), int(os.environ.get("SUDO_UID", os.geteuid()))} if os.geteuid() == 0 else {os.geteuid()}
