"""The trace's packets on their way into a pcapng file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO

from socks5sniff.errors import OutputError
from socks5sniff.proxy.packets import LINK_TYPE, Packet, Renderer

INTERFACE = "proxy"
"""Name of the interface in the captures, which says how they were made."""


class CaptureFile:
    """A pcapng file that a `Trace` writes to.

    A capture holds passwords, so the file is the user's alone (mode 0600).

    Args:
        path: the file; an existing one is replaced.
        failed: called once when the file can no longer be written (disk full); nothing is written after that.

    Raises:
        OutputError: the file cannot be opened.
    """

    def __init__(self, path: str, failed: Callable[[OutputError], None] | None = None) -> None:
        from socks5sniff.capture.writer import PcapngWriter

        self._failed = failed
        self._broken = False
        self.packets = 0
        try:
            file: BinaryIO = open(path, "wb", opener=_private)  # noqa: SIM115 (`close` does it)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        self._writer = PcapngWriter(file)
        self._writer.add_interface(INTERFACE, LINK_TYPE)
        self._renderer = Renderer()

    def __call__(self, packet: Packet) -> None:
        """Write one packet."""
        if self._broken:
            return
        try:
            self._writer.write(self._renderer.frame(packet), packet.time)
            self.packets += 1
        except OutputError as error:
            self._fail(error)

    def flush(self) -> None:
        """Let a reader of the file see all packets so far."""
        if self._broken:
            return
        try:
            self._writer.flush()
        except OutputError as error:
            self._fail(error)

    def close(self) -> None:
        """Close the file. Raises OutputError."""
        self._writer.close()

    def __enter__(self) -> CaptureFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, error: OutputError) -> None:
        self._broken = True
        if self._failed is not None:
            self._failed(error)


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    try:
        # A file that was there before keeps its mode; a device (/dev/null) is left as it is.
        if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
