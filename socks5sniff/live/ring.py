"""Linux's kernel ring: AF_PACKET with TPACKET_V3 (packet_mmap in the kernel's documentation).

The kernel writes frames with their time stamps into blocks of memory that this process has mapped. A block that is
full, or has waited long enough, is handed over whole: its frames become the columns of a batch, where they lie. No
frame is copied here and none costs a line of Python; the block goes back to the kernel when the next batch is asked
for.

A frame with an 802.1Q tag comes without it, the tag beside it; it is put back, so that the frame is as it was on the
wire. The pseudo-interface `any` has no link-layer headers; an SLL2 header is written in front of each frame.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import select
import socket
import struct
import time

import numpy as np

from ..capture.batch import FrameBatch, Interface
from ..errors import InputError
from .blocks import STATUS_AT, USER, Blocks
from .bpf import attach, compile_filter, cooked
from .engine import LINK_ETHERNET, LINK_RAW, LINK_SLL2, SNAPLEN, Counts, Settings

BLOCK = 1 << 20
"""Octets of a block: room for four of the largest frames."""

RETIRE = 50
"""Milliseconds after which a block that is not full is handed over. Each hand-over costs about a millisecond."""

FRAMES = 16_384
"""Frames that a batch holds at most, unless one block alone holds more."""

GATHER = 0.1
"""Seconds for which blocks are gathered while there are few: a batch costs the same whether it holds one or ten."""
STEP = 0.01
"""Seconds between looks meanwhile; the ring must not fill in that time."""

ANY = "any"
"""The pseudo-interface of all interfaces."""

_LEAST_BLOCKS = 4
_SLOT = 2048
"""The kernel wants to know a frame size; version 3 does not use it."""
_RETURN = 6
"""BPF's instruction that keeps so many octets of a frame."""

_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 1, 5, 6, 10, 23
_TPACKET_V3 = 2
_ETH_P_ALL = 3
_PROMISCUOUS = 1
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_UP, _IFF_LOOPBACK = 1, 8
_ETHERNET_TYPES = frozenset({1, 772})
"""ARPHRD_ values (linux/if_arp.h) of Ethernet and of the loopback interface."""
_RAW_TYPES = frozenset({519, 768, 769, 776, 65534})
"""Those of interfaces whose frames begin with the IP header: tunnels, WireGuard, tun."""


class Ring:
    """The ring of one interface.

    Attributes:
        descriptor: for poll: readable when a block is ready.
        link_type: LINKTYPE_ value of its frames.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        """Opens it; frames are taken from here on.

        Raises:
            PermissionError: without CAP_NET_RAW.
            InputError: there is no such interface, it is down, or the filter is wrong.
            MissingError: there is nothing to compile the filter with.
        """
        self._name = name
        self._received = self._dropped = 0
        flags, hardware = (0, 0) if name == ANY else _interface(name)
        raw = hardware in _ETHERNET_TYPES or hardware in _RAW_TYPES
        self.link_type = LINK_SLL2 if not raw else LINK_ETHERNET if hardware in _ETHERNET_TYPES else LINK_RAW
        # Of one interface nothing comes before bind(); of `any`, what came before the ring is there is thrown away.
        protocol = socket.htons(_ETH_P_ALL) if name == ANY else 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW if raw else socket.SOCK_DGRAM, protocol)
        try:
            if settings.filter:
                program = compile_filter(settings.filter, self.link_type, settings.snaplen)
                attach(self._socket, program if raw else cooked(program))
            elif settings.snaplen < SNAPLEN:
                attach(self._socket, [(_RETURN, 0, 0, settings.snaplen)])
            twice = bool(flags & _IFF_LOOPBACK) and not self._ignore_outgoing()
            self._map = self._make(max(settings.buffer // BLOCK, _LEAST_BLOCKS))
            if name != ANY:
                self._socket.bind((name, _ETH_P_ALL))
                if settings.promiscuous:
                    member = struct.pack("iHH8x", socket.if_nametoindex(name), _PROMISCUOUS, 0)
                    self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        except OSError as error:
            self._socket.close()
            raise InputError(f"{name}: cannot be captured: {error.strerror}") from error
        except BaseException:
            self._socket.close()
            raise
        memory = np.frombuffer(self._map, np.uint8)
        self._frames = Blocks(memory, self.link_type, _loopback_index() if name == ANY else twice)
        self._blocks = len(self._map) // BLOCK
        self._next = 0
        self._held = 0

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    @property
    def ready(self) -> bool:
        """Whether a block is ready to be taken."""
        return bool(self._frames.status(self._next * BLOCK) & USER)

    @property
    def crowded(self) -> bool:
        """Whether so many blocks are ready that they should be taken now."""
        return bool(self._frames.status((self._next + self._blocks // 8) % self._blocks * BLOCK) & USER)

    def take(self) -> FrameBatch | None:
        """The frames of the blocks that are ready, None where there are none to take; see `release`."""
        starts = []
        frames = 0
        while self._held < self._blocks and frames < FRAMES and self.ready:
            starts.append(self._frames.starts(self._next * BLOCK, BLOCK))
            frames += len(starts[-1])
            self._held += 1
            self._next = (self._next + 1) % self._blocks
        if not frames:
            return None
        return self._frames.batch(np.concatenate(starts) if len(starts) > 1 else starts[0])

    def release(self) -> None:
        """Give the blocks of the last batch back to the kernel."""
        for back in range(self._held, 0, -1):
            struct.pack_into("I", self._map, (self._next - back) % self._blocks * BLOCK + STATUS_AT, 0)
        self._held = 0

    def count(self) -> Counts:
        """Frames received and dropped so far."""
        try:
            received, dropped, _ = struct.unpack("III", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        except OSError:
            received = dropped = 0  # closed
        self._received += received
        self._dropped += dropped
        return Counts(self._received, self._dropped)

    def check(self) -> None:
        """After poll saw an error.

        Raises:
            InputError: the interface is gone or down.
        """
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise InputError(f"{self._name}: the interface went down or away during the capture")

    def close(self) -> None:
        self.count()
        self._socket.close()

    def _make(self, blocks: int) -> mmap.mmap:
        """A ring of so many blocks, or of as many as the system has memory for."""
        self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        while True:
            request = struct.pack("7I", BLOCK, blocks, _SLOT, BLOCK // _SLOT * blocks, RETIRE, 0, 0)
            try:
                self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            except OSError as error:
                if error.errno != errno.ENOMEM or blocks <= _LEAST_BLOCKS:
                    raise
                blocks = max(blocks // 2, _LEAST_BLOCKS)
            else:
                return mmap.mmap(self._socket.fileno(), BLOCK * blocks, flags=mmap.MAP_SHARED)

    def _ignore_outgoing(self) -> bool:
        """On the loopback interface each frame passes twice; have the kernel give it once (Linux 4.20)."""
        try:
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        except OSError:
            return False
        return True


class RingEngine:
    """One ring per interface; see `engine.Engine`."""

    name = "ring"

    def __init__(self, settings: Settings) -> None:
        """Opens all rings; raises what `Ring` raises."""
        self.interfaces: list[Interface] = []
        self._rings: list[Ring] = []
        self._poll = select.poll()
        self._by_descriptor: dict[int, int] = {}
        self._taken: Ring | None = None
        self._turn = 0
        self._last = 0.0
        self._number = 1
        try:
            for index, name in enumerate(settings.names):
                ring = Ring(name, settings)
                self._rings.append(ring)
                self.interfaces.append(Interface(name, name, ring.link_type))
                self._by_descriptor[ring.descriptor] = index
                self._poll.register(ring.descriptor, select.POLLIN | select.POLLERR)
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float) -> FrameBatch | None:
        if self._taken is not None:
            self._taken.release()
            self._taken = None
        index = self._ready()
        if index is None:
            for descriptor, event in self._poll.poll(seconds * 1000):
                if event & select.POLLERR:
                    self._rings[self._by_descriptor[descriptor]].check()
            index = self._ready()
            if index is None:
                return None
        self._turn = index + 1
        self._taken = ring = self._rings[index]
        while time.monotonic() < self._last + GATHER and not ring.crowded:
            time.sleep(STEP)
        self._last = time.monotonic()
        batch = ring.take()
        if batch is None:
            return None
        batch.first_number = self._number
        self._number += len(batch)
        batch.interfaces = self.interfaces
        if index:
            batch.interface += np.uint16(index)
        return batch

    def counts(self) -> list[Counts]:
        return [ring.count() for ring in self._rings]

    def close(self) -> None:
        for ring in self._rings:
            ring.close()

    def _ready(self) -> int | None:
        """A ring with a block to take; each gets its turn."""
        count = len(self._rings)
        return next((i % count for i in range(self._turn, self._turn + count) if self._rings[i % count].ready), None)


def _interface(name: str) -> tuple[int, int]:
    """Flags (netdevice(7)) and hardware type of an interface that is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            request = struct.pack("16s24x", name.encode()[:15])
            flags = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)[0]
            hardware = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request), 16)[0]
        except OSError:
            raise InputError(f"{name}: no such interface; `socks5sniff interfaces` lists them") from None
    if not flags & _IFF_UP:
        raise InputError(f"{name}: the interface is down; `sudo ip link set {name} up` brings it up")
    return flags, hardware


def _loopback_index() -> int:
    try:
        return socket.if_nametoindex("lo")
    except OSError:
        return 0
