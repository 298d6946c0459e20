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
from .engine import BUFFER, LINK_ETHERNET, LINK_RAW, LINK_SLL2, SNAPLEN, Counts, Settings
from .links import IFF_LOOPBACK, Link, find, links

BLOCK = 1 << 18
"""Octets of a block at least: room for three of the largest frames, unless the interface takes larger ones."""

RETIRE = 80
"""Milliseconds after which a block that is not full is handed over. While nobody takes blocks, each holds this long at
least, so that the ring bridges RETIRE times its number of blocks: 20 s where 64 MB are blocks of the usual size."""

FRAMES = 16_384
"""Frames that a batch holds at most, unless one block alone holds more."""

GATHER = 0.08
"""Seconds for which blocks are gathered while there are few: a batch costs the same whether it holds one or ten."""
STEP = 0.01
"""Seconds between looks meanwhile; the ring must not fill in that time."""

LOOK = 0.2
"""Seconds between looks for interfaces that are away."""

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
_ETHERNET_TYPES = frozenset({1, 772})
"""ARPHRD_ values (linux/if_arp.h) of Ethernet and of the loopback interface."""
_RAW_TYPES = frozenset({519, 768, 769, 776, 65534})
"""Those of interfaces whose frames begin with the IP header: tunnels, WireGuard, tun."""


class Ring:
    """The ring of one interface.

    Attributes:
        descriptor: for poll: readable when a block is ready.
        link_type: LINKTYPE_ value of its frames.
        away: the interface is down or gone at the moment.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        """Opens it; frames are taken from here on.

        Raises:
            PermissionError: without CAP_NET_RAW.
            InputError: there is no such interface, it is down, or the filter is wrong.
            MissingError: there is nothing to compile the filter with.
        """
        self._promiscuous = settings.promiscuous
        self._counts = Counts(0, 0)
        self._link = link = _any() if name == ANY else _ready_link(name)
        self.link_type = _link_type(link)
        raw = self.link_type != LINK_SLL2
        self._block = _block_size(link)
        # Of one interface nothing comes before bind(); of `any`, what came before the ring is there is thrown away.
        protocol = socket.htons(_ETH_P_ALL) if name == ANY else 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW if raw else socket.SOCK_DGRAM, protocol)
        try:
            if settings.filter:
                program = compile_filter(settings.filter, self.link_type, settings.snaplen)
                attach(self._socket, program if raw else cooked(program))
            elif settings.snaplen < SNAPLEN:
                attach(self._socket, [(_RETURN, 0, 0, settings.snaplen)])
            twice = bool(link.flags & IFF_LOOPBACK) and not self._ignore_outgoing()
            self._map = self._make(max((settings.buffer or BUFFER) // self._block, _LEAST_BLOCKS))
            if name != ANY:
                self._bind(link)
        except OSError as error:
            self._socket.close()
            raise InputError(f"{name}: cannot be captured: {error.strerror}") from error
        except BaseException:
            self._socket.close()
            raise
        memory = np.frombuffer(self._map, np.uint8)
        self._frames = Blocks(memory, self.link_type, _loopback_index() if name == ANY else twice)
        self._blocks = len(self._map) // self._block
        self._next = 0
        self._held = 0
        self.away = False

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    @property
    def ready(self) -> bool:
        """Whether a block is ready to be taken."""
        return bool(self._frames.status(self._next * self._block) & USER)

    @property
    def crowded(self) -> bool:
        """Whether so many blocks are ready that they should be taken now."""
        return bool(self._frames.status((self._next + self._blocks // 8) % self._blocks * self._block) & USER)

    def take(self) -> FrameBatch | None:
        """The frames of the blocks that are ready, None where there are none to take; see `release`."""
        starts = []
        frames = 0
        while self._held < self._blocks and frames < FRAMES and self.ready:
            starts.append(self._frames.starts(self._next * self._block, self._block))
            frames += len(starts[-1])
            self._held += 1
            self._next = (self._next + 1) % self._blocks
        if not frames:
            return None
        return self._frames.batch(np.concatenate(starts) if len(starts) > 1 else starts[0])

    def release(self) -> None:
        """Give the blocks of the last batch back to the kernel."""
        for back in range(self._held, 0, -1):
            struct.pack_into("I", self._map, (self._next - back) % self._blocks * self._block + STATUS_AT, 0)
        self._held = 0

    def count(self) -> Counts:
        """Frames received and dropped so far."""
        try:
            received, dropped, _ = struct.unpack("III", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        except OSError:
            received = dropped = 0  # closed
        self._counts = Counts(self._counts.received + received, self._counts.dropped + dropped)
        return self._counts

    def check(self) -> str | None:
        """After poll saw an error: what to say of it, None where there is nothing new."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error or self.away:
            return None
        self.away = True
        return f"{self._link.name}: the interface went down or away; waiting for its return"

    def mend(self) -> str | None:
        """See whether an interface that was away is there again: what to say then, None as long as it is not.

        Raises:
            InputError: it has come back as another kind of interface.
        """
        link = find(self._link.name)
        if link is None or not link.up:
            return None
        if link.index != self._link.index:  # made anew; the kernel itself brings back one that only was down
            if _link_type(link) != self.link_type:
                raise InputError(f"{self._link.name}: the interface came back with another link type")
            try:
                self._bind(link)
            except OSError:
                return None  # gone again
            self._link = link
        self.away = False
        return f"{self._link.name}: the interface is back"

    def close(self) -> None:
        self.count()
        self._socket.close()

    def _bind(self, link: Link) -> None:
        self._socket.bind((link.name, _ETH_P_ALL))
        if self._promiscuous:
            member = struct.pack("iHH8x", link.index, _PROMISCUOUS, 0)
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)

    def _make(self, blocks: int) -> mmap.mmap:
        """A ring of so many blocks, or of as many as the system has memory for."""
        self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        while True:
            request = struct.pack("7I", self._block, blocks, _SLOT, self._block // _SLOT * blocks, RETIRE, 0, 0)
            try:
                self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            except OSError as error:
                if error.errno != errno.ENOMEM or blocks <= _LEAST_BLOCKS:
                    raise
                blocks = max(blocks // 2, _LEAST_BLOCKS)
            else:
                return mmap.mmap(self._socket.fileno(), self._block * blocks, flags=mmap.MAP_SHARED)

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
        self.notices: list[str] = []
        self._rings: list[Ring] = []
        self._poll = select.poll()
        self._by_descriptor: dict[int, int] = {}
        self._taken: Ring | None = None
        self._turn = 0
        self._last = self._looked = 0.0
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
            self._look_after(self._poll.poll(seconds * 1000))
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

    def _look_after(self, events: list[tuple[int, int]]) -> None:
        """Notice interfaces that go and come."""
        said = [self._rings[self._by_descriptor[place]].check() for place, event in events if event & select.POLLERR]
        now = time.monotonic()
        if now > self._looked + LOOK:
            self._looked = now
            said += [ring.mend() for ring in self._rings if ring.away]
        self.notices += filter(None, said)

    def _ready(self) -> int | None:
        """A ring with a block to take; each gets its turn."""
        count = len(self._rings)
        return next((i % count for i in range(self._turn, self._turn + count) if self._rings[i % count].ready), None)


def _ready_link(name: str) -> Link:
    """An interface that is up.

    Raises:
        InputError: it is not, or there is none.
    """
    link = find(name)
    if link is None:
        raise InputError(f"{name}: no such interface; `socks5sniff interfaces` lists them (--wait waits for one)")
    if not link.up:
        raise InputError(f"{name}: the interface is down; `sudo ip link set {name} up` brings it up (--wait waits)")
    return link


def _any() -> Link:
    """All interfaces as one; hardware type 0 (ARPHRD_NETROM) is captured cooked."""
    return Link(ANY, 0, 0, 0, max((link.largest for link in links()), default=0))


def _link_type(link: Link) -> int:
    if link.hardware in _ETHERNET_TYPES:
        return LINK_ETHERNET
    return LINK_RAW if link.hardware in _RAW_TYPES else LINK_SLL2


def _block_size(link: Link) -> int:
    """A power of two, as the kernel allocates memory, with room for three of the largest frames that are to be kept.

    The largest packet that can be set up (BIG TCP) has 512 kB; frames are kept to 256 kB.
    """
    return BLOCK if link.largest <= BLOCK // 4 else 4 * BLOCK


def _loopback_index() -> int:
    try:
        return socket.if_nametoindex("lo")
    except OSError:
        return 0
