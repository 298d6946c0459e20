"""The engine of macOS, BSD and Windows, which works on Linux, too: libpcap or Npcap through scapy's bindings.

It costs a few microseconds of Python for each frame.
"""

from __future__ import annotations

import select
import sys
import time

import numpy as np

from ..capture.batch import FrameBatch, Interface
from ..errors import InputError
from .engine import Counts, Settings
from .pcap import TIMEOUT, Frame, Handle

FRAMES = 4096
"""Frames of a batch at most."""
GATHER = 0.05
"""Seconds for which frames are gathered, where there are no more than a few."""


class ScapyEngine:
    """One handle for each interface; see `engine.Engine`."""

    name = "scapy"

    def __init__(self, settings: Settings) -> None:
        """Opens all interfaces; raises what `pcap.Handle` raises."""
        self.interfaces: list[Interface] = []
        self.notices: list[str] = []
        self._handles: list[Handle] = []
        self._counts: list[Counts] = []
        self._number = 1
        try:
            for name in settings.names:
                handle = Handle(name, settings)
                self._handles.append(handle)
                self.interfaces.append(Interface(name, name, handle.link_type))
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float) -> FrameBatch | None:
        deadline = time.monotonic() + seconds
        gathered: list[tuple[int, Frame]] = []
        while len(gathered) < FRAMES:
            came = False
            for index in self._ready(max(deadline - time.monotonic(), 0)):
                while len(gathered) < FRAMES:
                    try:
                        frame = self._handles[index].next()
                    except InputError as fault:
                        raise InputError(f"{self.interfaces[index].name}: {fault}") from None
                    if frame is None:
                        break
                    if not gathered:
                        deadline = min(deadline, time.monotonic() + GATHER)
                    gathered.append((index, frame))
                    came = True
            if not came and time.monotonic() >= deadline:
                break
        return self._batch(gathered) if gathered else None

    def counts(self) -> list[Counts]:
        return self._counts or [handle.count() for handle in self._handles]

    def close(self) -> None:
        if not self._counts:
            self._counts = [handle.count() for handle in self._handles]
        for handle in self._handles:
            handle.close()

    def _ready(self, seconds: float) -> list[int]:
        if sys.platform == "win32":
            return list(range(len(self._handles)))  # reading waits there, for TIMEOUT
        descriptors = [handle.descriptor for handle in self._handles]
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(min(seconds * 1000, TIMEOUT))}
        return [index for index, descriptor in enumerate(descriptors) if descriptor in ready]

    def _batch(self, gathered: list[tuple[int, Frame]]) -> FrameBatch:
        indices, frames = zip(*gathered, strict=True)
        times, octets, lengths = zip(*frames, strict=True)
        captured = np.array([len(frame) for frame in octets], np.int64)
        batch = FrameBatch(
            octets=np.frombuffer(b"".join(octets), np.uint8),
            offset=np.cumsum(captured) - captured,
            captured=captured,
            length=np.maximum(np.array(lengths, np.int64), captured),
            time=np.array(times, np.int64),
            first_number=self._number,
            interface=np.array(indices, np.uint16),
            interfaces=self.interfaces,
        )
        self._number += len(batch)
        return batch
