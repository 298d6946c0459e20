"""The proxy's half of a dialogue with one client: whole frames in, and out with the faults that they are to have.

Whatever goes wrong on the way ends it with one word for the log (`OverError`); nothing that a client sends raises
anything else. What the frames mean is for others to know: `handshake` and `commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn, TypeVar

from socks5sniff.codec import (
    Address,
    Decoded,
    Deviation,
    Mismatch,
    NeedMore,
    Reply,
    ReplyStatus,
    Socks4Reply,
    Socks4Status,
    reply_name,
    socks4_reply_name,
)
from socks5sniff.proxy.channel import Channel
from socks5sniff.proxy.faults import Faults
from socks5sniff.proxy.log import LogEntry

FrameType = TypeVar("FrameType")
Decoder = Callable[[bytearray], "Decoded[FrameType] | NeedMore | Mismatch"]

UNSPECIFIED = Address.ipv4("0.0.0.0", 0)
NONE = Faults()
SEGMENT_PAUSE = 0.001
"""Seconds between the segments of a frame that is cut up, so that the kernel does not join them again."""


class OverError(Exception):
    """The conversation is over; the text is the log's outcome."""


class UndelimitedError(Exception):
    """No octets to come can make these a frame."""

    def __init__(self, deviation: Deviation) -> None:
        super().__init__(deviation.message)
        self.deviation = deviation


class Dialogue:
    """Frames from and to one client.

    Attributes:
        client: the connection to it.
        entry: what the log will say, as far as it is known.
        faults: what this proxy does wrong in this conversation.
        linger: seconds that the client gets to close its side (`Settings.linger`).
        decided: the verdict has been given: what comes after it no longer changes the outcome.
        ended: why the conversation is being ended from outside, None where it is not.
    """

    def __init__(self, client: Channel, entry: LogEntry, faults: Faults, linger: float) -> None:
        self.client = client
        self.entry = entry
        self.faults = faults
        self.linger = linger
        self.decided = False
        self.ended: str | None = None
        self._loop = asyncio.get_running_loop()
        self._held = b""

    async def read(self, decode: Decoder[FrameType]) -> FrameType:
        """The next frame. Raises UndelimitedError where there cannot be one; a wrong version ends the conversation."""
        while True:
            result = decode(self.client.input)
            if isinstance(result, NeedMore):
                await self.client.need(result.octets)
                continue
            if isinstance(result, Mismatch):
                raise UndelimitedError(result.deviation)
            for deviation in result.deviations:
                if deviation.code in ("bad-version", "auth-version"):
                    await self.finish(deviation.message)
            del self.client.input[: result.length]
            return result.frame

    async def say(self, frame: str, octets: bytes) -> None:
        """Send one frame, with the faults it is to have."""
        faults = self.faults
        if faults == NONE:
            self.client.send(octets)
            return
        if frame in faults.delay:
            await asyncio.sleep(faults.delay[frame])
        if frame in (faults.close, faults.reset):
            await self.leave(frame)
        if frame == faults.silent:
            await self.client.ended()
            self.client.close()
            raise OverError(f"silent instead of {frame}")
        octets = faults.apply(frame, octets)
        if frame in faults.cut:
            self.client.send(octets[: faults.cut[frame]])
            await self.finish(f"closed in the middle of {frame}")
        if faults.hold and frame != "reply":
            if not self._held:
                self._loop.call_later(faults.hold, self._release)
            self._held += octets
            return
        octets, self._held = self._held + octets, b""
        await self._send(octets, faults.segment)

    async def answer(self, bound: Address, frame: str = "reply") -> None:
        """The success reply, `peer-reply` being BIND's second one."""
        if self.ended is not None:
            # Before Python 3.12 `wait_for` can lose a cancellation that comes at the same time as its result.
            raise asyncio.CancelledError
        await self.say(frame, self._reply(ReplyStatus.SUCCEEDED, bound))
        binding = self.entry.command == "bind"
        self.entry.outcome = "succeeded"
        self.decided = not binding or frame == "peer-reply"
        if "relay" in (self.faults.close, self.faults.reset) and not binding:
            await self.leave("relay")

    async def refuse(self, code: int, frame: str = "reply") -> NoReturn:
        """A failure reply, then the end (RFC 1928 s6: within ten seconds)."""
        octets = self._reply(code, UNSPECIFIED)
        await self.say(frame, octets)
        if self.faults.junk_after_failure:
            self.client.send(self.faults.junk_after_failure)
        if self.entry.protocol == "socks5":
            await self.finish(reply_name(code))
        await self.finish(socks4_reply_name(octets[1]))

    async def pretend(self, code: int) -> NoReturn:
        """Answer with `code` without trying; after a pretended success octets go nowhere."""
        if code not in (0, Socks4Status.GRANTED):
            await self.refuse(code)
        await self.answer(UNSPECIFIED)
        await self.client.ended()
        self.client.close()
        raise OverError("succeeded")

    async def leave(self, state: str) -> NoReturn:
        """Close or reset, as the fault says."""
        if self.faults.reset == state:
            self.client.reset()
            raise OverError(f"reset at {state}")
        await self.finish(f"closed at {state}")

    async def finish(self, outcome: str) -> NoReturn:
        """Nothing more will be said: close this side, let the client close its own."""
        self.entry.outcome = outcome
        self.decided = True
        self._release()
        if self.faults.late_close:
            await asyncio.sleep(self.faults.late_close)
        await self.client.finish(self.linger)
        raise OverError(outcome)

    def _reply(self, code: int, bound: Address) -> bytes:
        if self.faults.bound is not None:
            # A relay's port cannot be guessed by who makes up the address, so port 0 leaves it as it is.
            port = bound.port if self.entry.command == "udp-associate" else 0
            bound = self.faults.bound._replace(port=self.faults.bound.port or port)
        if self.faults.bound_port is not None:
            bound = bound._replace(port=self.faults.bound_port)
        if self.entry.protocol == "socks5":
            return Reply(code, bound).encode()
        if bound.type != 1:
            bound = UNSPECIFIED  # SOCKS4 has room for IPv4 only
        if code < 90:
            code = Socks4Status.REJECTED if code else Socks4Status.GRANTED
        return Socks4Reply(code, bound).encode()

    async def _send(self, octets: bytes, segment: int) -> None:
        if not segment:
            self.client.send(octets)
            return
        for at in range(0, len(octets), segment):
            self.client.send(octets[at : at + segment])
            await asyncio.sleep(SEGMENT_PAUSE)

    def _release(self) -> None:
        held, self._held = self._held, b""
        if held and not self.client.lost:
            self.client.send(held)
