"""How far a dataset's making has come, kept in files beside it, so that it can go on after whatever ended it.

There are up to two files for each program that makes it: how far it has come, and how far it had come when last all
captures that it had begun were read, with nothing wrong with them. It goes on from the later one that still holds: what
it says was read must not have changed since, but for captures that are no longer there.

A file is a line of JSON and what the reading kept, pickled. It holds what connections have said, passwords too, so only
its owner may read it; and nobody else's is read, nor one that others may have written. As it is loaded nothing is
called but the classes that a reading's state is made of.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import pickle
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from socks5sniff import __version__
from socks5sniff.capture.creating import lock, whole_file
from socks5sniff.capture.inputs import state as state_of
from socks5sniff.errors import OutputError, ResumeError
from socks5sniff.packets import secret

NAME = "_unfinished-"
"""How the files' names begin: pyarrow and Spark look for no data in files whose names begin with `_`."""
_LINE = 64 << 20
"""Octets of the first line at most."""
_ROOMS = {"record", "codec", "session", "capture", "packets", "streams", "analysis", "archive", "errors"}
"""Of whose classes a reading's state is made."""
_OTHERS = {
    ("collections", "OrderedDict"), ("collections", "deque"), ("collections", "defaultdict"), ("builtins", "set"),
    ("builtins", "frozenset"), ("builtins", "bytearray"), ("builtins", "list"), ("builtins", "dict"),
    ("numpy", "dtype"), ("numpy", "ndarray"),
    *((f"numpy.{core}.{module}", name) for core in ("core", "_core") for module, name in (
        ("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"),
    )),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint says of itself.

    Attributes:
        request: what was asked for: inputs and options by their names.
        writer: what names of the dataset's files have in common.
        files: names of those that hold what was read by then.
        ended, begun: captures that are read, as a whole and in part, with what tells whether one has changed.
        version: of the program.
    """

    request: Mapping[str, Any]
    writer: str
    files: Sequence[str] = ()
    ended: Mapping[str, str | None] = field(default_factory=dict)
    begun: Mapping[str, str | None] = field(default_factory=dict)
    version: str = __version__


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """What was wrong with a capture is kept in its own way: Dask's tblib teaches pickle another one."""
        return value.__reduce__() if isinstance(value, BaseException) else NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only classes of some rooms, and numpy's ways to make arrays."""
        room = module.split(".")
        if (module, name) in _OTHERS:
            return super().find_class(module, name)
        if room[0] == "socks5sniff" and len(room) > 1 and room[1] in _ROOMS and "." not in name:
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a reading's state")


class Checkpoint:
    """The files of one making of a dataset.

    Args:
        folder: where they lie.
        writer: which they are.
    """

    def __init__(self, folder: str, writer: str = "") -> None:
        self._folder = folder
        self.writer = writer or secrets.token_hex(8)
        self._paths = [os.path.join(folder, f"{NAME}{self.writer}-{place}") for place in range(2)]
        self._held: list[int | None] = [None, None]

    @property
    def witness(self) -> str:
        """A file that is there as long as the dataset is being made, so that whoever sees it sees the folder."""
        return self._paths[0]

    @property
    def path(self) -> str:
        """What stands for all of it."""
        return os.path.join(self._folder, f"{NAME}{self.writer}-*")

    def save(self, progress: Progress, names: Sequence[str], state: Any, clean: bool) -> None:
        """Keep how far it has come.

        Args:
            names: of all captures.
            clean: no capture is read in part, and none was damaged.

        Raises:
            OutputError: it cannot be written.
        """
        head = {name: getattr(progress, name) for name in Progress.__slots__}
        line = json.dumps(head, default=str, separators=(",", ":")).encode() + b"\n"
        place = 0 if clean else 1
        try:
            os.makedirs(self._folder, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{error.filename or self._folder}: {error.strerror or error}") from error
        with whole_file(self._paths[place], force=True, lasting=True) as file:
            file.write(line)
            _Pickler(file, 5).dump((secret.key(), tuple(names), state))
            held = self._hold(place, file.fileno())
        self._release(place)
        self._held[place] = held
        if clean:
            self._remove(1)

    def forget(self) -> None:
        """The dataset is finished: remove the files."""
        for place in range(2):
            self._remove(place)

    def leave(self) -> None:
        """Let another program go on with it."""
        for place in range(2):
            self._release(place)

    def progress(self) -> list[Progress]:
        """What its files say, the later one first.

        Raises:
            ResumeError: they are not to be trusted.
        """
        return [progress for _, progress, _ in self._opened()]

    def load(self) -> tuple[Progress, tuple[str, ...], Any]:
        """The later one that still holds: what it says, the captures, the state; from now on it is this program's.

        Raises:
            ResumeError: none does, or they are another program's or another user's.
        """
        reason = "it is gone"
        for place, progress, file in self._opened():
            if progress.version != __version__:
                raise ResumeError(
                    f"{self._paths[place]}: was begun by socks5sniff {progress.version}, which can go on with it"
                )
            changed = _changed(progress)
            if changed is not None:
                reason = f"{changed} has changed since it was read"
                continue
            try:
                key, names, state = _Unpickler(file).load()
            except Exception as error:
                raise ResumeError(f"{self._paths[place]}: cannot be understood: {error}") from None
            secret.share(key)
            self._held[place] = self._hold(place, file.fileno())
            if not place:
                self._remove(1)
            return progress, names, state
        raise ResumeError(f"{self._paths[0]}: {reason}: remove it, and what it began, and read all anew")

    def _opened(self) -> Iterator[tuple[int, Progress, io.BufferedReader]]:
        for place in (1, 0):
            try:
                file = _own(self._paths[place])
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ResumeError(f"{self._paths[place]}: {error.strerror or error}") from None
            with file:
                if self._held[place] is None:
                    try:
                        lock(self._paths[place], file.fileno())
                    except OutputError:
                        raise BusyError(f"{self._paths[place]}: another program is at it") from None
                try:
                    found = Progress(**json.loads(file.readline(_LINE)))
                except (ValueError, TypeError):
                    raise ResumeError(f"{self._paths[place]}: is no checkpoint, or damaged: remove it") from None
                yield place, found, file

    def _hold(self, place: int, descriptor: int) -> int | None:
        """Lock a file for as long as this program may write another one in its place."""
        if os.name != "posix":
            return None  # nothing may take the name of a file that is open
        lock(self._paths[place], descriptor)
        return os.dup(descriptor)

    def _remove(self, place: int) -> None:
        folder, name = os.path.split(self._paths[place])
        begun = glob.iglob(os.path.join(glob.escape(folder), f".{name}.*"))  # when a process was killed
        for path in (self._paths[place], *begun):
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._release(place)

    def _release(self, place: int) -> None:
        held, self._held[place] = self._held[place], None
        if held is not None:
            os.close(held)


class BusyError(ResumeError):
    """Another program is making it just now."""


def checkpoints(folder: str) -> list[Checkpoint]:
    """Those in a folder, the newest first."""
    found: dict[str, float] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            writer = entry.name.removeprefix(NAME)[:-2]
            if entry.name.startswith(NAME) and entry.name[-2:] in ("-0", "-1") and writer.isalnum():
                with contextlib.suppress(OSError):
                    found[writer] = max(found.get(writer, 0), entry.stat(follow_symlinks=False).st_mtime)
    return [Checkpoint(folder, writer) for writer in sorted(found, key=found.__getitem__, reverse=True)]


def _own(path: str) -> io.BufferedReader:
    """The file, if nobody else can have written it.

    Raises:
        ResumeError: somebody else can.
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    status = os.fstat(file.fileno())
    own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if hasattr(os, "geteuid"):
        folder = os.stat(os.path.dirname(path) or ".").st_mode
        own &= status.st_uid == os.geteuid() and not status.st_mode & 0o077
        own &= not folder & 0o002 or bool(folder & stat.S_ISVTX)
    if not own:
        file.close()
        raise ResumeError(f"{path}: other users may have written it, so it is left alone")
    return file


def _changed(progress: Progress) -> str | None:
    """A capture that is another one since it was read. Of those that were read as a whole some may be gone by now, and
    into some that were empty something may have been written."""
    for name, known in (*progress.begun.items(), *progress.ended.items()):
        now = state_of(name)
        harmless = name in progress.ended and (now is None or (known or "").startswith("0 "))
        if now != known and not harmless:
            return name
    return None
