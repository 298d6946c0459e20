"""Wireshark's dumpcap, whose file capabilities let members of the group `wireshark` capture without root.

It writes pcapng into a pipe, which is decoded as a file would be.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from ..capture.batch import FrameBatch, Interface
from ..capture.chain import SLACK
from ..capture.decode import DamageError
from ..capture.pcapng import PcapngDecoder
from ..errors import FilterError, InputError, MissingError, RightsError
from .bpf import refused
from .drain import Drain
from .engine import Counts, Settings
from .rights import refusal

_BUFFER = 512 << 20
"""Octets of dumpcap's buffer at most, unless another size is asked for: while it writes a frame into the pipe it takes
none, and a burst comes faster than it writes."""
_SHARE = 16
"""Which part of the memory that may be."""
_AHEAD = 256 << 20
"""Octets that may have come from it and not be analysed yet."""
_PATIENCE = 10.0
"""Seconds in which dumpcap must have opened the interfaces, or ended."""
_FOLDERS = ("/usr/bin", "/usr/sbin", "/Applications/Wireshark.app/Contents/MacOS")
_COUNTS = re.compile(r"^Packets received/dropped on interface '.*': (\d+)/(\d+) ", re.MULTILINE)


def find() -> str | None:
    """Path of a dumpcap that this user may run."""
    return shutil.which("dumpcap", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS]))


def command(program: str, settings: Settings) -> list[str]:
    """The command line: pcapng to standard output, no running packet count."""
    arguments = [program, "-q"]
    buffer = settings.buffer or default_buffer(len(settings.names))
    for name in settings.names:
        arguments += ["-i", name, "-s", str(settings.snaplen), "-B", str(max(buffer >> 20, 1))]
        arguments += [] if settings.promiscuous else ["-p"]
        arguments += ["-f", settings.filter] if settings.filter else []
    return [*arguments, "-w", "-"]


def default_buffer(interfaces: int) -> int:
    """Octets of the buffer for each of so many interfaces."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 0
    return max(min(_BUFFER, memory // _SHARE // interfaces), 16 << 20)


def problem(message: str, settings: Settings) -> Exception:
    """The error for what dumpcap said on standard error when it could not begin.

    Args:
        message: all it said.
        settings: what it was told to do.
    """
    name = settings.names[0]
    lines = [line for line in message.splitlines() if line and not line.startswith(("Capturing on", "File:"))]
    text = " ".join(lines[:3])
    if "permission" in text.lower():
        return RightsError(refusal(name, "dumpcap has no permission to capture there"))
    found = re.search(r"isn't a valid capture filter \((.*)\)", message)
    if found:
        try:
            return refused(settings.filter, found[1])
        except MissingError:
            return FilterError(f"filter {settings.filter!r}: {found[1]}")
    return InputError(f"{name}: {(lines[0] if lines else 'dumpcap ended').removeprefix('dumpcap: ')}")


class DumpcapEngine:
    """A dumpcap process; see `engine.Engine`. Its counts are known only when it has ended."""

    name = "dumpcap"

    def __init__(self, settings: Settings) -> None:
        """Starts it and waits until it has opened the interfaces.

        Raises:
            MissingError: it is not installed, or this user may not run it.
            RightsError, InputError: it cannot capture there.
        """
        if sys.platform == "win32":
            raise MissingError("the engine `dumpcap` is not available on Windows; use --engine scapy")
        program = find()
        if program is None:
            raise MissingError("dumpcap is not installed, or you may not run it; it comes with Wireshark")
        self.interfaces: list[Interface] = []
        self.notices: list[str] = []
        self._settings = settings
        self._counts: list[Counts | None] = [None] * len(settings.names)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            command(program, settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for us; dumpcap is stopped by `close`
            bufsize=0,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        self._drain = Drain(self._pipe.fileno(), _AHEAD)
        self._memory = bytearray(SLACK)
        self._end = 0
        self._number = 1
        self._decoder = PcapngDecoder(settings.names[0], self.interfaces)
        self._batches: Iterator[FrameBatch] = iter(())
        # dumpcap writes the section and all interfaces as soon as they are open.
        first = os.read(self._pipe.fileno(), 1 << 16) if self._ready(_PATIENCE) else b""
        if not first:
            self.close()
            raise problem(self._said(), settings)
        self._decode(first)

    def wait(self, seconds: float) -> FrameBatch | None:
        while True:
            try:
                batch = next(self._batches, None)
            except DamageError as damage:
                raise InputError(f"{self._settings.names[0]}: from dumpcap: {damage.what}") from None
            if batch is not None:
                batch.first_number = self._number
                self._number += len(batch)
                return batch
            octets = self._drain.take(seconds)
            if octets is None:
                return None
            if not octets:
                raise InputError(f"{self._settings.names[0]}: dumpcap ended: {self._said().strip()[-200:]}")
            self._decode(octets)
            self._note()
            seconds = 0

    def counts(self) -> list[Counts | None]:
        return self._counts

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._drain.discard()  # it must be able to write its last octets
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        found = _COUNTS.findall(self._said())
        if len(found) == len(self._counts):
            # It counts as received what it got; the dropped ones come on top.
            self._counts = [Counts(int(received) + int(dropped), int(dropped)) for received, dropped in found]
        self._pipe.close()

    def _ready(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _decode(self, octets: bytes) -> None:
        """Have what came made into batches, behind a block that was not whole yet."""
        kept = self._memory[self._decoder.rest : self._end]
        self._end = len(kept) + len(octets)
        if self._end + SLACK > len(self._memory):
            self._memory = bytearray(self._end + SLACK)
        self._memory[: len(kept)] = kept
        self._memory[len(kept) : self._end] = octets
        self._decoder.rest = 0
        self._batches = self._decoder.batches(self._memory, np.frombuffer(self._memory, np.uint8), 0, self._end)

    def _note(self) -> None:
        if self._drain.held_up:
            self._drain.held_up = False
            self.notices.append(
                "dumpcap is faster than the analysis: it may drop frames, and tells how many when it ends"
            )

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")
