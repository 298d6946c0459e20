"""Errors a user can cause, and the exit code each one ends the command with.

Every message is one line that says what is wrong and, where there is something to do, what to do.
Programming errors are not in here: those are ordinary exceptions.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command's exit status tells. The README's table is compared with this by a test."""

    OK = 0
    """All input was read."""
    FAILED = 1
    """Something failed that no other code names."""
    USAGE = 2
    """The command line is not understood."""
    INPUT = 3
    """An input cannot be opened: missing, a directory, no permission, empty, no capture, link type unknown."""
    DAMAGED = 4
    """An input is truncated or damaged; all that was decoded before the fault has been printed."""
    OUTPUT = 5
    """Output cannot be written."""
    MISSING = 6
    """A program or an optional package that the task needs is not installed."""
    RIGHTS = 7
    """This user may not capture there."""
    DIFFERENCE = 8
    """`verify` found a difference."""
    MATCHED = 9
    """A conversation matches the expression of `--fail-if`."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C while reading a file."""
    BROKEN_PIPE = 141
    """The reader of the output went away (128 + SIGPIPE, what the shell shows for any program that ends so)."""


class Socks5sniffError(Exception):
    """Base of all errors a user can cause. `str()` of it is the one line shown."""

    exit_code: ExitCode = ExitCode.FAILED


class InputError(Socks5sniffError):
    """An input cannot be opened or is not a capture at all."""

    exit_code = ExitCode.INPUT


class EmptyInputError(InputError):
    """There is nothing in an input."""


class NotACaptureError(InputError):
    """An input is something else than a capture."""


class FilterError(InputError):
    """A capture filter is not understood: the fault is in the command line, not in an input."""

    exit_code = ExitCode.USAGE


class DamagedInputError(Socks5sniffError):
    """An input is truncated or damaged at `offset`; frames before it have been delivered.

    Attributes:
        name: the input's name, as the user gave it.
        offset: octets from the start of the (decompressed) input to the damaged record.
        frame: number of the first frame that could not be read, from 1.
        what: what is wrong with it.
        truncated: it ends within a record; what is there of it is sound.
    """

    exit_code = ExitCode.DAMAGED

    def __init__(self, name: str, offset: int, frame: int, what: str) -> None:
        super().__init__(f"{name}: {what} (byte offset {offset}, frame {frame})")
        self.name = name
        self.offset = offset
        self.frame = frame
        self.what = what
        self.truncated = what.startswith("truncated")

    def __reduce__(self) -> tuple[type[DamagedInputError], tuple[str, int, int, str]]:
        """How it goes to another process."""
        return type(self), (self.name, self.offset, self.frame, self.what)


class ResumeError(Socks5sniffError):
    """A reading cannot go on from where another one was, or could and was not asked to."""

    exit_code = ExitCode.USAGE


class WorkerError(Socks5sniffError):
    """Workers keep dying, or cannot be started."""


class VersionError(Socks5sniffError):
    """A process has another version of this program."""


class OutputError(Socks5sniffError):
    """Output cannot be written (disk full, no permission)."""

    exit_code = ExitCode.OUTPUT


class MissingError(Socks5sniffError):
    """A program or optional package is needed and missing; the message says how to get it."""

    exit_code = ExitCode.MISSING


class RightsError(Socks5sniffError):
    """The user may not capture on this interface; the message says what to do."""

    exit_code = ExitCode.RIGHTS
