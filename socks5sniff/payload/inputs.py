"""Captures that can be read twice."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from typing import BinaryIO, cast

from socks5sniff.capture.remote import is_url
from socks5sniff.capture.source import STANDARD_INPUT, Input
from socks5sniff.errors import InputError, OutputError


@contextmanager
def rewindable(names: Sequence[Input]) -> Iterator[list[Input]]:
    """The same inputs; what comes but once (standard input, a pipe) is copied to a temporary file first, and so is the
    rest of an open file that does not stand at its beginning.

    Raises:
        InputError: an input cannot be read.
        OutputError: there is no room for the copy.
    """
    with ExitStack() as stack:
        yield [_copied(name, stack) if _passes(name) else name for name in names]


def rewind(names: Sequence[Input]) -> None:
    """Open files begin anew."""
    for name in names:
        if not isinstance(name, str):
            name.seek(0)


def _passes(name: Input) -> bool:
    """Whether an input's octets come only once."""
    if not isinstance(name, str):
        return not name.seekable() or name.tell() > 0
    if name == STANDARD_INPUT:
        return True
    if is_url(name):
        return False
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False  # whoever opens it says so
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _copied(given: Input, stack: ExitStack) -> BinaryIO:
    try:
        source = _opened(given, stack)
    except OSError as error:
        raise InputError(f"{given}: {error.strerror or error}") from error
    try:
        copy = tempfile.TemporaryFile(prefix="socks5sniff-")  # noqa: SIM115  # the stack closes it
        stack.callback(copy.close)
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.seek(0)
    except OSError as error:
        shown = given if isinstance(given, str) else "the input"
        raise OutputError(
            f"{tempfile.gettempdir()}: {shown} is read twice, and cannot be kept there: {error.strerror}; "
            "set TMPDIR to a folder with more room"
        ) from error
    file = FileIO(copy.fileno(), "rb", closefd=False)
    file.name = given if isinstance(given, str) else str(getattr(given, "name", "octets"))
    return cast(BinaryIO, file)


def _opened(given: Input, stack: ExitStack) -> BinaryIO:
    if not isinstance(given, str):
        return given
    if given == STANDARD_INPUT:
        return sys.stdin.buffer
    return stack.enter_context(open(given, "rb"))
