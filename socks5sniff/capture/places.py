"""Where files are written that nobody shall see before they are whole: a file's path, or a folder or URL of many."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO

from ..errors import InputError, OutputError
from .creating import whole_file
from .remote import Remote, is_url


class Place:
    """A file, or a folder or URL in which there are to be some."""

    def __init__(self, where: str, *, private: bool = False) -> None:
        """
        Args:
            where: a path, or a URL that fsspec knows.
            private: only the user may read the files (mode 0600). Behind a URL its owner decides that.

        Raises:
            OutputError: the URL is of a place where nothing can be written.
            MissingError: it needs a package that is not installed.
        """
        self._where = where
        self._private = private
        self._known: Remote | None = None
        if self._remote is not None:
            self._remote.check_writable()

    def __getstate__(self) -> dict[str, object]:
        """In another process it is reached anew, once there is something to write."""
        return {**vars(self), "_known": None}

    @property
    def _remote(self) -> Remote | None:
        """What is behind the URL, where it is one."""
        if self._known is None and is_url(self._where):
            try:
                self._known = Remote(self._where)
            except InputError as error:
                raise OutputError(str(error)) from None
        return self._known

    def __call__(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Begins a file of that name in the folder or behind the URL, or (`""`) the file that the place is.

        It gets its name when the context ends, and takes the place of one that had it. Nothing of it is left where the
        context ends with an exception.

        Raises:
            OutputError: it cannot be written; raised by the context, too.
        """
        if self._remote is not None:
            return _sent(self._remote, name)
        path = os.path.join(self._where, name) if name else self._where
        return _made(path, self._private)

    def names(self, beginning: str) -> list[str]:
        """Names of the files in it whose last part begins so, and of those that were to be called so.

        Raises:
            OutputError: they cannot be listed.
        """
        if self._remote is not None:
            found = self._remote.names()
        else:
            found = [
                os.path.relpath(os.path.join(folder, file), self._where)
                for folder, _, files in os.walk(self._where)
                for file in files
            ]
        return [name for name in found if re.split(r"[/\\]", name)[-1].removeprefix(".").startswith(beginning)]

    def remove(self, name: str) -> None:
        """Remove a file of it.

        Raises:
            OutputError: it cannot be removed.
        """
        if self._remote is not None:
            self._remote.remove(name)
            return
        path = os.path.join(self._where, name)
        try:
            os.unlink(path)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _made(path: str, private: bool) -> Iterator[IO[bytes]]:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename or path}: {error.strerror or error}") from error
    try:
        with whole_file(path, force=True, private=private, lasting=True) as file:
            yield file
    except OSError as error:  # of a device
        raise OutputError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _sent(remote: Remote, name: str) -> Iterator[IO[bytes]]:
    """A file in the folder for temporary ones, which is sent when it is whole."""
    from tempfile import TemporaryDirectory, gettempdir

    try:
        with TemporaryDirectory(prefix="socks5sniff-") as scratch:
            path = os.path.join(scratch, "file")
            with open(path, "wb") as file:
                yield file
            remote.send(path, name)
    except OSError as error:
        raise OutputError(f"{gettempdir()}: {error.strerror or error}; TMPDIR names another folder") from error
