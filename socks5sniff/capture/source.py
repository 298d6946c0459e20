"""Where a capture's octets come from: a file, a pipe or standard input, plain or compressed."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
import time
from collections.abc import Iterable
from typing import Any, BinaryIO, Protocol, cast

from ..errors import EmptyInputError, InputError
from .compression import Decompressed, compression
from .decode import DamageError
from .remote import Remote, RemoteFile, is_url, shown

STANDARD_INPUT = "-"

Capture = str | os.PathLike[str] | bytes | BinaryIO
"""What can be read: a path (`-` is standard input), a capture's octets, or a binary file that is open."""
Input = str | BinaryIO
"""The same, as `Source` takes it."""

QUIET = 0.002
"""Seconds without new octets after which a pipe's octets are handed on."""

DELAY = 0.05
"""Seconds after which a pipe's octets are handed on though more keep coming."""

_LONGEST_MAGIC = 6


class _Readable(Protocol):
    """What is used of a raw or buffered file."""

    def readinto(self, room: Any, /) -> int | None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def inputs(given: Capture | Iterable[Capture]) -> list[Input]:
    """One capture, or several, as `Source` takes them.

    Raises:
        TypeError: something is no capture; the message says what would be.
    """
    if isinstance(given, (str, bytes, bytearray, memoryview, os.PathLike)) or hasattr(given, "read"):
        return [_input(given)]
    if isinstance(given, Iterable):
        return [_input(one) for one in given]
    return [_input(given)]


def _input(given: object) -> Input:
    if isinstance(given, (bytes, bytearray, memoryview)):
        return io.BytesIO(given)
    if isinstance(given, (str, os.PathLike)):
        return os.fsdecode(given)
    file = getattr(given, "buffer", given)  # of a file in text mode, what is behind it
    if hasattr(file, "readinto"):
        return cast(BinaryIO, file)
    wanted = "a capture is a path, its octets, or a file opened with 'rb', and several are a list of these"
    raise TypeError(f"{wanted}; not {type(given).__name__}")


class Source:
    """The octets of one input, decompressed.

    Attributes:
        name: as the user gave it, a URL without what may be secret in it; of an open file, the name it has.
        compression: name of the compression, None for plain octets.
        total: octets of the (compressed) file, None for a pipe.
        consumed: (compressed) octets read so far.
    """

    def __init__(self, given: Input) -> None:
        """Opens the input and looks at its first octets, waiting for them if it is a pipe.

        Args:
            given: a path, a URL, `-` for standard input, or an open file, which is read from where it stands and
                stays open.

        Raises:
            InputError: it is missing, not permitted, a directory or empty.
            MissingError: it is compressed and the package to decompress it is not installed.
        """
        self.name = shown(given) if isinstance(given, str) else str(getattr(given, "name", "octets"))
        self.consumed = 0
        self._parked = False
        self._ours = isinstance(given, str) and given != STANDARD_INPUT
        self._raw = _open(given) if isinstance(given, str) else cast(_Readable, given)
        try:
            status = _status(self._raw)
            mode = None if status is None else status.st_mode
            self._status = status
            self.total = getattr(self._raw, "size", None)
            if status is not None and stat.S_ISREG(status.st_mode):
                self.total = status.st_size
            self._pipe = mode is not None and not stat.S_ISREG(mode)
            self._fault: DamageError | None = None
            self._waits = True
            self._ahead = b""
            self._ahead = self._first()
            self.compression = compression(self._ahead)
            self._decompressed = None if self.compression is None else Decompressed(self.compression, self._read)
        except BaseException:
            self.close()
            raise

    @property
    def reopenable(self) -> bool:
        """Whether the same octets come again when it is opened a second time."""
        return self.total is not None and self._ours

    @property
    def growing(self) -> bool:
        """Whether the file has more octets than when it was opened, or somebody has it open to write into."""
        return self.total is not None and self.name != STANDARD_INPUT and is_growing(self.name, self.total)

    def look_ahead(self, size: int) -> None:
        """Its next octets will be wanted soon, so many at a time."""
        if isinstance(self._raw, RemoteFile):
            self._raw.look_ahead(size)

    def park(self) -> None:
        """Closes a file until it is read on, so that there may be more of them than the system lets be open."""
        if self.reopenable and not self._parked and self._status is not None:
            self._parked = True
            self._raw.close()

    def _unpark(self) -> None:
        self._raw = _open(self.name)
        self._parked = False
        status = _status(self._raw)
        if status is None or self._status is None or not os.path.samestat(status, self._status):
            raise DamageError("replaced by another file while it was read")
        os.lseek(self._raw.fileno(), self.consumed, os.SEEK_SET)

    def readinto(self, room: memoryview) -> int:
        """Fills `room` as far as there are octets; from a pipe, without waiting long for more than there are.

        Returns:
            How many octets came, 0 at the end.

        Raises:
            DamageError: the octets cannot be read or decompressed. All before that have been returned.
        """
        if self._fault is not None:
            raise self._fault
        pull = self._pull if self._decompressed is None else self._decompressed.readinto
        deadline = time.monotonic() + DELAY
        got = 0
        while got < len(room):
            self._waits = not (self._pipe and got)
            try:
                count = pull(room[got:])
            except BlockingIOError:
                break
            except DamageError as damage:
                if not got:
                    raise
                self._fault = damage
                break
            got += count
            if not count or (self._pipe and not (self._ready() and time.monotonic() < deadline)):
                break
        return got

    def close(self) -> None:
        """Closes the input; standard input and files that others opened stay open."""
        if self._ours:
            self._raw.close()

    def _first(self) -> bytes:
        """Enough octets to recognise a compression by."""
        room = bytearray(_LONGEST_MAGIC)
        got = 0
        while got < len(room):
            try:
                count = self._pull(memoryview(room)[got:])
            except DamageError as damage:
                raise InputError(f"{self.name}: {damage.what}") from None
            if not count:
                break
            got += count
        if not got:
            raise EmptyInputError(f"{self.name}: empty, there is nothing in it")
        return bytes(room[:got])

    def _pull(self, room: memoryview) -> int:
        """Compressed octets into `room`, as many as there are, waiting for at least one; 0 at the end."""
        if self._ahead:
            piece, self._ahead = self._ahead[: len(room)], self._ahead[len(room) :]
            room[: len(piece)] = piece
            return len(piece)
        if self._parked:
            if self.consumed == self.total:
                return 0
            self._unpark()
        try:
            while (count := self._raw.readinto(room)) is None:
                select.select([self._raw.fileno()], [], [])
        except OSError as error:
            raise DamageError(f"cannot be read: {error.strerror or error}") from None
        except ValueError as error:  # closed by whoever opened it
            raise DamageError(f"cannot be read: {error}") from None
        self.consumed += count
        return count

    def _read(self, size: int) -> bytes:
        """Compressed octets; BlockingIOError where a pipe has none and there are others to hand on first."""
        if not self._waits and not self._ready():
            raise BlockingIOError
        room = bytearray(size)
        return bytes(room[: self._pull(memoryview(room))])

    def _ready(self) -> bool:
        """Whether a pipe gives more octets at once."""
        if self._ahead or (self._decompressed is not None and self._decompressed.pending):
            return True
        if os.name == "nt":
            return False
        # Not select(), which takes no descriptor above 1023.
        poll = select.poll()
        poll.register(self._raw.fileno(), select.POLLIN)
        return bool(poll.poll(QUIET * 1000))


def _status(raw: _Readable) -> os.stat_result | None:
    """None where the input is no file of the operating system."""
    try:
        return os.fstat(raw.fileno())
    except (AttributeError, OSError, ValueError):  # no descriptor, or closed: reading will tell
        return None


def is_growing(name: str, total: int) -> bool:
    """Whether a file has more octets than these, or somebody has it open to write into."""
    try:
        return os.stat(name).st_size > total or _written(name)
    except OSError:
        return False


def _written(name: str) -> bool:
    """Whether a process has the file open for writing: then Linux gives nobody a lease for reading it."""
    try:
        from fcntl import F_RDLCK, F_SETLEASE, F_UNLCK, fcntl
    except ImportError:
        return False
    with io.FileIO(name) as file:
        try:
            fcntl(file.fileno(), F_SETLEASE, F_RDLCK)
            fcntl(file.fileno(), F_SETLEASE, F_UNLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
    return False


def _open(name: str) -> _Readable:
    if name == STANDARD_INPUT:
        return _standard_input()
    if is_url(name):
        return Remote(name).open()
    try:
        return io.FileIO(name)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a directory; name the capture files in it") from None
    except PermissionError:
        if os.path.isdir(name):
            raise InputError(f"{name}: is a directory; name the capture files in it") from None
        raise InputError(f"{name}: no permission to read it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name}: cannot be opened: {reason}") from None


def _standard_input() -> _Readable:
    if sys.stdin is None:
        raise InputError("-: there is no standard input")
    if sys.stdin.isatty():
        raise InputError("-: standard input is a terminal; pipe a capture into it, as in `tcpdump -U -w - | …`")
    try:
        return io.FileIO(sys.stdin.fileno(), closefd=False)
    except (OSError, io.UnsupportedOperation):
        return cast(_Readable, sys.stdin.buffer)
