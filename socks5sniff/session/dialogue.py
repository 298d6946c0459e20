"""The dialogue, once it is known who opens: frames in their turn, whatever the segments they come in.

Most conversations say one frame in each segment and take turns. For them `feed` is short: the octets are exactly what
the state waits for, their step is remembered or decoded, the frame is kept, the state moves on. Everything else (frames
split or pipelined, octets out of turn, gaps) waits in a buffer for its turn and goes through the same steps.
"""

from __future__ import annotations

from ..codec import MAX_GSSAPI, GssapiMessageType, Method, Mismatch, NeedMore, Socks4Reply
from .detection import UNDECIDED_OCTETS, is_sound
from .evidence import Evidence
from .facts import Facts, HalfFrame, Seen, SessionFrame, Verdict
from .held import Held, Run, Segments
from .oddities import oddities
from .opening import foreign_name, looks_like_request, sound_so_far
from .states import CLIENT, EITHER, LOST, PROXY, STATES, Row, State
from .steps import SENDERS, Step, Unreadable, decode_step, unaddressed_step, unfinished_step, whole_step
from .tunnel import Kept, Tunnel

HELD_OCTETS = 8192
"""Octets held of a side while the other has the turn, in a SOCKS conversation: the handshake's own frames come to
1,032 at most, the rest is optimistic data, of which the beginning is enough to name the protocol."""

FRAMES_KEPT = 200
"""A conversation has at most six frames, but for GSSAPI, whose rounds have no limit of their own."""

HANDSHAKE_OCTETS = 4 * MAX_GSSAPI
"""Octets of a side that a handshake may take, frames and tokens of GSSAPI included, which are kept."""

NO_TURN = -1
"""No side may speak past the buffers: every feed goes through them."""

_SHORTEST_REFUSAL = 2
"""Octets of a reply in which a failure can be read, when the proxy closes without sending the rest."""

_SOCKS4_CODES = (b"", b"\x5a", b"\x5b", b"\x5c", b"\x5d")
_TYPES = {
    "greeting": "greeting", "selection": "method-selection", "auth_request": "auth-request", "auth_reply": "auth-reply",
    "request": "request", "reply_frame": "reply", "peer_reply_frame": "reply", "": "gssapi",
}  # fmt: skip
"""What a frame is called whose row keeps it as this fact."""

_UNDECIDED = Verdict.UNDECIDED

_GREETING = STATES["greeting"]
_REQUEST4 = STATES["request4"]
_CHOICE = STATES["choice"]
_REQUEST = STATES["request"]
_UNASKED = STATES["unasked"]
_UNREQUESTED = STATES["unrequested"]
_REFUSED = STATES["refused"]
_TUNNEL = STATES["tunnel"]
_ASSOCIATION = STATES["association"]
_STOPPED = STATES["stopped"]
_NOT_SOCKS = STATES["foreign"]
_GSSAPI = (STATES["gssapi"], STATES["sealed"])
_FAILED = {STATES["rejected"]: "a failure reply", STATES["denied"]: "a failed authentication", _REFUSED: "the refusal"}

_make_frame = tuple.__new__


class Dialogue(Facts):
    """Reads the frames of one dialogue in the order of its turns.

    Reading stops at each frame with a GSSAPI token of user data: `feed` and `advance` give the token, and the caller,
    who may know what is inside, calls `advance` again. Otherwise they give None.

    Attributes:
        seen: frames and anomalies; see `Facts`.
        evidence: the verdict.
        client_side: the TCP side of the client, None before the opening and where it is not SOCKS.
        state: where the dialogue stands.
        halted: the state in which reading stopped, when it did.
        on_turn: the side that may speak while nothing is held, or NO_TURN.
        fed: octets of each side so far, gaps included.
        held: the octets of each side that have to wait; None when there are none.
        segments: where the frames were that came from buffers; None before the first of them.
        tunnel: what becomes of octets that the dialogue is not about: kept, or read where GSSAPI tokens enclose them;
            None before there are any.
        malformed: a frame could not be read although its octets are there.
        lost: by side, its next frame is missing from the capture.
    """

    __slots__ = (
        "client_side",
        "evidence",
        "fed",
        "halted",
        "held",
        "lost",
        "malformed",
        "on_turn",
        "segments",
        "state",
        "tunnel",
    )

    def __init__(self, seen: Seen, evidence: Evidence, state: State, client_side: int | None = None) -> None:
        self.seen = seen
        self.evidence = evidence
        self.client_side = client_side
        self.state = state
        self.halted: State | None = None
        self.on_turn = NO_TURN if client_side is None else client_side ^ state.turn
        self.fed = [0, 0]
        self.held: tuple[Held, Held] | None = None
        self.segments: Segments | None = None
        self.tunnel: Tunnel | None = None
        self.malformed = False
        self.lost = [False, False]

    # Octets

    def open(self, side: int, first: int) -> None:
        """`side` is the client, and begins with the octet `first`."""
        self.client_side = self.on_turn = side
        self.state = _GREETING if first == 5 else _REQUEST4

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> Run | None:
        """The next octets of `side`, at least one, of one segment."""
        offset = self.fed[side]
        self.fed[side] = offset + len(octets)
        if side == self.on_turn:
            state = self.state
            step = state.seen.get(octets)
            if step is None:
                step = whole_step(state, octets)
            if step is not None:
                self.accept(step, frame, time, time, offset, step.length, False)
                evidence = self.evidence
                if evidence.fits and evidence.verdict is _UNDECIDED:
                    evidence.verdict = Verdict.SOCKS
                return None
        if self.state.final:
            self._after(Run(side, octets, frame, time))
            return None
        limit = UNDECIDED_OCTETS if self.evidence.verdict is _UNDECIDED else HELD_OCTETS
        if self.state in _GSSAPI:
            limit += MAX_GSSAPI
        self.hold(side, offset).add(octets, frame, time, limit)
        self.evidence.first_frame = self.evidence.first_frame or frame
        return self.advance()

    def gap(self, side: int, offset: int, length: int, frame: int, time: int) -> Run | None:
        """`length` octets of `side` from stream offset `offset` on are missing, and `fed` counts them."""
        held = self.hold(side, offset)
        self.evidence.gap = True
        if length > self._missing(side, held):
            if len(held) and self.client_side is not None and side != self.client_side ^ self.state.turn:
                held.cut = True  # what waits for its turn is there; behind it nothing is known
            else:
                held.drop(len(held))
                held.start = offset + length
                self.lost[side] = True
            return self.advance()
        held.add(bytes(length), frame, time, HELD_OCTETS + MAX_GSSAPI)
        held.lost = held.start + len(held)
        return self.advance()

    def hold(self, side: int, offset: int) -> Held:
        """The side's buffer; `offset` is where its next octets go."""
        self.on_turn = NO_TURN
        if self.held is None:
            self.held = (Held(self.fed[0]), Held(self.fed[1]))
            self.held[side].start = offset
        return self.held[side]

    def advance(self) -> Run | None:
        """Read all frames whose turn it is, up to one with a token to be opened, then look at what is left."""
        while not self.state.final:
            if self._skips():
                continue
            read, token = self._read_frame()
            if token is not None:
                return token
            if not read:
                break
        if not self.state.final:
            self._look_at_waiting()
        self.evidence.settle()
        if self.held is None:
            return None
        if self.state.final:
            self._flush(self.held)
        # A side that was cut keeps its buffer: octets that come now do not follow those that were read.
        elif any(held.octets or held.cut for held in self.held):
            self.on_turn = NO_TURN
        else:
            self.held = None
            self.on_turn = self.client_side ^ self.state.turn  # type: ignore[operator]
        return None

    def check_limits(self, side: int) -> None:
        """Stop where the handshake has taken more than any would; asked after each frame of `side` from a buffer."""
        if self.state.final or self.held is None:
            return
        if len(self.seen.frames) >= FRAMES_KEPT or self.held[side].start > HANDSHAKE_OCTETS:
            self.stop()

    def _skips(self) -> bool:
        """Whether the frame that is due is missing from the capture: then it goes on behind it, or stops."""
        for side in (0, 1):
            if not self.lost[side] or self.client_side is None or side != self.client_side ^ self.state.turn:
                continue
            self.lost[side] = False
            self._skip()
            return True
        if any(self.lost) and (self.client_side is None or self.state.turn == EITHER):
            self.stop()
            return True
        return False

    def _skip(self) -> None:
        state, evidence = self.state, self.evidence
        following = LOST.get(state.name)
        gssapi = state is _CHOICE and Method.GSSAPI in (self.methods or b"")
        if following is None or gssapi:
            self.stop()  # nobody could tell a token from a user name
            return
        if evidence.verdict is _UNDECIDED:
            evidence.doubtful = True
            if not evidence.fits and not self.seen.frames:
                self.be_foreign(None)
                return
        self.state = STATES[following]

    # One frame

    def accept(self, step: Step, frame: int, time: int, started: int, offset: int, length: int, damaged: bool) -> None:
        """Keep a frame and move on to the next state."""
        entry: SessionFrame = _make_frame(SessionFrame, (step, frame, time, started, offset, length, damaged))
        seen = self.seen
        seen.frames.append(entry)
        if step.fact:
            seen.named[step.fact] = entry
        if step.notable and not damaged and not self._examine(step, frame):
            return
        state = self.state = step.next
        self.on_turn = self.client_side ^ state.turn  # type: ignore[operator]
        evidence = self.evidence
        if evidence.verdict is _UNDECIDED:
            plain = not evidence.doubtful or self._refuses_nothing(step)
            methods = self.methods if step.fact == "selection" else None
            if not evidence.add(step, methods, plain, damaged) or self._says_more(step):
                self.be_foreign(None)

    def _examine(self, step: Step, frame: int) -> bool:
        """Note what is odd about a frame; False when the dialogue cannot be followed beyond it."""
        methods = self.methods
        if step.fact == "selection" and not step.deviations and methods is not None and step.value.method in methods:
            return True
        for code, message in oddities(step, self.state, methods, self.evidence.setting.loopback, self._own_address):
            self.seen.note(code, frame, message)
        if self.state is _CHOICE and step.value.version != 5 and step.value.method not in (methods or b""):
            # Another protocol's words, such as SOCKS4's refusal: what would be the method means nothing.
            del self.seen.named["selection"]
            self.stop(malformed=True)
        return self.state is not _STOPPED and self.state is not _NOT_SOCKS

    def _refuses_nothing(self, step: Step) -> bool:
        """The refusal of a greeting that offers nothing, and not an octet besides: SOCKS, doubtful as it is."""
        said = step.fact == "selection" and step.value.method == Method.NO_ACCEPTABLE and self.methods == b""
        return said and self.fed == [2, 2]

    def _says_more(self, step: Step) -> bool:
        """On an unknown port SOCKS4's answer with VN 04 has to be all that the proxy has said by then."""
        odd = not self.evidence.setting.trusted and isinstance(step.value, Socks4Reply) and step.value.version == 4
        return odd and self.fed[self.client_side ^ PROXY] > self.frames[-1].offset + step.length  # type: ignore[operator]

    def _own_address(self) -> str | None:
        addresses = self.evidence.setting.addresses
        return None if addresses is None or self.client_side is None else addresses[self.client_side]

    # Frames from buffers

    def _read_frame(self) -> tuple[bool, Run | None]:
        """Read one frame of a role that has the turn: whether there was one to read, and its token."""
        if self.held is None or self.client_side is None:
            return False, None
        answered = self.state is _UNASKED and self.held[self.client_side ^ PROXY].octets[:1] == b"\5"
        if answered and looks_like_request(bytes(self.held[self.client_side].octets)):
            self.state = _REQUEST  # no answer to credentials, but to what follows them
        state = self.state
        for role in (CLIENT, PROXY) if state.turn == EITHER else (state.turn,):
            side = self.client_side ^ role
            held = self.held[side]
            if len(held) < held.need:
                if held.cut and len(held):
                    self.stop()
                    return True, None
                continue
            octets = bytes(held.octets)
            found = decode_step(state, role, octets)
            if isinstance(found, Step):
                return True, self._accept_held(found, side, held)
            if not isinstance(found, NeedMore):
                self._be_unreadable(found, octets, held.source(0)[0])
                return True, None
            if self._gives_up(found, state.rows[role], octets[0], held):
                return True, None
        return False, None

    def _gives_up(self, found: NeedMore, row: Row | None, first: int, held: Held) -> bool:
        """A frame is not whole: whether it never will be."""
        held.need = max(found.octets, len(held) + 1)
        if self.evidence.verdict is _UNDECIDED and row is not None and not _may_begin(row, first):
            self.be_foreign(None)
        elif held.cut:
            self.stop()
        else:
            return False
        return True

    def _accept_held(self, step: Step, side: int, held: Held) -> Run | None:
        """Accept a frame at the start of a buffer; gives its token."""
        seen = self.seen
        first, started = held.source(0)
        last, _ = held.source(step.length - 1)
        completed, time = held.completion(step.length)
        if self.segments is None:
            self.segments = Segments()
        if first != last:
            seen.note("split-frame", completed, f"the {step.type} came in several segments")
        if self.segments.several(side, first, last):
            seen.note("pipelined-frames", first, f"several frames of the {SENDERS[step.role]} came in one segment")
        offset = held.start
        damaged = held.lost > offset
        held.drop(step.length)
        self.accept(step, completed, time, started, offset, step.length, damaged)
        if step.type == "gssapi" and step.value.message_type == GssapiMessageType.USER_DATA:
            return Run(side, b"" if damaged else step.value.token, completed, time)
        self.check_limits(side)
        if len(seen.frames) == 1 and len(held):
            # An opening with more behind it is no opening alone: it takes an answer to prove it.
            self.evidence.fits = False
        if self.state.awaits_reply and step.role == CLIENT and len(held):
            seen.note("early-data", held.source(0)[0], "data of the client before the reply")
        return None

    def _be_unreadable(self, found: Mismatch | Unreadable, octets: bytes, frame: int) -> None:
        """The octets are no frame that is due here."""
        if self.evidence.verdict is _UNDECIDED:
            if not self._never_ends():
                self.be_foreign(foreign_name(octets))
        elif isinstance(found, Mismatch):
            self.seen.note(found.deviation.code, frame, found.deviation.message)
            if self._accept_unaddressed(octets, found.deviation.code):
                return
            if self.client_side is not None and self.state.turn == PROXY:
                # Tor's refusals have ATYP 0: they can't be read to their end, but they say why.
                self.read_short_refusal(self.client_side ^ PROXY)
            if not self.state.final:
                self.stop(malformed=True)
        else:
            self.stop()

    # Frames that are not whole

    def _accept_unaddressed(self, octets: bytes, code: str) -> bool:
        """A request with an impossible address type ends the request, not the dialogue."""
        step = unaddressed_step(octets) if code == "unknown-address-type" and self.state is _REQUEST else None
        if step is None or self.held is None or self.client_side is None:
            return False
        held = self.held[self.client_side]
        self.malformed = True
        del held.octets[step.length :]
        self._accept_held(step, self.client_side, held)
        held.cut = True  # where the request ends nobody knows
        return True

    def _never_ends(self) -> bool:
        """A SOCKS4 request on a trusted port, sound as it was sent, whose NUL does not come."""
        trusted = self.evidence.setting.trusted
        if not trusted or self.state is not _REQUEST4 or self.held is None or self.client_side is None:
            return False
        held = self.held[self.client_side]
        if not sound_so_far(held.first_segment()):
            return False
        self.evidence.verdict = Verdict.SOCKS
        self.seen.note("half-frame", held.source(0)[0], "the client's request has no NUL at its end")
        self.stop(malformed=True)
        return True

    def _accept_unfinished(self) -> bool | None:
        """Read a SOCKS4 request without its end, once the proxy answers it; None: it may be about to."""
        if self.state is not _REQUEST4 or self.held is None or self.client_side is None:
            return False
        asked, answered = self.held[self.client_side], self.held[self.client_side ^ PROXY]
        if answered.octets[0] not in (0, 4) or answered.octets[1:2] not in _SOCKS4_CODES:
            return False
        whole = bytes(asked.octets)
        found = unfinished_step(whole if sound_so_far(whole) else asked.first_segment())
        if found is None or not is_sound(found[0]):
            return False
        if len(answered) < 8:
            return None
        step, lacks = found
        message = f"the proxy answered a request that lacks {lacks}"
        self.seen.note("reply-before-request", answered.source(0)[0], message)
        damaged = step.value.is_socks4a and not step.value.destination.host
        if damaged:
            asked.lost = asked.start + 1
        self._accept_held(step, self.client_side, asked)
        return True

    def read_short_refusal(self, side: int) -> HalfFrame | None:
        """Read a failure reply that ends before its address as what it is; gives what there was of it, if it is one."""
        row = self.state.rows[PROXY]
        if self.held is None or row is None or not self.state.awaits_reply:
            return None
        held = self.held[side]
        octets = bytes(held.octets)
        if len(octets) < _SHORTEST_REFUSAL or octets[0] != row.version or octets[1] in row.branches:
            return None
        # Zeros for what is missing: an IPv4 address, whatever type it would have been.
        head = octets[:2] + b"\0\1" if row.version == 5 else octets[:2]
        step = decode_step(self.state, PROXY, head.ljust(10 if row.version == 5 else 8, b"\0"))
        if not isinstance(step, Step):
            return None
        offset, started = held.start, held.source(0)[1]
        last, time = held.source(len(octets) - 1)
        half = self.half_frame(row, side, held)
        held.drop(len(octets))
        self.accept(step, last, time, started, offset, len(octets), True)
        self.advance()
        return half

    def half_frame(self, row: Row, side: int, held: Held) -> HalfFrame:
        """All that is held of `side`, as a part of the frame that the row is about."""
        last, _ = held.source(len(held) - 1)
        return HalfFrame(SENDERS[row.role], _TYPES[row.fact], len(held), last, side, held.start + len(held))

    def _missing(self, side: int, held: Held) -> int:
        """Octets that the frame being read still lacks, when its length and what follows it are certain; else 0."""
        if self.client_side is None or held.cut:
            return 0
        role = side ^ self.client_side
        row = self.state.rows[role]
        if row is None or not row.sized or len(held) < row.sized:
            return 0
        found = decode_step(self.state, role, bytes(held.octets))
        return found.octets - len(held) if isinstance(found, NeedMore) else 0

    # Octets that are nobody's turn

    def _look_at_waiting(self) -> None:
        """What octets of the role that does not have the turn mean."""
        state = self.state
        if state.turn == EITHER or self.client_side is None or self.held is None:
            return
        waiting = self.held[self.client_side ^ state.turn ^ 1]
        if not len(waiting):
            return
        frame = waiting.source(0)[0]
        if state.turn == PROXY:
            if state.awaits_reply and state is not _UNREQUESTED:
                self.seen.note("early-data", frame, "data of the client before the reply")
        elif (unfinished := self._accept_unfinished()) is not False:
            if unfinished:
                self.advance()
        elif state is _GREETING or state is _REQUEST4:
            if self.evidence.setting.trusted and sound_so_far(bytes(self.held[self.client_side].octets)):
                self.seen.note("server-spoke-first", frame, "the proxy sent before the client's first frame was whole")
            else:
                self.be_foreign(None)
        else:
            # The proxy said more than it was asked: on an unknown port its choice alone proves nothing any more.
            self.evidence.doubtful = True
            self.evidence.fits &= self.evidence.setting.trusted
            message = f"the proxy sent before its turn, in phase {state.phase}"
            self.seen.note("reply-before-request", frame, message)

    def _flush(self, both: tuple[Held, Held]) -> None:
        """Hand on what is held when nothing more will be read."""
        self.held = None
        for side, held in enumerate(both):
            # What a client sent before it could know of a failure is no fault of its own.
            if self.state not in _FAILED or side != self.client_side:
                for run in held.take(side):
                    self._after(run)
            if held.cut and self.relay:
                self._beyond().cut(side)

    def _after(self, run: Run) -> None:
        """Octets in a state without a way on."""
        state = self.state
        if state is _TUNNEL or state is _ASSOCIATION:
            self._beyond().add(run)
        elif state is _REFUSED and run.side != self.client_side:
            self.seen.note("refusal-too-long", run.frame, "octets follow the refusal of all methods")
        elif state in _FAILED:
            sender = "client" if run.side == self.client_side else "proxy"
            self.seen.note("data-after-failure", run.frame, f"octets of the {sender} after {_FAILED[state]}")

    def _beyond(self) -> Tunnel:
        if self.tunnel is None:
            self.tunnel = Kept()
        return self.tunnel

    # Where it stands

    @property
    def relay(self) -> bool:
        """A tunnel or a UDP association is open."""
        return self.state is _TUNNEL or self.state is _ASSOCIATION

    @property
    def failed(self) -> bool:
        """The proxy has said no: what else is said is a fault."""
        return self.state in _FAILED

    @property
    def stood(self) -> State:
        """The state, or where it stopped the one before that."""
        return self.halted or self.state

    @property
    def buffered(self) -> int:
        """Octets kept in buffers: held for their turn, and of the tunnel."""
        held = 0 if self.held is None else len(self.held[0]) + len(self.held[1])
        return held if self.tunnel is None else held + len(self.tunnel)

    # Ends

    def be_foreign(self, name: str | None) -> None:
        """It is not SOCKS: drop everything."""
        self.seen.forget()
        self.state = _NOT_SOCKS
        self.on_turn = NO_TURN
        self.held = self.tunnel = self.halted = self.client_side = None
        self.malformed = False
        message = self.evidence.refute(name)
        if message is not None:
            self.seen.note("not-socks-on-socks-port", self.evidence.first_frame, message)

    def stop(self, malformed: bool = False) -> None:
        """Nothing can be read from here on."""
        if self.evidence.verdict is _UNDECIDED and not self.evidence.fits:
            self.be_foreign(None)
            return
        self.halted = self.state
        self.state = _STOPPED
        self.on_turn = NO_TURN
        self.held = self.tunnel = None
        self.malformed = malformed


def _may_begin(row: Row, octet: int) -> bool:
    """Whether a frame that a row is about can begin with this octet, as SOCKS programs send it."""
    return octet in (row.version, 5) or (row.version == 0 and octet == 4)
