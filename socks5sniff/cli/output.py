"""Where a report goes: standard output, or the file of `-o`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import TextIOWrapper
from shutil import get_terminal_size
from typing import IO, Protocol, TextIO

import click

from socks5sniff.errors import OutputError
from socks5sniff.sinks import Files, Options


class Output:
    """A text stream whose failures are `OutputError`s; a reader that went away stays a BrokenPipeError.

    Attributes:
        before: called once before anything is written, so that the bar of a long run can leave the terminal.
        started: something was written.
    """

    def __init__(self, stream: TextIO, name: str, replace: bool = False) -> None:
        """Write to `stream`, called `name` in errors; `replace` what a file holds when the first line is written."""
        self._stream = stream
        self._name = name
        self._replace = replace
        self.started = False
        self.before: Callable[[], None] = lambda: None

    @property
    def is_terminal(self) -> bool:
        return self._stream.isatty()

    def isatty(self) -> bool:
        """The same, as libraries ask a stream."""
        return self.is_terminal

    @property
    def is_file(self) -> bool:
        """The output is a regular file: nobody waits for its lines."""
        try:
            return stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> None:
        try:
            if not self.started:
                self._start()
            self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"{self._name}: {error.strerror or error}") from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"{self._name}: {error.strerror or error}") from error

    def _start(self) -> None:
        self.started = True
        self.before()
        if self._replace and self.is_file:
            self._stream.truncate(0)


class FilesOutput:
    """What writes files, where `Output` is one stream: see `sinks.Files`."""

    is_terminal = False
    is_file = True

    def __init__(self, place: Files) -> None:
        self._place = place
        self.before: Callable[[], None] = lambda: None

    def __call__(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return self._place(name)


def opened(
    sink: str, path: str | None, inputs: Sequence[str], private: bool, place: Files | None = None
) -> AbstractContextManager[Output | FilesOutput]:
    """Where a sink writes; arguments and errors are those of `open_output`, of which the errors may come later.

    Args:
        place: where files go, if somebody has it.
    """
    if place is not None:
        return nullcontext(FilesOutput(place))
    if sink not in ("parquet", "dataset"):
        return open_output(path, inputs, private)
    from socks5sniff.capture.places import Place

    assert path is not None, "the options have a place for files"
    if sink == "parquet":
        refuse_input(path, inputs)
    return nullcontext(FilesOutput(Place(path, private=private)))


@contextmanager
def open_output(path: str | None, inputs: Sequence[str], private: bool) -> Iterator[Output]:
    """Standard output, or a file that keeps its old content until the first line is written; after an error before that
    there is no new file.

    Args:
        path: file to write; None or `-` for standard output.
        inputs: names of the input files, none of which may be the output.
        private: only the user may read the file (mode 0600).

    Raises:
        click.BadParameter: the output is one of the inputs.
        OutputError: the file cannot be opened or written.
    """
    if path is None or path == "-":
        if sys.stdout is None:
            raise OutputError("standard output: it is closed")
        if isinstance(sys.stdout, TextIOWrapper):
            if sys.stdout.isatty():
                sys.stdout.reconfigure(errors="backslashreplace")
            else:
                sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        yield Output(sys.stdout, "standard output")
        return
    refuse_input(path, inputs)
    fresh = not os.path.lexists(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600 if private else 0o666)
        if private and os.name == "posix" and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)  # the file may have been there with another mode
        stream = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
    output = Output(stream, path, replace=True)
    try:
        yield output
        output.flush()
    except BaseException:
        if fresh and not output.started:
            with suppress(OSError):
                os.unlink(path)
        raise
    finally:
        _close(stream)


def refuse_input(path: str, inputs: Sequence[str]) -> None:
    """An output that is one of the inputs would be read while it is written.

    Raises:
        click.BadParameter: it is.
    """
    if any(_same(name, path) for name in inputs):
        raise click.BadParameter(f"{path!r} is one of the inputs.", param_hint="-o")


def refuse_terminal(files: Sequence[str], capture: str | None = None) -> None:
    """Nobody types a capture, nor reads one; `capture` is where one is to be written.

    Raises:
        click.UsageError: standard input or output is wanted for it, and is a terminal.
    """
    if capture == "-" and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError("a capture is nothing for a terminal: add -o FILE.")
    if "-" in files and sys.stdin is not None and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: give a capture file, or pipe a capture in.")


class Destination(Protocol):
    """What is asked of an output."""

    @property
    def is_terminal(self) -> bool: ...
    @property
    def is_file(self) -> bool: ...


def sink_options(output: Destination, inputs: Sequence[str], colour: bool, rows: bool) -> Options:
    """How to write to `output`.

    Args:
        output: where the report goes.
        inputs: names of the inputs. If one comes at its own pace, each result is written out as it comes.
        colour: the user lets colours be.
        rows: the format lays out many rows at once, which is worth waiting for; of any other each line is written
            out at once, except to a regular file.
    """
    terminal = output.is_terminal
    return Options(
        width=get_terminal_size().columns if terminal else None,
        colour=terminal and colour and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        prompt=any(map(is_stream, inputs)) or not (rows or output.is_file),
    )


def is_stream(name: str) -> bool:
    """Whether an input comes at its own pace: standard input, a named pipe, a device."""
    if name == "-":
        return True
    try:
        return not stat.S_ISREG(os.stat(name).st_mode)
    except OSError:
        return False


def _same(name: str, path: str) -> bool:
    """Whether an input is the file at `path`, also where a shell has opened it as standard input."""
    try:
        return os.path.samestat(os.fstat(0) if name == "-" else os.stat(name), os.stat(path))
    except OSError:
        return False


def _close(stream: TextIO) -> None:
    """Close without a second complaint about what could not be written."""
    try:
        stream.close()
    except OSError:
        return
