"""The client's TCP connection to the proxy: whole frames out and in, protected once GSSAPI says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from socks5sniff.client.failures import ProtocolError
from socks5sniff.client.faults import ClientFaults
from socks5sniff.client.security import Protection
from socks5sniff.codec import Decoded, Mismatch, NeedMore

CHUNK = 65_536

FrameType = TypeVar("FrameType")
Decoder = Callable[[bytearray], "Decoded[FrameType] | NeedMore | Mismatch"]


class Encodable(Protocol):
    """A frame of the codec."""

    @property
    def kind(self) -> str: ...

    def encode(self) -> bytes: ...


class Witnessed(NamedTuple):
    """One frame that this client sent or received."""

    sender: str
    """`client` or `proxy`."""
    type: str
    """As in the record's `frames`."""
    length: int
    """Octets of the SOCKS frame; inside GSSAPI's encapsulation, of the encapsulating frame."""


class Wire:
    """One connection. `witnessed` lists its SOCKS frames in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: ClientFaults) -> None:
        self._reader = reader
        self._writer = writer
        self._faults = faults
        self._outbox = bytearray()
        self._input = bytearray()
        self._first = True
        self.protection: Protection | None = None
        self.witnessed: list[Witnessed] = []

    @property
    def local(self) -> tuple[str, int]:
        """This end's address and port."""
        host, port = self._writer.get_extra_info("sockname")[:2]
        return str(host), int(port)

    @property
    def remote(self) -> tuple[str, int]:
        """The proxy's address and port."""
        host, port = self._writer.get_extra_info("peername")[:2]
        return str(host), int(port)

    # Frames

    def put(self, frame: Encodable) -> None:
        """Add a frame to what `flush` sends."""
        octets = self._faults.apply(frame.kind, frame.encode())
        if self.protection is not None:
            octets = self.protection.seal(octets)
        self.witnessed.append(Witnessed("client", frame.kind, len(octets)))
        self._outbox += octets

    def put_octets(self, octets: bytes) -> None:
        """Add octets that are no frame."""
        self._outbox += self.protection.seal(octets) if self.protection is not None and octets else octets

    async def flush(self) -> None:
        """Send what has been put, in the segments that the faults wants."""
        octets, self._outbox = bytes(self._outbox), bytearray()
        if self._first:
            octets, self._first = self._faults.prelude + octets, False
        size = self._faults.segment
        if not size:
            self._writer.write(octets)
            await self._writer.drain()
            return
        for at in range(0, len(octets), size):
            self._writer.write(octets[at : at + size])
            await self._writer.drain()
            await asyncio.sleep(self._faults.pause)

    async def frame(self, decode: Decoder[FrameType]) -> FrameType:
        """The next frame. Raises ProtocolError where the proxy ends before it, or sends what cannot be one."""
        while True:
            result = decode(self._input)
            if isinstance(result, Decoded):
                del self._input[: result.length]
                kind = result.frame.kind  # type: ignore[attr-defined]
                self.witnessed.append(Witnessed("proxy", kind, result.length))
                return result.frame
            if isinstance(result, Mismatch):
                raise ProtocolError(f"the proxy's answer is not SOCKS: {result.deviation.message}")
            if not await self._fill():
                raise ProtocolError("the proxy closed before its answer was complete")

    # Tunnel octets

    async def read(self, limit: int) -> bytes:
        """Up to `limit` octets; none at the end."""
        while not self._input:
            if not await self._fill():
                return b""
        octets = bytes(self._input[:limit])
        del self._input[:limit]
        return octets

    def write(self, octets: bytes) -> None:
        """Send octets."""
        self._writer.write(self.protection.seal(octets) if self.protection is not None else octets)

    async def drain(self) -> None:
        """Wait while the proxy does not take what has been written."""
        await self._writer.drain()

    def write_eof(self) -> None:
        """Close this direction."""
        self._writer.write_eof()

    def abort(self, reset: bool = False) -> None:
        """Drop the connection at once, with a TCP reset if `reset`."""
        if reset:
            import socket
            import struct
            import sys

            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def close(self) -> None:
        """Send what is left and close."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the proxy was faster: the connection is gone either way

    async def _fill(self) -> bool:
        try:
            octets = await self._reader.read(CHUNK)
        except ConnectionError:
            return False
        if not octets:
            return False
        self._input += self.protection.open(octets) if self.protection is not None else octets
        return True
