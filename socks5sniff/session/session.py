"""The observer of one SOCKS conversation: octets of both TCP sides in, frames, facts and anomalies out.

Most conversations say one frame in each segment and take turns. For them `feed` is short: the octets are exactly what
the state waits for, their step is remembered or decoded, the frame is kept, the state moves on. Everything else (frames
split or pipelined, octets out of turn, gaps, doubtful openings) waits in a buffer for its turn and goes through the
same steps.

What GSSAPI tokens enclose, where it can be read, is a conversation from its request on: an inner session observes it.
Its frames and anomalies are the outer one's, and where it ends the outer one ends.
"""

from __future__ import annotations

from ..codec import (
    MAX_GSSAPI,
    MAX_PROXY_HEADER,
    MAX_PROXY_LINE,
    Decoded,
    GssapiMessageType,
    Method,
    Mismatch,
    NeedMore,
    ProxyHeader,
    Socks4Reply,
    decode_gssapi,
    decode_proxy_header,
    is_socks4a_marker,
    starts_proxy_header,
    unwrap_readable,
)
from .detection import UNDECIDED_OCTETS, Weight, is_sound, weigh
from .facts import Facts, HalfFrame, SessionAnomaly, SessionFrame, Verdict
from .held import Held, Run
from .oddities import oddities
from .opening import (
    CHOICE_LENGTH,
    Foreign,
    Opening,
    could_open,
    find_client,
    foreign_name,
    looks_like_request,
    sound_so_far,
)
from .states import CLIENT, EITHER, PROXY, STATES, Row, State
from .steps import SENDERS, Step, Unreadable, decode_step, unaddressed_step, unfinished_step, whole_step

HELD_OCTETS = 8192
"""Octets held of a side while the other has the turn, in a SOCKS conversation: the handshake's own frames come to
1,032 at most, the rest is optimistic data, of which the beginning is enough to name the protocol."""

TUNNEL_KEPT = 8192
"""Tunnel octets kept of each side for `take_tunnel`."""

FRAMES_KEPT = 200
"""A conversation has at most six frames, but for GSSAPI, whose rounds have no limit of their own."""

HANDSHAKE_OCTETS = 4 * MAX_GSSAPI
"""Octets of a side that a handshake may take, frames and tokens of GSSAPI included, which are kept."""

TOKENS_READ = 2 * MAX_GSSAPI
"""Octets of each side of a tunnel inside GSSAPI tokens that are read, to name what it carries."""

_SHORTEST_REFUSAL = 2
"""Octets of a reply in which a failure can be read, when the proxy closes without sending the rest."""

_ONCE = frozenset(
    (
        "server-spoke-first",
        "reply-before-request",
        "early-data",
        "data-after-failure",
        "refusal-too-long",
        "gssapi-level-unprotected",
    )
)
"""Faults of a dialogue, not of a frame: every further octet would tell them again."""

_UNDECIDED = Verdict.UNDECIDED
_SOCKS = Verdict.SOCKS
_FOREIGN = Verdict.FOREIGN

_OPENING = STATES["opening"]
_GREETING = STATES["greeting"]
_REQUEST4 = STATES["request4"]
_CHOICE = STATES["choice"]
_AUTH = STATES["auth"]
_REQUEST = STATES["request"]
_REFUSED = STATES["refused"]
_TUNNEL = STATES["tunnel"]
_ASSOCIATION = STATES["association"]
_UNASKED = STATES["unasked"]
_STOPPED = STATES["stopped"]
_NOT_SOCKS = STATES["foreign"]
_FAILED = {STATES["rejected"]: "a failure reply", STATES["denied"]: "a failed authentication", _REFUSED: "the refusal"}
_REJECTED = STATES["rejected"]
_SEALED = STATES["sealed"]
_ENCLOSED = STATES["enclosed"]
_GSSAPI = (STATES["gssapi"], _SEALED)

_SOCKS4_CODES = (b"", b"\x5a", b"\x5b", b"\x5c", b"\x5d")
_TYPES = {
    "greeting": "greeting", "selection": "method-selection", "auth_request": "auth-request", "auth_reply": "auth-reply",
    "request": "request", "reply_frame": "reply", "peer_reply_frame": "reply", "": "gssapi",
}  # fmt: skip
"""What a frame is called whose row keeps it as this fact."""

_NO_TURN = -1
_make_frame = tuple.__new__


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

    __slots__ = (
        "_addresses",
        "_doubtful",
        "_fed",
        "_first_frame",
        "_fits",
        "_gap",
        "_halted",
        "_held",
        "_inner",
        "_joined",
        "_joining",
        "_last_frame",
        "_loopback",
        "_mark",
        "_midstream",
        "_on_turn",
        "_opaque",
        "_piped",
        "_state",
        "_tokens",
        "_tunnel",
        "_tunnel_room",
        "anomalies",
        "client_side",
        "foreign",
        "half_frame",
        "malformed",
        "preamble",
        "proxy_header",
        "trusted",
        "verdict",
    )

    def __init__(
        self,
        trusted: bool = False,
        loopback: bool = False,
        addresses: tuple[str, str] | None = None,
        midstream: bool = False,
    ) -> None:
        super().__init__()
        self.trusted = trusted
        self._loopback = loopback
        self._addresses = addresses
        self.verdict = _UNDECIDED
        self.foreign: str | None = None
        self.client_side: int | None = None
        self.malformed = False
        self.preamble = (0, 0)
        self.half_frame: HalfFrame | None = None
        self.proxy_header: Decoded[ProxyHeader] | None = None
        self.anomalies: list[SessionAnomaly] = []
        self._state: State = _OPENING
        # The state in which reading stopped, when it did.
        self._halted: State | None = None
        # The side that may speak while nothing is held; _NO_TURN sends every feed through the buffers.
        self._on_turn = _NO_TURN
        self._fed = [0, 0]
        self._held: tuple[Held, Held] | None = None
        self._first_frame = 0
        # The evidence so far, while undecided; see `detection`.
        self._doubtful = False
        self._fits = False
        self._gap = False
        self._midstream = midstream
        # While the dialogue may yet be joined after its greeting: what may be the proxy's choice, if it has come.
        self._joining: list[Run] | None = [] if midstream else None
        self._joined = False
        # Octets of side 0 when side 1 last spoke, before anybody opened.
        self._mark = 0
        # By side: the segment of the last frame that was held, and the last segment that was found to hold several.
        self._last_frame: list[int] | None = None
        self._piped: list[int] | None = None
        self._tunnel: list[Run] | None = None
        self._tunnel_room: list[int] | None = None
        # What observes the inside of GSSAPI tokens, and whether there was one that cannot be read.
        self._inner: Session | None = None
        self._opaque = False
        # The tokens of a tunnel that came in part, as long as more of it is wanted.
        self._tokens: tuple[Held, Held] | None = None

    # Feeding

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of `side`, in order, of one segment with this frame number and time (ns)."""
        offset = self._fed[side]
        self._fed[side] = offset + len(octets)
        if self._joining is not None and octets:
            self._join(self._joining, Run(side, octets, frame, time))
            return
        state = self._state
        first = state is _OPENING and not offset and not self._fed[1 - side]
        if first and octets and could_open(octets[0]) and (side == 0 or len(octets) > CHOICE_LENGTH):
            self._first_frame = frame
            self.client_side = self._on_turn = side
            self._state = state = _GREETING if octets[0] == 5 else _REQUEST4
        if side == self._on_turn and octets:
            step = state.seen.get(octets)
            if step is None:
                step = whole_step(state, octets)
            if step is not None:
                self._accept(step, frame, time, time, offset, step.length, False)
                if self._fits and self.verdict is _UNDECIDED:
                    self.verdict = _SOCKS
                return
        if octets:
            self._feed_slowly(side, octets, offset, frame, time)

    def gap(self, side: int, length: int, frame: int, time: int) -> None:
        """`length` octets of `side` are missing; `frame` and `time` are those of the packet that shows it."""
        offset = self._fed[side]
        self._fed[side] = offset + length
        if self._state.final or length <= 0:
            if length > 0:
                self.leave_tunnel()  # where the next token begins is not known any more
            return
        if self._state is _OPENING and side == 0 and self._bridge_proxy_header(length, frame, time):
            return
        if self._state is _OPENING and not self._joining and (self._held is None or not any(map(len, self._held))):
            self._held = None
            self._joining = []
            self._gap = True
            self._note("handshake-gap", frame, f"{length} octets of the handshake are not in the capture")
            return
        self._joining = None
        held = self._hold(side, offset)
        self._on_turn = _NO_TURN
        if self._state.awaits_reply and side == self.client_side:
            # Optimistic data: the tunnel's loss, not the handshake's.
            held.cut = True
            return
        again = held.lost > held.start
        self._gap = True
        if length <= self._missing(side, held):
            held.add(bytes(length), frame, time, HELD_OCTETS + MAX_GSSAPI)
            held.lost = held.start + len(held)
            self._advance()
        else:
            self._stop()
        if self.verdict is not _FOREIGN and not again:
            self._note("handshake-gap", frame, f"{length} octets of the handshake are not in the capture")

    def close(self, side: int, frame: int, time: int) -> None:
        """FIN or RST of `side`: nothing more comes from it."""
        if self.client_side is not None and side == self.client_side ^ PROXY:
            self._read_short_refusal(side, True)
            if self._inner is not None and self._state in _GSSAPI:
                self._inner.close(side, frame, time)
                self._follow_inner()

    def finish(self) -> None:
        """Nothing more comes from either side."""
        if self._joining:
            runs, self._joining = self._joining, None
            self._feed_again(runs)
        if self.client_side is not None:
            self.close(self.client_side ^ PROXY, 0, 0)
        if self.verdict is _UNDECIDED and self._fed != [0, 0]:
            if self.trusted and self._opening_may_stand():
                self.verdict = _SOCKS
            else:
                self._be_foreign(None)
        if self.verdict is _SOCKS:
            self._read_unanswered_request()
            self._find_half_frame()

    def take_tunnel(self) -> list[Run]:
        """The tunnel's octets fed so far, as (side, octets, frame, time) runs; each is given once."""
        if self._inner is not None and self.enclosed:
            return self._inner.take_tunnel()
        runs, self._tunnel = self._tunnel or [], None
        return runs

    def leave_tunnel(self) -> None:
        """No more of a tunnel inside tokens is wanted: forget what is kept of it."""
        self._tokens = None

    # Where it stands

    @property
    def buffered(self) -> int:
        """Octets kept in buffers: held for their turn, and of the tunnel. Bounded by the limits above for any input."""
        held = 0 if self._held is None else len(self._held[0]) + len(self._held[1])
        held += sum(len(run.octets) for run in self._tunnel or ())
        held += sum(len(tokens) for tokens in self._tokens or ())
        return held if self._inner is None else held + self._inner.buffered

    @property
    def done(self) -> bool:
        """No more octets are of use: relayed, answered, foreign, or unreadable from here on."""
        return self._state.final and self._state not in _FAILED and self._tokens is None

    @property
    def relay(self) -> bool:
        """A tunnel or a UDP association is open."""
        return self._state is _TUNNEL or self._state is _ASSOCIATION

    @property
    def enclosed(self) -> bool:
        """The relay was agreed on inside GSSAPI tokens."""
        return self._inner is not None and self._inner.relay

    @property
    def tunnel_start(self) -> list[int | None]:
        """By side, the stream offset where the tunnel's octets begin; None while there is no relay."""
        answer = self.peer_reply_frame or self.reply_frame
        if not self.relay or self.request is None or answer is None or self.enclosed:
            return [None, None]
        starts = [frame.offset + frame.length for frame in (self.request, answer)]
        return [*starts] if self.client_side == 0 else [*reversed(starts)]

    @property
    def protocol(self) -> str | None:
        """`socks5`, `socks4`, `socks4a`; None while unknown or when foreign."""
        if self.client_side is None:
            return None
        if self.socks4:
            return "socks4a" if self.socks4a else "socks4"
        if (self._halted or self._state) is _REQUEST4:
            asked = b"" if self._held is None else self._held[self.client_side].octets
            return "socks4a" if len(asked) > 7 and is_socks4a_marker(bytes(asked[4:8])) else "socks4"
        return "socks5"

    @property
    def phase(self) -> str | None:
        """Where the dialogue stands: `greeting`, `authentication`, `request`, `relay`."""
        return None if self.client_side is None else (self._halted or self._state).phase

    def outcome(self, ended: bool = True) -> str | None:
        """The record's outcome.

        `succeeded`, `rejected`, `auth-failed`, `no-acceptable-method`, `incomplete` or `malformed`.
        With `ended` no more octets come (`finish` is done); otherwise None says that there is no verdict yet.
        """
        if ended:
            self.finish()
        if self.malformed and self._state is not _REJECTED:
            return "malformed"
        return self._state.outcome or ("incomplete" if ended else None)

    # A dialogue whose greeting is not in the capture

    def _join(self, before: list[Run], run: Run) -> None:
        """Join the dialogue where octets show where it stands: at the proxy's choice, or at a whole request.

        Args:
            before: the segment that may be the choice, once it has come.
            run: the segment now fed. Where nothing can be joined it is fed as any other, after the one before.
        """
        if not before and len(run.octets) == 2 and run.octets[0] == 5:
            before.append(run)
            return
        self._joining = None
        runs = [*before, run]
        steps: list[Step] = []
        state = _CHOICE if before else _REQUEST
        for expected in runs:
            step = whole_step(state, expected.octets) if state in (_CHOICE, _AUTH, _REQUEST) else None
            if step is None or step.deviations:
                break
            steps.append(step)
            state = step.next
        turns = before[0].side != run.side if before else all(step.fact == "request" for step in steps)
        if len(steps) < len(runs) or not turns or (steps[-1].fact == "request" and not looks_like_request(run.octets)):
            self._feed_again(runs)
            return
        self._joined = True
        self.client_side = run.side
        self._first_frame = runs[0].frame
        self._doubtful = True
        self._state = _CHOICE if before else _REQUEST
        for step, fed in zip(steps, runs, strict=True):
            self._accept(step, fed.frame, fed.time, fed.time, self._fed[fed.side] - len(fed.octets), step.length, False)

    def _feed_again(self, runs: list[Run]) -> None:
        """Feed what shows no place to join at; behind a gap that is nothing that could be read."""
        if self._gap:
            self._be_foreign(None)
            return
        for run in runs:
            self._fed[run.side] -= len(run.octets)
        for run in runs:
            self.feed(*run)

    # One frame

    def _accept(self, step: Step, frame: int, time: int, started: int, offset: int, length: int, damaged: bool) -> None:
        """Keep a frame and move on to the next state."""
        entry: SessionFrame = _make_frame(SessionFrame, (step, frame, time, started, offset, length, damaged))
        self.frames.append(entry)
        if step.fact:
            setattr(self, step.fact, entry)
        if step.notable and not damaged and not self._examine(step, frame):
            return
        state = self._state = step.next
        self._on_turn = self.client_side ^ state.turn  # type: ignore[operator]
        if self.verdict is _UNDECIDED:
            self._weigh(step, damaged)

    def _examine(self, step: Step, frame: int) -> bool:
        """Note what is odd about a frame; False when the dialogue cannot be followed beyond it."""
        methods = self.methods
        if step.fact == "selection" and not step.deviations and methods is not None and step.value.method in methods:
            return True
        for code, message in oddities(step, self._state, methods, self._loopback, self._own_address):
            self._note(code, frame, message)
        if self._state is _CHOICE and step.value.version != 5 and step.value.method not in (methods or b""):
            # Another protocol's words, such as SOCKS4's refusal: what would be the method means nothing.
            self.selection = None
            self._stop(malformed=True)
        return self._state is not _STOPPED and self._state is not _NOT_SOCKS

    def _weigh(self, step: Step, damaged: bool) -> None:
        weight = weigh(step, self._doubtful and not self._refuses_nothing(step), self.trusted, self.methods)
        if weight is Weight.FOREIGN or self._says_more(step):
            self._be_foreign(None)
        elif weight is Weight.DOUBTFUL or damaged:
            self._doubtful = True
        elif weight is Weight.FITS:
            self._fits = True
            if self.trusted and step.role == PROXY:
                # Where SOCKS is expected an answer settles it, whatever the client has sent behind its greeting.
                self.verdict = _SOCKS

    def _refuses_nothing(self, step: Step) -> bool:
        """The refusal of a greeting that offers nothing, and not an octet besides."""
        said = step.fact == "selection" and step.value.method == Method.NO_ACCEPTABLE and self.methods == b""
        return said and self._fed == [2, 2] and self.preamble == (0, 0)

    def _says_more(self, step: Step) -> bool:
        """On an unknown port SOCKS4's answer with VN 04 has to be all that the proxy has said by then."""
        odd = not self.trusted and isinstance(step.value, Socks4Reply) and step.value.version == 4
        return odd and self._fed[self.client_side ^ PROXY] > self.frames[-1].offset + step.length  # type: ignore[operator]

    def _own_address(self) -> str | None:
        if self._addresses is None or self.client_side is None:
            return None
        return self._addresses[self.client_side]

    # Octets that have to wait

    def _feed_slowly(self, side: int, octets: bytes, offset: int, frame: int, time: int) -> None:
        if self._state.final:
            self._after(Run(side, octets, frame, time))
            return
        self._first_frame = self._first_frame or frame
        held = self._hold(side, offset)
        self._on_turn = _NO_TURN
        limit = UNDECIDED_OCTETS if self.verdict is _UNDECIDED else HELD_OCTETS
        if self._state in _GSSAPI:
            limit += MAX_GSSAPI
        elif self._state is _OPENING and self._header_may_follow(held, octets):
            limit += MAX_PROXY_HEADER
        held.add(octets, frame, time, limit)
        if self._state is not _OPENING or self._open(side):
            self._advance()

    def _open(self, side: int) -> bool:
        """While nobody has opened: whether somebody has now."""
        assert self._held is not None, "octets have just been held"
        if not self._read_proxy_header(self._held[0]):
            return False
        if side == 1:
            self._mark = len(self._held[0])
        if not len(self._held[side]):
            return False
        found = find_client((bytes(self._held[0].octets), bytes(self._held[1].octets)), side, self._mark)
        if isinstance(found, Foreign) or (found is None and self._held[side].cut):
            self._be_foreign(found and found.name)
        elif found is not None:
            self._begin(found)
            return True
        return False

    def _header_may_follow(self, held: Held, octets: bytes) -> bool:
        """Whether these are octets of a PROXY protocol header, which may be longer than any handshake."""
        return self.proxy_header is None and not held.start and starts_proxy_header(bytes(held.octets[:12]) + octets)

    def _read_proxy_header(self, held: Held) -> bool:
        """Take a PROXY protocol header off side 0's octets; False as long as it is not whole."""
        if self.proxy_header is not None or held.start or not len(held) or len(held) < held.need:
            return not len(held) or len(held) >= held.need
        found = decode_proxy_header(bytes(held.octets))
        if isinstance(found, NeedMore):
            held.need = found.octets
            return held.cut
        held.need = 1
        if isinstance(found, Decoded):
            header = ProxyHeader(found.frame.version, None, None) if held.lost > 0 else found.frame
            self._keep_proxy_header(header, found.length, held.completion(found.length)[0])
            held.drop(found.length)
        return True

    def _keep_proxy_header(self, header: ProxyHeader, length: int, frame: int) -> None:
        self.proxy_header = Decoded(header, length)
        stated = "no client" if header.source is None else f"{header.source} as the client"
        message = f"a PROXY protocol header of {length} octets came first and names {stated}"
        self._note("proxy-protocol", frame, message)

    def _bridge_proxy_header(self, length: int, frame: int, time: int) -> bool:
        """Whether so many octets that are missing are a PROXY protocol header's.

        A binary one says where it ends; a line is taken to end with the segment that was captured in part.
        """
        if self._held is None or self.proxy_header is not None:
            return False
        held = self._held[0]
        have = len(held)
        if not have or held.start or not starts_proxy_header(bytes(held.octets[:12])):
            return False
        if held.octets[0] == 0x50 and have + length <= MAX_PROXY_LINE:
            held.drop(have)
            held.start += length
            self._keep_proxy_header(ProxyHeader(1, None, None), have + length, frame)
        elif held.octets[0] != 0x50 and have >= 16 and have + length <= held.need:
            held.add(bytes(length), frame, time, MAX_PROXY_HEADER)
            held.lost = len(held)
            self._read_proxy_header(held)
        else:
            return False
        self._note("handshake-gap", frame, f"{length} octets of the PROXY protocol header are not in the capture")
        return True

    def _begin(self, opening: Opening) -> None:
        """Somebody opens, after octets that are not SOCKS or behind a PROXY protocol header."""
        assert self._held is not None, "the opening is held"
        self.client_side, self.preamble = opening
        self._doubtful = self.proxy_header is None or self.preamble != (0, 0)
        if self.client_side == 0 and self._doubtful:
            first = self._held[1].source(0)[0]
            self._note("server-spoke-first", first, f"{self.preamble[1]} octets of the proxy precede the greeting")
            if self._held[1].octets == b"\5\0":
                # A selection before its time is the answer all the same.
                self.preamble = (0, 0)
        for held, length in zip(self._held, self.preamble, strict=True):
            held.drop(length)
        self._state = _GREETING if self._held[self.client_side].octets[0] == 5 else _REQUEST4

    def _advance(self) -> None:
        """Read all frames whose turn it is, then look at what is left."""
        while not self._state.final and self._read_frame():
            pass
        if not self._state.final:
            self._look_at_waiting()
        if self._fits and self.verdict is _UNDECIDED:
            self.verdict = _SOCKS
        if self._held is None:
            return
        if self._state.final:
            self._flush(self._held)
        elif any(held.octets or held.cut for held in self._held):
            self._on_turn = _NO_TURN
        else:
            self._held = None
            self._on_turn = self.client_side ^ self._state.turn  # type: ignore[operator]

    def _read_frame(self) -> bool:
        """Read one frame of a role that has the turn; False when there is none to read yet."""
        assert self._held is not None, "octets are held"
        assert self.client_side is not None, "a side has opened"
        answered = self._state is _UNASKED and self._held[self.client_side ^ PROXY].octets[:1] == b"\5"
        if answered and looks_like_request(bytes(self._held[self.client_side].octets)):
            self._state = _REQUEST  # no answer to credentials, but to what follows them
        state = self._state
        for role in (CLIENT, PROXY) if state.turn == EITHER else (state.turn,):
            side = self.client_side ^ role
            held = self._held[side]
            if len(held) < held.need:
                if held.cut and len(held):
                    self._stop()
                    return True
                continue
            octets = bytes(held.octets)
            found = decode_step(state, role, octets)
            if isinstance(found, Step):
                self._accept_held(found, side, held)
                return True
            if not isinstance(found, NeedMore):
                self._be_unreadable(found, octets, held.source(0)[0])
                return True
            held.need = max(found.octets, len(held) + 1)
            row = state.rows[role]
            if self.verdict is _UNDECIDED and row is not None and not _may_begin(row, octets[0]):
                self._be_foreign(None)
                return True
            if held.cut:
                self._stop()
                return True
        return False

    def _accept_held(self, step: Step, side: int, held: Held) -> None:
        first, started = held.source(0)
        last, _ = held.source(step.length - 1)
        completed, time = held.completion(step.length)
        if self._last_frame is None or self._piped is None:
            self._last_frame, self._piped = [0, 0], [0, 0]
        if first != last:
            self._note("split-frame", completed, f"the {step.type} came in several segments")
        if self._last_frame[side] == first != self._piped[side]:
            self._piped[side] = first
            self._note("pipelined-frames", first, f"several frames of the {SENDERS[step.role]} came in one segment")
        self._last_frame[side] = last
        offset = held.start
        damaged = held.lost > offset
        held.drop(step.length)
        self._accept(step, completed, time, started, offset, step.length, damaged)
        if step.type == "gssapi" and step.value.message_type == GssapiMessageType.USER_DATA:
            self._open_token(Run(side, b"" if damaged else step.value.token, completed, time))
        if (len(self.frames) >= FRAMES_KEPT or held.start > HANDSHAKE_OCTETS) and not self._state.final:
            self._stop()
        if len(self.frames) == 1 and len(held):
            # An opening with more behind it is no opening alone: it takes an answer to prove it.
            self._fits = False
        if self._state.awaits_reply and step.role == CLIENT and len(held):
            self._note("early-data", held.source(0)[0], "data of the client before the reply")

    def _be_unreadable(self, found: Mismatch | Unreadable, octets: bytes, frame: int) -> None:
        """The octets are no frame that is due here."""
        if self.verdict is _UNDECIDED:
            if not self._never_ends():
                self._be_foreign(foreign_name(octets))
        elif isinstance(found, Mismatch):
            self._note(found.deviation.code, frame, found.deviation.message)
            if self._accept_unaddressed(octets, found.deviation.code):
                return
            if self.client_side is not None and self._state.turn == PROXY:
                # Tor's refusals have ATYP 0: they can't be read to their end, but they say why.
                self._read_short_refusal(self.client_side ^ PROXY, False)
            if not self._state.final:
                self._stop(malformed=True)
        else:
            self._stop()

    def _accept_unaddressed(self, octets: bytes, code: str) -> bool:
        """A request with an impossible address type ends the request, not the dialogue."""
        step = unaddressed_step(octets) if code == "unknown-address-type" and self._state is _REQUEST else None
        if step is None or self._held is None or self.client_side is None:
            return False
        held = self._held[self.client_side]
        self.malformed = True
        self._accept_held(step, self.client_side, held)
        held.cut = True  # where the request ends nobody knows
        return True

    def _never_ends(self) -> bool:
        """A SOCKS4 request on a trusted port, sound as it was sent, whose NUL does not come."""
        if not self.trusted or self._state is not _REQUEST4 or self._held is None or self.client_side is None:
            return False
        held = self._held[self.client_side]
        if not sound_so_far(held.first_segment()):
            return False
        self.verdict = _SOCKS
        self._note("half-frame", held.source(0)[0], "the client's request has no NUL at its end")
        self._stop(malformed=True)
        return True

    def _accept_unfinished(self) -> bool | None:
        """Read a SOCKS4 request without its end, once the proxy answers it; None: it may be about to."""
        if self._state is not _REQUEST4 or self._held is None or self.client_side is None:
            return False
        asked, answered = self._held[self.client_side], self._held[self.client_side ^ PROXY]
        if answered.octets[0] not in (0, 4) or answered.octets[1:2] not in _SOCKS4_CODES:
            return False
        whole = bytes(asked.octets)
        found = unfinished_step(whole if sound_so_far(whole) else asked.first_segment())
        if found is None or not is_sound(found[0]):
            return False
        if len(answered) < 8:
            return None
        step, lacks = found
        self._note("reply-before-request", answered.source(0)[0], f"the proxy answered a request that lacks {lacks}")
        damaged = step.value.is_socks4a and not step.value.destination.host
        if damaged:
            asked.lost = asked.start + 1
        self._accept_held(step, self.client_side, asked)
        return True

    def _look_at_waiting(self) -> None:
        """What octets of the role that does not have the turn mean."""
        state = self._state
        if state.turn == EITHER or self.client_side is None or self._held is None:
            return
        waiting = self._held[self.client_side ^ state.turn ^ 1]
        if not len(waiting):
            return
        frame = waiting.source(0)[0]
        if state.turn == PROXY:
            if state.awaits_reply:
                self._note("early-data", frame, "data of the client before the reply")
        elif (unfinished := self._accept_unfinished()) is not False:
            if unfinished:
                self._advance()
        elif state is _GREETING or state is _REQUEST4:
            if self.trusted and sound_so_far(bytes(self._held[self.client_side].octets)):
                self._note("server-spoke-first", frame, "the proxy sent before the client's first frame was whole")
            else:
                self._be_foreign(None)
        else:
            # The proxy said more than it was asked: on an unknown port its choice alone proves nothing any more.
            self._doubtful = True
            self._fits &= self.trusted
            self._note("reply-before-request", frame, f"the proxy sent before its turn, in phase {state.phase}")

    def _flush(self, both: tuple[Held, Held]) -> None:
        """Hand on what is held when nothing more will be read."""
        self._held = None
        for side, held in enumerate(both):
            # What a client sent before it could know of a failure is no fault of its own.
            if self._state not in _FAILED or side != self.client_side:
                for run in held.take(side):
                    self._after(run)
            if held.cut and self.relay:
                self._room()[side] = 0
                self.leave_tunnel()

    def _after(self, run: Run) -> None:
        """Octets in a state without a way on."""
        state = self._state
        if self._tokens is not None:
            self._read_tokens(run, self._tokens)
        elif self.enclosed:
            return
        elif self.relay:
            room = self._room()
            if room[run.side] > 0:
                if self._tunnel is None:
                    self._tunnel = []
                self._tunnel.append(run._replace(octets=run.octets[: room[run.side]]))
                room[run.side] -= len(run.octets)
        elif state is _REFUSED and run.side != self.client_side:
            self._note("refusal-too-long", run.frame, "octets follow the refusal of all methods")
        elif state in _FAILED:
            sender = "client" if run.side == self.client_side else "proxy"
            self._note("data-after-failure", run.frame, f"octets of the {sender} after {_FAILED[state]}")

    # Inside GSSAPI tokens

    def _open_token(self, token: Run) -> None:
        """Hand on what a token encloses. With one that nobody can read the reading of the inside is over."""
        if self._opaque or self.verdict is _FOREIGN or len(self.frames) >= FRAMES_KEPT:
            return
        plain = unwrap_readable(token.octets)
        if plain is None:
            self._opaque = True
            self._inner = None
            return
        if self._inner is None:
            self._inner = self._enclose()
        self._inner.feed(*token._replace(octets=plain))
        self._follow_inner()

    def _enclose(self) -> Session:
        """The session of what tokens enclose: it begins with the request."""
        assert self.client_side is not None, "a side has opened"
        inner = Session(self.trusted, self._loopback, self._addresses)
        inner.verdict = _SOCKS
        inner.client_side = inner._on_turn = self.client_side
        inner._state = _REQUEST
        inner.frames, inner.anomalies = self.frames, self.anomalies
        # A segment is found but once to hold several frames, outside or inside.
        inner._last_frame, inner._piped = [0, 0], self._piped
        return inner

    def _follow_inner(self) -> None:
        """What the inside says is said by this conversation."""
        inner = self._inner
        assert inner is not None, "something inside was read"
        self.request, self.reply_frame, self.peer_reply_frame = inner.request, inner.reply_frame, inner.peer_reply_frame
        if inner._state is _STOPPED:
            self._stop(inner.malformed)
        elif inner._state.final:
            self._state = inner._state
            if self._state is _TUNNEL:
                self._tokens = (Held(0), Held(0))
        elif self._state is _ENCLOSED:
            self._state = _SEALED

    def _read_tokens(self, run: Run, tokens: tuple[Held, Held]) -> None:
        """The tunnel's octets, token by token. They are no frames of the dialogue any more."""
        assert self._inner is not None, "the tunnel was opened inside"
        held = tokens[run.side]
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
                self.leave_tunnel()
                return
            self._inner.feed(run.side, plain, *held.source(at))
            at += found.length
        held.drop(at)
        held.need = need
        if held.cut or held.start > TOKENS_READ:
            self.leave_tunnel()

    # Ends and faults

    def _opening_may_stand(self) -> bool:
        """On a trusted port: whether what was seen to the end is a SOCKS client's doing, though not a sound opening."""
        if self._joined and self.request is not None:
            return True
        if self._gap or self.client_side is None:
            return False
        if self._state is _GREETING or self._state is _REQUEST4:
            held = None if self._held is None else self._held[self.client_side]
            return held is not None and (
                sound_so_far(bytes(held.octets)) or (len(held) > 8 and sound_so_far(held.first_segment()))
            )
        if self.client_side == 1 and not self.methods:
            return False  # rather a choice, in a capture that lacks the client's side
        # A greeting with odd methods or with more behind it, and nobody answered.
        if self._state is not _CHOICE or self._held is None:
            return self._state is _CHOICE
        asked, answered = self._held[self.client_side], self._held[self.client_side ^ 1]
        return not len(answered) and bytes(asked.octets[:1]) in (b"\1", b"\5")

    def _be_foreign(self, name: str | None) -> None:
        """It is not SOCKS: drop everything."""
        Facts.__init__(self)
        self.verdict = _FOREIGN
        self._state = _NOT_SOCKS
        self._on_turn = _NO_TURN
        self._held = self._tunnel = self._halted = self.client_side = self._inner = None
        self._fits = self.malformed = False
        self.anomalies = [entry for entry in self.anomalies if entry.code == "proxy-protocol"]
        if self.trusted and not self._gap and not self._midstream:
            self.foreign = name or "unknown"
            self._note("not-socks-on-socks-port", self._first_frame, f"{name or 'unknown protocol'} on a SOCKS port")

    def _stop(self, malformed: bool = False) -> None:
        """Nothing can be read from here on."""
        if self.verdict is _UNDECIDED and not self._fits:
            self._be_foreign(None)
            return
        self._halted = self._state
        self._state = _STOPPED
        self._on_turn = _NO_TURN
        self._held = self._inner = None
        self.malformed = malformed

    def _read_unanswered_request(self) -> None:
        """A request behind the greeting where no answer came: the proxy was silent, or its side is not captured."""
        if self._state not in (_CHOICE, _UNASKED) or self._held is None or self.client_side is None:
            return
        held = self._held[self.client_side]
        octets = bytes(held.octets)
        if looks_like_request(octets):
            step = decode_step(_REQUEST, CLIENT, octets)
            if isinstance(step, Step):
                offset, started = held.start, held.source(0)[1]
                last, time = held.source(step.length - 1)
                held.drop(step.length)
                self._accept(step, last, time, started, offset, step.length, False)

    def _missing(self, side: int, held: Held) -> int:
        """Octets that the frame being read still lacks, when its length and what follows it are certain; else 0."""
        if self.client_side is None or held.cut:
            return 0
        role = side ^ self.client_side
        row = self._state.rows[role]
        if row is None or not row.sized or len(held) < row.sized:
            return 0
        found = decode_step(self._state, role, bytes(held.octets))
        return found.octets - len(held) if isinstance(found, NeedMore) else 0

    def _find_half_frame(self) -> None:
        """What was held of a frame when it ended."""
        if self._held is None or self.client_side is None or self._state.final or self._gap:
            return
        for role, row in enumerate(self._state.rows):
            held = self._held[self.client_side ^ role]
            if row is not None and row.decode is not None and len(held) and not held.cut:
                self._keep_half_frame(role, row, held, len(held))

    def _keep_half_frame(self, role: int, row: Row, held: Held, length: int) -> None:
        side = role if self.client_side == 0 else 1 - role
        last, _ = held.source(length - 1)
        self.half_frame = HalfFrame(SENDERS[role], _TYPES[row.fact], length, last, side, held.start + length)

    def _read_short_refusal(self, side: int, ended: bool) -> None:
        """A failure reply that ends before its address, because the proxy closed or the capture ended."""
        row = self._state.rows[PROXY]
        if self._held is None or row is None or not self._state.awaits_reply:
            return
        held = self._held[side]
        octets = bytes(held.octets)
        if len(octets) < _SHORTEST_REFUSAL or octets[0] != row.version or octets[1] in row.branches:
            return
        # Zeros for what is missing: an IPv4 address, whatever type it would have been.
        head = octets[:2] + b"\0\1" if row.version == 5 else octets[:2]
        step = decode_step(self._state, PROXY, head.ljust(10 if row.version == 5 else 8, b"\0"))
        assert isinstance(step, Step), "a reply with an IPv4 address is whole"
        offset, started = held.start, held.source(0)[1]
        last, time = held.source(len(octets) - 1)
        if ended:
            self._keep_half_frame(PROXY, row, held, len(octets))
        held.drop(len(octets))
        self._accept(step, last, time, started, offset, len(octets), True)
        self._advance()

    # Small things

    def _note(self, code: str, frame: int, message: str) -> None:
        if code not in _ONCE or all(anomaly.code != code for anomaly in self.anomalies):
            self.anomalies.append(SessionAnomaly(code, frame, message))

    def _hold(self, side: int, offset: int) -> Held:
        """The side's buffer; `offset` is where its next octets go."""
        if self._held is None:
            self._held = (Held(self._fed[0]), Held(self._fed[1]))
            self._held[side].start = offset
        return self._held[side]

    def _room(self) -> list[int]:
        if self._tunnel_room is None:
            self._tunnel_room = [TUNNEL_KEPT, TUNNEL_KEPT]
        return self._tunnel_room


def _may_begin(row: Row, octet: int) -> bool:
    """Whether a frame that a row is about can begin with this octet, as SOCKS programs send it."""
    return octet in (row.version, 5) or (row.version == 0 and octet == 4)
