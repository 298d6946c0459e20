"""The octets that GSSAPI tokens enclose, where they are not encrypted (RFC 1961, RFC 4121, RFC 1964)."""

from __future__ import annotations

from collections.abc import Iterator

from socks5sniff.analysis.extents import Pair
from socks5sniff.codec import MAX_GSSAPI, GssapiMessageType, NeedMore, decode_gssapi, unwrap_readable
from socks5sniff.session.held import Held

from .chunks import UNKNOWN_LENGTH, Chunk


class _Tokens:
    """One direction of one layer."""

    def __init__(self, skip: int) -> None:
        self.held: Held | None = Held(0)
        self.skip = skip


class Unwrapping:
    """One tunnel, and the layers of tokens around it."""

    def __init__(self, skips: tuple[Pair, ...]) -> None:
        """The octets of each layer's inside that precede what is wanted."""
        self._layers = [(_Tokens(client), _Tokens(destination)) for client, destination in skips]
        self._offsets = [0, 0]

    def feed(self, chunk: Chunk) -> Iterator[Chunk]:
        """The next octets of a direction, tokens and all; gives what is inside. Behind a gap nothing can be read."""
        inside = [chunk]
        for layer in self._layers:
            tokens = layer[chunk.direction]
            inside = [found for outer in inside for found in _inside(tokens, outer)]
        for found in inside:
            offset = self._offsets[chunk.direction]
            self._offsets[chunk.direction] += max(found.length, 0)
            yield found._replace(offset=offset)

    def finish(self, direction: int, last: Chunk) -> Iterator[Chunk]:
        """Nothing more comes: a token that is not whole is a gap. `last` is a chunk with the last packet."""
        if any(tokens.held is not None and len(tokens.held) for tokens in (layer[direction] for layer in self._layers)):
            yield last._replace(offset=self._offsets[direction], length=UNKNOWN_LENGTH, octets=None)
        for layer in self._layers:
            layer[direction].held = None


def _inside(tokens: _Tokens, outer: Chunk) -> list[Chunk]:
    held = tokens.held
    if held is None:
        return []
    if outer.octets is None:
        return _end(tokens, outer)
    held.add(bytes(outer.octets), outer.frame, outer.time, 2 * MAX_GSSAPI + len(outer.octets))
    if len(held) < held.need:
        return []
    octets = bytes(held.octets)
    found: list[Chunk] = []
    at, need = 0, 1
    while at < len(octets):
        token = decode_gssapi(octets, at)
        if isinstance(token, NeedMore):
            need = token.octets
            break
        message = token.frame
        plain = unwrap_readable(message.token) if message.message_type == GssapiMessageType.USER_DATA else None
        frame, time = held.source(at)
        at += token.length
        if plain is None:
            return found + _end(tokens, outer._replace(frame=frame, time=time))
        skipped = min(tokens.skip, len(plain))
        tokens.skip -= skipped
        if skipped < len(plain):
            plain = plain[skipped:]
            found.append(outer._replace(length=len(plain), octets=plain, frame=frame, time=time))
    held.drop(at)
    held.need = need
    return found


def _end(tokens: _Tokens, chunk: Chunk) -> list[Chunk]:
    """What follows cannot be read."""
    tokens.held = None
    return [chunk._replace(length=UNKNOWN_LENGTH, octets=None)]
