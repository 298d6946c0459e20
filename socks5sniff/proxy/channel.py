"""One TCP leg of a conversation: octets in while the handshake lasts, straight to the other leg from then on.

A callback protocol, not asyncio streams: in a relay an octet is copied once in Python, whatever the direction, and
no task wakes up. All channels of a proxy read into one scratch buffer, so 2,000 idle connections hold none.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Protocol

from socks5sniff.client.security import Protection, SecurityError

SCRATCH = 256 * 1024
"""Octets read at once. Larger reads gain nothing on loopback, where this is about four frames."""

LARGEST_BACKLOG = 256 * 1024
"""Octets a client may send ahead of the relay before reading from it pauses."""

LEAST_BACKLOG = 70_000
"""Reading goes on until a whole GSSAPI frame (65,539 octets, the longest there is) fits in what is waiting."""

LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""SO_LINGER with time 0: how the kernel is asked for RST instead of FIN."""

OPENER, LISTENER = 0, 1
"""Sides of a TCP connection: who opened it, and who listened."""


class FlowTrace(Protocol):
    """What a channel tells a capture of itself; `side` is the sender's."""

    def data(self, side: int, octets: bytes) -> None: ...

    def fin(self, side: int) -> None: ...

    def reset(self, side: int) -> None: ...


class GoneError(Exception):
    """The other end closed or reset the connection before what was expected of it came."""


class Channel(asyncio.BufferedProtocol):
    """One TCP connection. `peer` is None during the handshake and the other leg's channel in a relay.

    Attributes:
        input: octets received and not yet taken; only during the handshake.
        received: octets received in a relay.
        eof, lost: the other end has closed its side; the connection is gone.
        active: loop time of the last octet received.
        flow: the capture's view of this connection, None where nothing is captured.
        protection: set once GSSAPI encapsulation is on; what is sent and received passes through it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scratch: memoryview,
        on_open: Callable[[Channel], None] | None = None,
        on_lost: Callable[[Channel], None] | None = None,
    ) -> None:
        self._loop = loop
        self._scratch = scratch
        self._on_open = on_open
        self.on_lost = on_lost
        self.on_eof: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reading = True
        self._congested = False
        self._discarding = False
        self._sent_eof = False
        self.opened = False
        self.transport: asyncio.Transport
        self.input = bytearray()
        self.received = 0
        self.eof = False
        self.lost = False
        self.active = loop.time()
        self.peer: Channel | None = None
        self.flow: FlowTrace | None = None
        self.side = LISTENER
        self.protection: Protection | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.opened = True
        if self._on_open is not None:
            self._on_open(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch

    def buffer_updated(self, count: int) -> None:
        octets = bytes(self._scratch[:count])
        self.active = self._loop.time()
        if self.flow is not None:
            self.flow.data(1 - self.side, octets)
        if self._discarding:
            return
        if self.protection is not None:
            try:
                octets = self.protection.open(octets)
            except SecurityError:
                self.reset()
                return
        peer = self.peer
        if peer is not None:
            self.received += len(octets)
            peer.send(octets)
            return
        self.input += octets
        if len(self.input) >= LARGEST_BACKLOG:
            self._pause()
        self._wake()

    def eof_received(self) -> bool:
        self.eof = True
        self.active = self._loop.time()
        if self.flow is not None:
            self.flow.fin(1 - self.side)
        if self._discarding:
            self.transport.close()
        elif self.peer is not None:
            self.peer.send_eof()
            self._close_when_both_ended()
        self._wake()
        if self.on_eof is not None:
            self.on_eof()
        return True  # the other direction stays open (half-close)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self.flow is not None and error is not None:
            self.flow.reset(1 - self.side)
        if self.peer is not None and not self.peer.lost:
            if error is not None:
                self.peer.reset()
            else:
                self.peer.close()
        self._wake()
        if self.on_lost is not None:
            self.on_lost(self)

    def pause_writing(self) -> None:
        self._congested = True
        if self.peer is not None:
            self.peer._pause()

    def resume_writing(self) -> None:
        self._congested = False
        if self.peer is not None:
            self.peer._resume()
        self._wake()

    # What a conversation calls.

    async def more(self) -> None:
        """Wait until more octets, the end or the loss of the connection has come; the caller looks which."""
        assert self._waiter is None
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def need(self, count: int) -> None:
        """Wait until `input` holds `count` octets. Raises GoneError where the connection ends before."""
        while len(self.input) < count:
            if self.eof or self.lost:
                raise GoneError
            if len(self.input) < LEAST_BACKLOG:
                self._resume()
            await self.more()

    async def ended(self) -> None:
        """Wait until the other end has closed its side or the connection is gone; what it sends is thrown away."""
        self.input.clear()
        self._discarding = True
        self._resume()
        while not (self.eof or self.lost):
            await self.more()

    def send(self, octets: bytes) -> None:
        """Send `octets`, protected where that is on. Nothing happens on a closing connection."""
        if self.protection is not None:
            octets = self.protection.seal(octets)
        if not octets or self.transport.is_closing() or self._sent_eof:
            return
        if self.flow is not None:
            self.flow.data(self.side, octets)
        self.transport.write(octets)

    def send_eof(self) -> None:
        """Close this side; the other may go on sending."""
        if self._sent_eof or self.lost or self.transport.is_closing():
            return
        self._sent_eof = True
        if self.flow is not None:
            self.flow.fin(self.side)
        try:
            self.transport.write_eof()
        except OSError:  # reset by the other end, which the loop has not told yet
            self.transport.abort()

    def close(self) -> None:
        """Close once everything has been sent."""
        if self.lost or self.transport.is_closing():
            return
        if self.flow is not None and not self._sent_eof:
            self.flow.fin(self.side)
        self._sent_eof = True
        self.transport.close()

    def reset(self) -> None:
        """End the connection at once, with a TCP reset."""
        if self.lost:
            return
        if self.flow is not None:
            self.flow.reset(self.side)
            self.flow = None
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.transport.abort()

    async def finish(self, linger: float) -> None:
        """Close this side, give the other `linger` seconds to close its own, then close for good."""
        self.send_eof()
        timer = self._loop.call_later(linger, self.transport.abort)
        try:
            await self.ended()
        finally:
            timer.cancel()
            self.transport.close()

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _close_when_both_ended(self) -> None:
        peer = self.peer
        if peer is not None and self.eof and peer.eof:
            self.close()
            peer.close()

    def _join(self, peer: Channel) -> None:
        self.peer = peer
        if self.input:
            self.received += len(self.input)
            peer.send(bytes(self.input))
            self.input.clear()
        if peer._congested:
            self._pause()
        else:
            self._resume()


def join(one: Channel, other: Channel) -> None:
    """Relay between two channels from now on: octets, end of a direction, reset."""
    one._join(other)
    other._join(one)
    for channel, peer in ((one, other), (other, one)):
        if channel.lost:
            peer.close()
        elif channel.eof:
            peer.send_eof()
    one._close_when_both_ended()
