"""What GSSAPI tokens enclose, where it can be read: a dialogue from its request on, then a tunnel.

The inner dialogue adds to the frames and anomalies of the outer one, and where it ends the outer one ends. A token that
nobody can read (it is encrypted, or octets of it are missing) ends the reading of the inside.
"""

from __future__ import annotations

from ..codec import MAX_GSSAPI, GssapiMessageType, NeedMore, decode_gssapi, unwrap_readable
from .dialogue import FRAMES_KEPT, Dialogue
from .evidence import Evidence
from .facts import Verdict
from .held import Held, Run, Segments
from .states import STATES

TOKENS_READ = 2 * MAX_GSSAPI
"""Octets of each side of a tunnel inside GSSAPI tokens that are read, to name what it carries."""

_REQUEST = STATES["request"]
_SEALED = STATES["sealed"]
_ENCLOSED = STATES["enclosed"]
_TUNNEL = STATES["tunnel"]
_STOPPED = STATES["stopped"]


class Enclosed:
    """The inside of one conversation's tokens. It is the outer dialogue's `Tunnel` from the first token on.

    Attributes:
        inner: the dialogue inside; None before it begins and where it cannot be read.
        tokens: by side, the tokens of an open tunnel that came in part; None while none are read.
    """

    __slots__ = ("_opaque", "inner", "tokens")

    def __init__(self) -> None:
        self.inner: Dialogue | None = None
        self.tokens: tuple[Held, Held] | None = None
        self._opaque = False

    # The dialogue

    def open(self, token: Run, outer: Dialogue) -> None:
        """Read what a token of the dialogue encloses."""
        if self._opaque or outer.evidence.verdict is Verdict.FOREIGN or len(outer.frames) >= FRAMES_KEPT:
            return
        plain = unwrap_readable(token.octets)
        if plain is None:
            self._opaque = True
            self.inner = None
            return
        if self.inner is None:
            self.inner = _begin(outer)
        if plain:
            self.inner.feed(*token._replace(octets=plain))
        self._follow(self.inner, outer)

    def close(self, side: int, outer: Dialogue) -> None:
        """The proxy closed."""
        if self.inner is not None:
            self.inner.read_short_refusal(side)
            self._follow(self.inner, outer)

    def _follow(self, inner: Dialogue, outer: Dialogue) -> None:
        """Where the inside stands, this conversation stands."""
        if inner.state is _STOPPED:
            outer.stop(inner.malformed)
        elif inner.state.final:
            outer.state = inner.state
            if outer.state is _TUNNEL:
                self.tokens = (Held(0), Held(0))
        elif outer.state is _ENCLOSED:
            # To the table the proxy's first token is the last; but this one was not a whole reply, so more follow.
            outer.state = _SEALED

    # The tunnel

    @property
    def relay(self) -> bool:
        """A relay was agreed on inside."""
        return self.inner is not None and self.inner.relay

    @property
    def wanting(self) -> bool:
        """A tunnel's tokens are being read."""
        return self.tokens is not None

    def __len__(self) -> int:
        """Octets kept: tokens in part, and what the inner dialogue holds."""
        held = 0 if self.tokens is None else len(self.tokens[0]) + len(self.tokens[1])
        return held if self.inner is None else held + self.inner.buffered

    def add(self, run: Run) -> None:
        """Read a tunnel's octets, token by token. They are no frames of the dialogue any more."""
        if self.tokens is None or self.inner is None:
            return
        held = self.tokens[run.side]
        held.add(run.octets, run.frame, run.time, TOKENS_READ)
        if len(held) < held.need:
            return
        octets = bytes(held.octets)
        at, need = 0, 1
        while at < len(octets):
            found = decode_gssapi(octets, at)
            if isinstance(found, NeedMore):
                need = found.octets
                break
            message = found.frame
            plain = unwrap_readable(message.token) if message.message_type == GssapiMessageType.USER_DATA else None
            if plain is None:
                self.leave()
                return
            if plain:
                self.inner.feed(run.side, plain, *held.source(at))
            at += found.length
        held.drop(at)
        held.need = need
        if held.cut or held.start > TOKENS_READ:
            self.leave()

    def cut(self, side: int) -> None:
        """Where the next token begins is not known any more, and the sides are of no use one without the other."""
        self.leave()

    def leave(self) -> None:
        """Read no more tokens, and forget what is kept of them."""
        self.tokens = None

    def take(self) -> list[Run]:
        """The octets inside the tokens that were read."""
        inside = None if self.inner is None else self.inner.tunnel
        return [] if inside is None else inside.take()


def _begin(outer: Dialogue) -> Dialogue:
    """The dialogue of what tokens enclose: it begins with the request, and whether it is SOCKS is no question."""
    inner = Dialogue(outer.seen, Evidence(outer.evidence.setting, Verdict.SOCKS), _REQUEST, outer.client_side)
    # Tokens come in the outer dialogue's segments, so what was found to hold several frames is known to both.
    inner.segments = Segments(None if outer.segments is None else outer.segments.piped)
    return inner
