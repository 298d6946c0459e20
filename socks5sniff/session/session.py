"""The observer of one SOCKS conversation: octets of both TCP sides in, frames, facts and anomalies out.

A conversation has three phases, each an object of its own: who opens it and where (`beginning`), the frames in their
turns (`dialogue`), and what GSSAPI tokens enclose of them (`enclosed`). The session hands octets to the phase that they
belong to, and is what all others ask.
"""

from __future__ import annotations

from ..codec import Decoded, ProxyHeader, is_socks4a_marker
from .beginning import Beginning, begins_plainly, may_stand
from .dialogue import FRAMES_KEPT, HANDSHAKE_OCTETS, HELD_OCTETS, Dialogue
from .enclosed import TOKENS_READ, Enclosed
from .ending import find_half_frame, read_unanswered_request
from .evidence import Evidence, Setting
from .facts import Facts, HalfFrame, Seen, Verdict
from .held import Run
from .states import PROXY, STATES
from .tunnel import TUNNEL_KEPT

__all__ = ["FRAMES_KEPT", "HANDSHAKE_OCTETS", "HELD_OCTETS", "TOKENS_READ", "TUNNEL_KEPT", "Session"]

_OPENING = STATES["opening"]
_REQUEST4 = STATES["request4"]
_REJECTED = STATES["rejected"]
_GSSAPI = (STATES["gssapi"], STATES["sealed"])
_make = tuple.__new__


class Session(Facts):
    """Observes one TCP connection and says whether it speaks SOCKS and what is said.

    Sides are TCP's: 0 opened the connection, 1 is the other. Roles (client, proxy) are found from the octets.
    Nothing raises for any octets, and memory is bounded for any input. There is no clock: times are arguments, in ns.

    Args:
        trusted: the port is a SOCKS port (the user named it, or it is 1080, 9050 or 9150). Then a greeting alone makes
            a conversation, and another protocol is named in an anomaly.
        loopback: both ends are loopback addresses: a password in clear is no anomaly then.
        addresses: those of the two sides in text; looked at only for UDP ASSOCIATE, to tell whether the client named
            its own address or the target. Without them only a domain name counts as a target.
        midstream: the connection's start is not in the capture, so the greeting need not be. Then the dialogue is
            joined at the proxy's choice or at a whole request, and no foreign protocol is named: it may be a tunnel's.

    Feeding (in the order of the capture):
        feed(side, octets, frame, time): the next octets of a side, in order, of one segment. `bytes` only.
        gap(side, length, frame, time): so many octets of a side are missing from the capture.
        close(side, frame, time): FIN or RST of a side.
        finish(): no more to come; settles an undecided verdict. `outcome()` does it too.

    Verdict and state:
        verdict: Verdict.UNDECIDED, SOCKS or FOREIGN. FOREIGN is final and drops frames and buffers.
        foreign: on a trusted port, what the foreign protocol is: HTTP, TLS, SSH, SOCKS6, unknown; else None.
        done: the session has no use for more octets: a relay is open, or nothing can be decoded any more. Octets after
            a failure are still wanted (for their anomalies) and cost little, and so are a tunnel's first octets where
            it is `enclosed`.
        relay: a tunnel or a UDP association is open.
        enclosed: the relay was agreed on inside GSSAPI tokens, and what it carries goes in such tokens.
        client_side: 0, 1, or None while unknown.
        protocol: socks5, socks4, socks4a, or None.
        phase: greeting, authentication, request, relay (where the dialogue stands), or None before the first frame.
        outcome(ended=True): the record's outcome; with ended=False None while there is no verdict yet.
        malformed: a frame could not be read although its octets are there.

    What was seen:
        frames: list of SessionFrame(value, type, sender, frame, time, started, length, offset, summary, damaged), in
            the order of the dialogue.
        anomalies: list of SessionAnomaly(code, frame, message).
        greeting, selection, auth_request, auth_reply, request, reply_frame, peer_reply_frame: the SessionFrame of that
            name or None; each has `.time` (completed, ns), `.started` (its first octet, ns), `.value` (the codec's).

    Facts, None where not seen:
        methods (bytes, as offered), method (int), username, password (bytes; SOCKS4's USERID is a username),
        authenticated (bool), command (int), destination (codec Address), reply (int), bound (Address),
        peer_reply (int), peer (Address); socks4 (bool) says which registry `reply` is of.
        authentication_start, authentication_end: times of the first and last sub-negotiation octet, ns.

    Tunnel:
        tunnel_start: [offset or None, offset or None], by side: stream offset (from the side's first octet fed, gaps
            counted) where the tunnel's octets begin. None where it is `enclosed`.
        take_tunnel(): the tunnel's octets that were fed already, as (side, octets, frame, time) runs in order of
            arrival a side; at most TUNNEL_KEPT octets a side are kept. A second call gives what came since. Where the
            tunnel is `enclosed` these are the octets inside the tokens, and the time is that of a token's beginning.
        leave_tunnel(): no more of an `enclosed` tunnel is wanted.
        buffered: octets kept in buffers now.
        preamble: (octets, octets) of each side that preceded the greeting and are not SOCKS.
        half_frame: what there is of a frame in whose middle all ended; None where there is no such frame.
        proxy_header: the PROXY protocol header that side 0 began with, with its length; None where there was none.
    """

    __slots__ = ("_beginning", "_dialogue", "_evidence", "half_frame")

    def __init__(
        self,
        trusted: bool = False,
        loopback: bool = False,
        addresses: tuple[str, str] | None = None,
        midstream: bool = False,
    ) -> None:
        self.seen = Seen()
        self.half_frame: HalfFrame | None = None
        self._evidence = Evidence(_make(Setting, (trusted, loopback, addresses, midstream)))
        self._dialogue = Dialogue(self.seen, self._evidence, _OPENING)
        # None as long as nothing has to be found out: most connections begin with a whole greeting.
        self._beginning: Beginning | None = Beginning(self._dialogue) if midstream else None

    # Feeding

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of `side`, in order, of one segment with this frame number and time (ns)."""
        if not octets:
            return
        dialogue = self._dialogue
        if dialogue.client_side is None and not self._begin(side, octets, frame, time):
            return
        token = dialogue.feed(side, octets, frame, time)
        if token is not None:
            self._open(token)

    def gap(self, side: int, length: int, frame: int, time: int) -> None:
        """`length` octets of `side` are missing; `frame` and `time` are those of the packet that shows it."""
        dialogue = self._dialogue
        offset = dialogue.fed[side]
        dialogue.fed[side] = offset + length
        if dialogue.state.final or length <= 0:
            if length > 0:
                self.leave_tunnel()  # where the next token begins is not known any more
            return
        if dialogue.state is _OPENING and self._gap_before_opening(side, length, frame, time):
            return
        if dialogue.state.awaits_reply and side == dialogue.client_side:
            # Optimistic data: the tunnel's loss, not the handshake's.
            dialogue.hold(side, offset).cut = True
            return
        held = dialogue.hold(side, offset)
        again = held.lost > held.start
        self._open(dialogue.gap(side, offset, length, frame, time))
        if self.verdict is not Verdict.FOREIGN and not again:
            self._note_gap(length, frame)

    def close(self, side: int, frame: int, time: int) -> None:
        """FIN or RST of `side`: nothing more comes from it."""
        dialogue = self._dialogue
        if dialogue.client_side is None or side != dialogue.client_side ^ PROXY:
            return
        if dialogue.held is not None:
            self.half_frame = dialogue.read_short_refusal(side) or self.half_frame
        if dialogue.state in _GSSAPI and isinstance(dialogue.tunnel, Enclosed):
            dialogue.tunnel.close(side, dialogue)

    def finish(self) -> None:
        """Nothing more comes from either side."""
        dialogue = self._dialogue
        if self._beginning is not None and self._beginning.joining:
            self._feed_again(self._beginning.give_up(self._beginning.joining))
        if dialogue.client_side is not None:
            self.close(dialogue.client_side ^ PROXY, 0, 0)
        evidence = self._evidence
        if evidence.verdict is Verdict.UNDECIDED and dialogue.fed != [0, 0]:
            if evidence.setting.trusted and may_stand(dialogue):
                evidence.verdict = Verdict.SOCKS
            else:
                dialogue.be_foreign(None)
        if evidence.verdict is Verdict.SOCKS and dialogue.held is not None:
            read_unanswered_request(dialogue)
            self.half_frame = find_half_frame(dialogue) or self.half_frame

    def take_tunnel(self) -> list[Run]:
        """The tunnel's octets fed so far, as (side, octets, frame, time) runs; each is given once."""
        tunnel = self._dialogue.tunnel
        return [] if tunnel is None else tunnel.take()

    def leave_tunnel(self) -> None:
        """No more of a tunnel inside tokens is wanted: forget what is kept of it."""
        if self._dialogue.tunnel is not None:
            self._dialogue.tunnel.leave()

    # From phase to phase

    def _begin(self, side: int, octets: bytes, frame: int, time: int) -> bool:
        """Octets while nobody has opened, or after it was found that this is not SOCKS; True: it begins with these."""
        dialogue, beginning = self._dialogue, self._beginning
        if beginning is not None and beginning.joining is not None:
            self._feed_again(beginning.join(Run(side, octets, frame, time)))
        elif begins_plainly(dialogue, side, octets):
            self._evidence.first_frame = frame
            dialogue.open(side, octets[0])
            return True
        elif dialogue.state.final:
            dialogue.fed[side] += len(octets)
        elif self._beginnings().feed(side, octets, frame, time):
            self._open(dialogue.advance())
        return False

    def _beginnings(self) -> Beginning:
        if self._beginning is None:
            self._beginning = Beginning(self._dialogue)
        return self._beginning

    def _feed_again(self, runs: list[Run]) -> None:
        for run in runs:
            self.feed(*run)

    def _gap_before_opening(self, side: int, length: int, frame: int, time: int) -> bool:
        """Octets are missing while nobody has opened: whether somebody still may."""
        beginning = self._beginnings()
        if side == 0 and beginning.bridge(length, frame, time):
            return True
        waits = beginning.wait()
        if waits:
            self._note_gap(length, frame)
        else:
            beginning.joining = None
        return waits

    def _note_gap(self, length: int, frame: int) -> None:
        self.seen.note("handshake-gap", frame, f"{length} octets of the handshake are not in the capture")

    def _open(self, token: Run | None) -> None:
        """Read what tokens enclose, one after the other, as the dialogue comes to them."""
        dialogue = self._dialogue
        while token is not None:
            enclosed = dialogue.tunnel if isinstance(dialogue.tunnel, Enclosed) else Enclosed()
            dialogue.tunnel = enclosed
            enclosed.open(token, dialogue)
            dialogue.check_limits(token.side)
            token = dialogue.advance()

    # Where it stands

    @property
    def verdict(self) -> Verdict:
        """Whether this is SOCKS."""
        return self._evidence.verdict

    @property
    def trusted(self) -> bool:
        """SOCKS is expected on this port."""
        return self._evidence.setting.trusted

    @property
    def foreign(self) -> str | None:
        """On a trusted port, what the foreign protocol is."""
        return self._evidence.foreign

    @property
    def client_side(self) -> int | None:
        """The TCP side of the client."""
        return self._dialogue.client_side

    @property
    def malformed(self) -> bool:
        """A frame could not be read although its octets are there."""
        return self._dialogue.malformed

    @property
    def preamble(self) -> tuple[int, int]:
        """Octets of each side that preceded the greeting."""
        return (0, 0) if self._beginning is None else self._beginning.preamble

    @property
    def proxy_header(self) -> Decoded[ProxyHeader] | None:
        """The PROXY protocol header that side 0 began with."""
        return None if self._beginning is None else self._beginning.proxy_header

    @property
    def buffered(self) -> int:
        """Octets kept in buffers: held for their turn, and of the tunnel. Bounded by the limits above for any input."""
        return self._dialogue.buffered

    @property
    def done(self) -> bool:
        """No more octets are of use: relayed, answered, foreign, or unreadable from here on."""
        dialogue = self._dialogue
        if not dialogue.state.final or dialogue.failed:
            return False
        return dialogue.tunnel is None or not dialogue.tunnel.wanting

    @property
    def relay(self) -> bool:
        """A tunnel or a UDP association is open."""
        return self._dialogue.relay

    @property
    def enclosed(self) -> bool:
        """The relay was agreed on inside GSSAPI tokens."""
        tunnel = self._dialogue.tunnel
        return isinstance(tunnel, Enclosed) and tunnel.relay

    @property
    def tunnel_start(self) -> list[int | None]:
        """By side, the stream offset where the tunnel's octets begin; None while there is no relay."""
        if not self._dialogue.relay or self.enclosed:
            return [None, None]
        request, answer = self.request, self.peer_reply_frame or self.reply_frame
        if request is None or answer is None:
            return [None, None]
        starts = [frame.offset + frame.length for frame in (request, answer)]
        return [*starts] if self.client_side == 0 else [*reversed(starts)]

    @property
    def protocol(self) -> str | None:
        """`socks5`, `socks4`, `socks4a`; None while unknown or when foreign."""
        dialogue = self._dialogue
        if dialogue.client_side is None:
            return None
        if self.socks4:
            return "socks4a" if self.socks4a else "socks4"
        if dialogue.stood is _REQUEST4:
            asked = b"" if dialogue.held is None else dialogue.held[dialogue.client_side].octets
            return "socks4a" if len(asked) > 7 and is_socks4a_marker(bytes(asked[4:8])) else "socks4"
        return "socks5"

    @property
    def phase(self) -> str | None:
        """Where the dialogue stands: `greeting`, `authentication`, `request`, `relay`."""
        dialogue = self._dialogue
        return None if dialogue.client_side is None else dialogue.stood.phase

    def outcome(self, ended: bool = True) -> str | None:
        """The record's outcome.

        `succeeded`, `rejected`, `auth-failed`, `no-acceptable-method`, `incomplete` or `malformed`.
        With `ended` no more octets come (`finish` is done); otherwise None says that there is no verdict yet.
        """
        if ended:
            self.finish()
        state = self._dialogue.state
        if self._dialogue.malformed and state is not _REJECTED:
            return "malformed"
        return state.outcome or ("incomplete" if ended else None)
