"""Opening files to be written: never another user's, and never through a link that somebody else can have put there.

A program that captures often runs as root, and what it writes is nobody else's business.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, NamedTuple

from ..errors import OutputError

_NAME = 200
"""Octets of a file's name that its temporary name repeats: names have at most 255."""


class Owner(NamedTuple):
    """Whose a file is to be."""

    uid: int
    gid: int


def open_to_write(path: str, *, private: bool, append: bool = False, owner: Owner | None = None) -> FileIO:
    """Opens a file; what is written to a regular one always goes to its end.

    Args:
        path: of the file, which need not exist. Devices and pipes are taken as they are.
        private: only the owner may read it (mode 0600), also if it was there with another mode.
        append: leave what is there; otherwise the file is emptied, and no other program may open it so meanwhile.
        owner: whose the file is to be; None for the user this program runs as.

    Raises:
        OutputError: it cannot be opened, is another user's, a link in a folder that others may write to, or (unless
            `append`) being written by another program.
    """
    try:
        descriptor, made = _open(path, 0o600 if private else 0o666, owner)
    except OSError as error:
        raise OutputError(f"{path}: {_reason(error)}") from error
    try:
        found = os.fstat(descriptor)
        if not made and not stat.S_ISCHR(found.st_mode):
            _check(path, found, owner, append)
        if stat.S_ISREG(found.st_mode):
            if not append:
                lock(path, descriptor)
                os.ftruncate(descriptor, 0)
            if hasattr(os, "fchmod"):
                if private:
                    os.fchmod(descriptor, 0o600)
                if made and owner is not None:
                    with contextlib.suppress(OSError):  # a container may not allow it
                        os.fchown(descriptor, *owner)
        return FileIO(descriptor, "wb")
    except OSError as error:
        os.close(descriptor)
        raise OutputError(f"{path}: {_reason(error)}") from error
    except BaseException:
        os.close(descriptor)
        raise


@contextlib.contextmanager
def whole_file(
    path: str, *, force: bool = False, private: bool = True, lasting: bool = False
) -> Iterator[IO[bytes]]:
    """A file that has its name only once it is complete: nothing of it is left where something goes wrong before.

    Args:
        path: of the file, `-` for standard output. Devices and pipes are written as they are.
        force: replace a file that is there.
        private: only the owner may read it (mode 0600).
        lasting: once it has its name, it is whole after a power failure, too.

    Raises:
        OutputError: it cannot be written, or is there and `force` is not. (A reader of standard output that went away
            is a BrokenPipeError.)
    """
    if path == "-":
        if sys.stdout is None:
            raise OutputError("standard output: it is closed")
        try:
            yield sys.stdout.buffer
        except OutputError as error:
            if isinstance(error.__cause__, BrokenPipeError):
                raise error.__cause__ from None
            raise
        return
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with open_to_write(path, private=private) as device:
            device.name = path
            yield device
        return
    _refuse_existing(path, force)
    folder, name = os.path.split(path)
    try:
        file = NamedTemporaryFile(dir=folder or ".", prefix=f".{name[:_NAME]}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"{path}: {_reason(error)}") from error
    temporary, file.name = file.name, path  # it is the file's name that errors tell
    try:
        with file:
            yield file
            file.flush()
            if not private and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            if lasting:
                os.fsync(file.fileno())
        _refuse_existing(path, force)
        os.replace(temporary, path)
        if lasting and os.name == "posix":
            _sync_folder(folder or ".")
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise OutputError(f"{path}: {_reason(error)}") from error
        raise


def _sync_folder(folder: str) -> None:
    """Names in it are kept, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_existing(path: str, force: bool) -> None:
    if not force and os.path.lexists(path):
        raise OutputError(f"{path}: is there already, and is left alone; --force replaces it")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _open(path: str, mode: int, owner: Owner | None) -> tuple[int, bool]:
    """A descriptor, and whether the file was made just now."""
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, mode), True
    except FileExistsError:
        pass
    if _others_may_write(Path(path).parent, owner):
        flags |= getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags), False


def _others_may_write(folder: Path, owner: Owner | None) -> bool:
    if not hasattr(os, "geteuid"):
        return False
    found = folder.stat()
    mine = {0, os.geteuid(), *(owner or ())[:1]}
    return bool(found.st_mode & 0o022) or found.st_uid not in mine


def _check(path: str, found: os.stat_result, owner: Owner | None, append: bool) -> None:
    """What is there must be one's own; who may do no more than append may do so."""
    if not hasattr(os, "geteuid"):
        return
    mine = os.geteuid() if owner is None else owner.uid
    if found.st_uid != mine and (not append or os.geteuid() == 0):
        raise OutputError(f"{path}: belongs to another user ({_name(found.st_uid)}), and is left alone")
    if found.st_nlink > 1 and _others_may_write(Path(path).parent, owner):
        raise OutputError(f"{path}: has another name elsewhere (a hard link), and is left alone")


def lock(path: str, descriptor: int) -> None:
    """Held until the file is closed.

    Raises:
        OutputError: another program has it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path}: another program is writing it") from None
    except OSError:
        return  # a file system without locks


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link, in a folder that others may write to"
    return error.strerror or str(error)


def _name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)
