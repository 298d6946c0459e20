"""How a client departs from good manners, for tests of proxies and of analysers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LENGTH_AT = {"greeting": 1, "auth-request": 1, "request": 4}
"""Where each frame's first length octet is; the request has one only with a domain name."""


@dataclass(frozen=True, slots=True)
class ClientFaults:
    """The default is good manners. Frames are named as in the record: `greeting`, `auth-request`, `request`.

    Attributes:
        methods: METHODS of the greeting, any number of any octets, instead of those the client can do.
        segment: octets per write, 0 for whole frames.
        pause: seconds between such writes, so that the kernel does not join them.
        pipeline: all frames at once, without waiting for an answer.
        optimistic: tunnel data right behind the request, before the reply.
        prelude: octets in front of everything.
        versions: VER of a frame.
        reserved: RSV of the request.
        lengths: the first length octet of a frame, whatever its content has.
        stop_after: name of the frame after which no further one is sent; the client then waits for the proxy to close.
        bare_level: the GSSAPI protection level goes unwrapped, as NEC's clients send it.
    """

    methods: bytes | None = None
    segment: int = 0
    pause: float = 0.001
    pipeline: bool = False
    optimistic: bytes = b""
    prelude: bytes = b""
    versions: Mapping[str, int] = field(default_factory=dict)
    reserved: int = 0
    lengths: Mapping[str, int] = field(default_factory=dict)
    stop_after: str | None = None
    bare_level: bool = False

    def apply(self, kind: str, octets: bytes) -> bytes:
        """The octets of a frame as this client sends them."""
        changed = bytearray(octets)
        if kind in self.versions:
            changed[0] = self.versions[kind]
        if kind == "request" and octets[0] == 5:
            changed[2] = self.reserved
        if kind in self.lengths:
            changed[LENGTH_AT[kind]] = self.lengths[kind]
        return bytes(changed)
