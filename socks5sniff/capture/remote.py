"""Files behind URLs, through fsspec: s3, gs, az, http, ssh and whatever else is installed for it.

Captures are read in ranges, the next one on its way while one is decoded. Credentials come from the environment or from
fsspec's configuration only: never from a name, which is printed and written into records.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError, MissingError, OutputError, Socks5sniffError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_Found = TypeVar("_Found")

RANGE = 8 << 20
"""Octets asked for at a time."""

FIRST = 16 << 10
"""Octets asked for at first: enough to see when a capture begins. Thousands of files may wait for their turn."""

_URL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")
_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "http": "http",
    "https": "http",
    "ssh": "ssh",
    "sftp": "ssh",
}
_BUCKETS = frozenset(scheme for scheme, extra in _EXTRAS.items() if extra in ("s3", "gs", "az"))
"""Where objects appear whole, and there are no folders."""

_KNOWN = 60
"""Seconds for which a listing is believed."""

_READERS = 4
"""Ranges that are on their way at the same time, of all files."""

_pool: list[ThreadPoolExecutor] = []


def is_url(name: str) -> bool:
    """Whether a name is a URL of another place than this machine's files."""
    return _URL.match(name) is not None


def is_everywhere(url: str) -> bool:
    """Whether a URL is known to lead to the same place from every process and machine."""
    return url.partition(":")[0].lower() in _EXTRAS


def shown(name: str) -> str:
    """A URL without what may be secret in it: a password, or a signature in its query."""
    if not is_url(name):
        return name
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(name)
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")[0]
    return urlunsplit((parts.scheme, f"{user}@{host[2]}" if user else host[2], parts.path, "", ""))


_STATE = ("size", "ETag", "etag", "mtime", "last_modified", "LastModified", "updated")
"""What file systems tell of a file that changes with it."""


class Remote:
    """A place behind a URL.

    Attributes:
        path: the place as its file system calls it.
    """

    def __init__(self, url: str) -> None:
        """
        Raises:
            InputError: it is no URL that can be used.
            MissingError: a package for this kind of URL is not installed.
        """
        self._url = url
        if ":" in re.sub(r"^.*?://", "", url).partition("/")[0].rpartition("@")[0]:
            advice = "set it in the environment or fsspec's configuration"
            raise InputError(f"{shown(url)}: a password does not belong in a URL: {advice}")
        scheme = url.partition(":")[0].lower()
        extra = _EXTRAS.get(scheme, "http")
        try:
            import fsspec

            # With a listing come the sizes of its files, which need not be asked for one by one then.
            self._files, self.path = fsspec.core.url_to_fs(url, use_listings_cache=True, listings_expiry_time=_KNOWN)
        except ImportError:
            raise MissingError(
                f"{shown(url)}: reading from there needs a package that is not installed: "
                f"pip install 'socks5sniff[{extra}]'"
            ) from None
        except Exception as error:  # every kind of file system has its own
            raise _refused(url, error) from None

    def is_folder(self) -> bool:
        """Whether other files lie under it. Of HTTP only a name that ends in a slash may be one.

        Raises:
            InputError: it cannot be reached.
        """
        if self._url.endswith("/"):
            return True
        if self._url.lower().startswith("http"):
            return False
        return self._tried(lambda: bool(self._files.isdir(self.path)))

    def under(self) -> list[str]:
        """URLs of all files under it, however many pages they are listed in.

        Raises:
            InputError: it cannot be reached.
        """
        return self._tried(lambda: self._urls(self._files.find))

    def matching(self) -> list[str]:
        """URLs that its pattern matches.

        Raises:
            InputError: it cannot be reached.
        """
        return self._tried(lambda: self._urls(self._files.glob))

    def _urls(self, listing: Callable[[str], list[str]]) -> list[str]:
        self._files.invalidate_cache()  # what is being written to is looked at when somebody asks
        return [self._files.unstrip_protocol(path) for path in listing(self.path)]

    def open(self) -> RemoteFile:
        """The file's octets.

        Raises:
            InputError: it cannot be reached.
        """
        return self._tried(lambda: RemoteFile(self._files, self.path))

    def check_writable(self) -> None:
        """What can be told before there is anything to write.

        Raises:
            OutputError: there is no such bucket, its server cannot be reached, or it is a place to read from only.
        """
        scheme = self._url.partition("://")[0].lower()
        if scheme in ("http", "https"):
            raise OutputError(f"{shown(self._url)}: nothing can be written there")
        bucket = self.path.partition("/")[0]
        if scheme not in _BUCKETS or self._files.exists(bucket):
            return
        try:
            self._files.ls(bucket)  # which says why
        except PermissionError:
            return  # there may be a right to write alone
        except FileNotFoundError:
            raise OutputError(f"{shown(self._url)}: there is no {bucket}") from None
        except Exception as error:
            raise OutputError(f"{shown(self._url)}: cannot be reached: {_text(error)}") from None

    def send(self, path: str, name: str) -> None:
        """Copies a file of this machine to a name under it, where it appears once it is whole.

        Raises:
            OutputError: that does not work.
        """
        target = f"{self.path.rstrip('/')}/{name}"
        scheme = self._url.partition("://")[0].lower()
        try:
            if scheme in _BUCKETS:  # in which there is an object, or none
                self._files.put_file(path, target)
                return
            folder, _, last = target.rpartition("/")
            self._files.makedirs(folder, exist_ok=True)
            begun = f"{folder}/.{last}"
            self._files.put_file(path, begun)
            self._files.mv(begun, target)
        except PermissionError:
            raise OutputError(f"{shown(self._url)}: no permission to write there") from None
        except Exception as error:  # every kind of file system has its own
            raise OutputError(f"{shown(self._url)}: cannot be written: {_text(error)}") from None

    def names(self) -> list[str]:
        """Names of all files under it.

        Raises:
            OutputError: it cannot be reached.
        """
        top = self.path.rstrip("/") + "/"
        try:
            self._files.invalidate_cache()
            return [path.removeprefix(top) for path in self._files.find(self.path)]
        except Exception as error:
            raise OutputError(f"{shown(self._url)}: cannot be listed: {_text(error)}") from None

    def remove(self, name: str) -> None:
        """Remove a file under it.

        Raises:
            OutputError: that does not work.
        """
        try:
            self._files.rm_file(f"{self.path.rstrip('/')}/{name}")
        except Exception as error:
            raise OutputError(f"{shown(self._url)}: {name} cannot be removed: {_text(error)}") from None

    def state(self) -> str | None:
        """What is another one when the file has changed; None where there is none, or it cannot be reached."""
        try:
            self._files.invalidate_cache()
            known = self._files.info(self.path)
        except Exception:  # every kind of file system has its own
            return None
        return " ".join(f"{known[name]}" for name in _STATE if known.get(name) is not None)

    def _tried(self, step: Callable[[], _Found]) -> _Found:
        try:
            return step()
        except Socks5sniffError:
            raise
        except Exception as error:
            raise _refused(self._url, error) from None


class RemoteFile:
    """A file that is read in ranges, from its beginning to its end.

    Attributes:
        size: its octets, None where the server does not tell.
    """

    def __init__(self, files: Any, path: str) -> None:
        self._files = files
        self._path = path
        self._file = files.open(path, "rb", block_size=RANGE, cache_type="none")
        size = getattr(self._file, "size", None)
        if size is None:
            size = files.info(path).get("size")
        self.size: int | None = size
        self._got = memoryview(b"")
        self._position = 0
        self._ahead: Future[bytes] | None = None

    def readinto(self, room: Any) -> int:
        """Fills the beginning of `room`; 0 at the end.

        Raises:
            OSError: the rest cannot be read.
        """
        if not len(self._got):
            self._got = memoryview(self._next(len(room)))
        piece = self._got[: len(room)]
        room[: len(piece)] = piece
        self._got = self._got[len(piece) :]
        return len(piece)

    def look_ahead(self, size: int) -> None:
        """Asks for the next octets, so many at most: somebody will want them soon."""
        if self._ahead is None and self._position != self.size:
            self._ask_ahead(max(min(size, RANGE), FIRST))

    def fileno(self) -> int:
        """There is none."""
        raise OSError(errno.EBADF, "no file of this system")

    def close(self) -> None:
        """Closes it; a range that is on its way is left alone."""
        if self._ahead is not None:
            self._ahead.cancel()
        self._file.close()

    def _next(self, wanted: int) -> bytes:
        """The next range; from the second on, the one behind it is asked for at once."""
        size = FIRST if not self._position else min(max(wanted, FIRST), RANGE)
        try:
            octets = self._fetch(size) if self._ahead is None else self._ahead.result()
        except Exception as error:  # every kind of file system has its own
            raise OSError(errno.EIO, _text(error)) from None
        begun = bool(self._position)
        self._position += len(octets)
        self._ahead = None
        if begun and octets and self._position != self.size:
            self._ask_ahead(size)
        return octets

    def _ask_ahead(self, size: int) -> None:
        if not _pool:
            from concurrent.futures import ThreadPoolExecutor

            _pool.append(ThreadPoolExecutor(_READERS, "read ahead"))
        self._ahead = _pool[0].submit(self._fetch, size)

    def _fetch(self, size: int) -> bytes:
        if self._position == self.size:
            return b""
        try:
            octets: bytes = self._file.read(size)
        except ValueError:
            # An HTTP server without ranges: it is read through from its beginning instead.
            self._file = self._files.open(self._path, "rb", block_size=0)
            left = self._position
            while left:
                left -= len(self._file.read(min(left, RANGE))) or left
            octets = self._file.read(size)
        return octets


def _refused(url: str, error: Exception) -> InputError:
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, OSError):
        error = cause  # no server there, which is told as if it had no such file
    if isinstance(error, FileNotFoundError):
        return InputError(f"{shown(url)}: no such file")
    if isinstance(error, PermissionError):
        return InputError(f"{shown(url)}: no permission to read it")
    return InputError(f"{shown(url)}: cannot be opened: {_text(error)}")


def _text(error: Exception) -> str:
    """One line about an error, without a URL's query, in which there may be a signature."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"\?[^\s'\")]*", "", text)[:200]
