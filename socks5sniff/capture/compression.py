"""Compressed captures: recognised by their first octets, decompressed in bounded steps.

What comes before a fault is delivered. A decompressor reports corrupt data instead of what it made in that step: of
gzip nothing is lost all the same, of xz and lz4 the last `_STEP` octets can be, of bzip2 and zstd the last block.
Truncated data lose nothing.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import MissingError
from .decode import DamageError

MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
"""How compressed files begin."""

_READ = 64 << 10
_STEP = 64 << 10
"""Most octets that one call to a decompressor may make."""

_MEMORY = 128 << 20
"""Most memory that xz may use, octets: its largest preset takes 65 MiB."""


def compression(octets: bytes) -> str | None:
    """The compression of a file that begins with these octets, None where there is none that is known."""
    for magic, kind in MAGICS:
        if octets.startswith(magic):
            return kind
    return None


class Decompressor(Protocol):
    """The interface of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Decompressed:
    """The decompressed octets of a compressed stream, member after member."""

    def __init__(self, kind: str, read: Callable[[int], bytes]) -> None:
        """
        Args:
            kind: a name from `MAGICS`.
            read: gives up to so many compressed octets, as many as are there at once; none at the end. What it
                raises passes through `readinto`, which can be called again afterwards.

        Raises:
            MissingError: the package for this compression is not installed.
        """
        self.kind = kind
        self._read = read
        self._new, self._faults = _decompressor(kind)
        self._member: Decompressor | None = self._new()
        self._input = b""
        self._made = b""

    def readinto(self, room: memoryview) -> int:
        """Fills the beginning of `room`, by at least one octet; returns how many, 0 at the end.

        Raises:
            DamageError: the data are corrupt or end early.
        """
        while not self._made:
            if self._member is None and not self._next_member():
                return 0
            assert self._member is not None
            if self._member.needs_input and not self._input:
                self._input = self._read(_READ)
                if not self._input:
                    raise DamageError(f"truncated: the {self.kind} data end early")
            try:
                self._made = self._member.decompress(self._input, _STEP)
            except self._faults as error:
                raise DamageError(f"damaged: corrupt {self.kind} data ({error})") from None
            self._input = b""
            if self._member.eof:
                self._input = self._member.unused_data or b""  # lz4 says None for none
                self._member = None
        count = min(len(self._made), len(room))
        room[:count] = self._made[:count]
        self._made = self._made[count:]
        return count

    @property
    def pending(self) -> bool:
        """Whether more octets come without more input."""
        return bool(self._made or self._input) or not (self._member is None or self._member.needs_input)

    def _next_member(self) -> bool:
        """Begins the next member; False at the end. Zeros may fill the gap between members."""
        while True:
            self._input = self._input.lstrip(b"\x00")
            if len(self._input) >= 6:
                break
            more = self._read(_READ)
            if not more:
                break
            self._input += more
        if not self._input:
            return False
        if compression(self._input) != self.kind:
            raise DamageError(f"damaged: octets after the end of the {self.kind} data")
        self._member = self._new()
        return True


def _decompressor(kind: str) -> tuple[Callable[[], Decompressor], tuple[type[Exception], ...]]:
    """Makes decompressors of a kind, and the exceptions they raise on corrupt data."""
    if kind == "gzip":
        return _Gzip, (zlib.error,)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, (OSError, ValueError)
    if kind == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(memlimit=_MEMORY), (lzma.LZMAError,)
    if kind == "lz4":
        frame = _package("lz4.frame", kind)
        return frame.LZ4FrameDecompressor, (RuntimeError,)
    if sys.version_info >= (3, 14):
        zstd = _package("compression.zstd", kind)
        return zstd.ZstdDecompressor, (zstd.ZstdError,)
    zstandard = _package("zstandard", kind)
    return lambda: _Zstandard(zstandard), (zstandard.ZstdError,)


def _package(name: str, kind: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingError(
            f"reading {kind} needs a package that is not installed: pip install 'socks5sniff[compression]'"
        ) from None


class _Gzip:
    """One gzip member, with the interface that the other decompressors of the standard library have."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._fault: zlib.error | None = None

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail and self._fault is None

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        if self._fault is not None:
            raise self._fault
        data = self._zlib.unconsumed_tail + data
        before = self._zlib.copy()
        try:
            return self._zlib.decompress(data, max_length)
        except zlib.error:
            self._zlib = before
            return self._up_to_fault(data)

    def _up_to_fault(self, data: bytes) -> bytes:
        """What the octets before the corrupt one make, which is less than a step; the next call raises the fault."""
        made = []
        for at in range(len(data)):
            try:
                made.append(self._zlib.decompress(data[at : at + 1]))
            except zlib.error as error:
                self._fault = error
                break
        octets = b"".join(made)
        if not octets and self._fault is not None:
            raise self._fault
        return octets


class _Zstandard:
    """One zstd frame, with the interface that Python 3.14's own decompressor has.

    The package's incremental decompressor makes as much as it can of what it is given. So it is given one block
    (RFC 8878 s3.1.1.2) at a time, which makes at most 128 KiB.
    """

    def __init__(self, package: Any) -> None:
        self._frame = package.ZstdDecompressor().decompressobj()
        self._input = b""
        self._at = 0
        self._opened = False
        self._last = False

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def needs_input(self) -> bool:
        return self._at + self._piece() > len(self._input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data) + self._input[self._at :]

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        if data:
            self._input = self._input[self._at :] + data
            self._at = 0
        if self.needs_input:
            return b""
        begin = self._at
        self._at += self._piece()
        if self._opened:
            self._last = self._last or bool(self._input[begin] & 1)
        self._opened = True
        return bytes(self._frame.decompress(self._input[begin : self._at]))

    def _piece(self) -> int:
        """Octets of the header or block that comes next (more than are there, where it is not known yet)."""
        have = self._input[self._at : self._at + 5]
        if not self._opened:
            if len(have) < 5:
                return 5
            flags = have[4]
            single = flags >> 5 & 1
            return 6 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
        if self._last:
            # Of the checksum, octet by octet.
            return 1
        if len(have) < 3:
            return 3
        block = int.from_bytes(have[:3], "little")
        return 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
