"""The observer of one SOCKS conversation: octets of both TCP sides in, frames, facts and anomalies out.

Most conversations say one frame in each segment and take turns. For them `feed` is short: the octets are exactly what
the state waits for, their step is remembered or decoded, the frame is kept, the state moves on. Everything else (frames
split or pipelined, octets out of turn, gaps, doubtful openings) waits in a buffer for its turn and goes through the
same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from ..codec import MAX_GSSAPI, Address, GssapiMessageType, Method, Mismatch, NeedMore
from .detection import (
    PREAMBLE_LIMIT,
    UNDECIDED_OCTETS,
    could_hold_greeting,
    could_open,
    find_greeting,
    foreign_name,
    is_sound,
    sound_so_far,
)
from .held import Held, Run
from .states import CLIENT, EITHER, PROXY, STATES, State
from .steps import SENDERS, Step, decode_step, whole_step

HELD_OCTETS = 8192
"""Octets held of a side while the other has the turn, in a SOCKS conversation: the handshake's own frames come to
1,032 at most, the rest is optimistic data, of which the beginning is enough to name the protocol."""

TUNNEL_KEPT = 8192
"""Tunnel octets kept of each side for `take_tunnel`."""

FRAMES_KEPT = 200
"""A conversation has at most six frames, but for GSSAPI, whose rounds have no limit of their own."""

SHORTEST_REFUSAL = 2
"""Octets of a reply in which a failure can be read, when the proxy closes without sending the rest."""


class Verdict(Enum):
    """Whether a connection speaks SOCKS."""

    UNDECIDED = "undecided"
    SOCKS = "socks"
    FOREIGN = "foreign"


class SessionFrame(NamedTuple):
    """One SOCKS frame and where it was."""

    step: Step
    """The frame as read; see the properties."""
    frame: int
    """Number of the packet that completed it."""
    time: int
    """When it was complete, ns."""
    started: int
    """When its first octet came, ns."""
    offset: int
    """Stream offset of its first octet."""
    length: int
    """Its octets."""
    damaged: bool = False
    """Some of its octets are missing, so that only its first fields are known."""

    @property
    def value(self) -> Any:
        """The codec's frame. Of a damaged one, what is missing reads as zeros."""
        return self.step.value

    @property
    def type(self) -> str:
        """`greeting`, `method-selection`, `auth-request`, `auth-reply`, `gssapi`, `request`, `reply`."""
        return self.step.type

    @property
    def sender(self) -> str:
        """`client` or `proxy`."""
        return SENDERS[self.step.role]

    @property
    def summary(self) -> str:
        """One line in English, with text from the wire as decoded (not escaped), never a password."""
        if self.damaged:
            return f"{self.step.type.capitalize()}, octets missing"
        return self.step.summary


class SessionAnomaly(NamedTuple):
    """One thing that was odd; `code` is a key of the codec's ANOMALIES."""

    code: str
    frame: int
    message: str


_UNDECIDED = Verdict.UNDECIDED
_SOCKS = Verdict.SOCKS
_FOREIGN = Verdict.FOREIGN

_OPENING = STATES["opening"]
_GREETING = STATES["greeting"]
_REQUEST4 = STATES["request4"]
_CHOICE = STATES["choice"]
_AUTH = STATES["auth"]
_GSSAPI = STATES["gssapi"]
_REFUSED = STATES["refused"]
_TUNNEL = STATES["tunnel"]
_ASSOCIATION = STATES["association"]
_STOPPED = STATES["stopped"]
_NOT_SOCKS = STATES["foreign"]
_FAILED = {STATES["rejected"]: "a failure reply", STATES["denied"]: "a failed authentication", _REFUSED: "the refusal"}
_LONG_FRAMES = (_GSSAPI, STATES["sealed"])

_NO_TURN = -1
_new_frame = tuple.__new__


class Session:
    """Observes one TCP connection and says whether it speaks SOCKS and what is said.

    Sides are TCP's: 0 opened the connection, 1 is the other. Roles (client, proxy) are found from the octets.
    Nothing raises for any octets, and memory is bounded for any input. There is no clock: times are arguments, in ns.

    Args:
        trusted: the port is a SOCKS port (the user named it, or it is 1080, 9050 or 9150). Then a greeting alone makes
            a conversation, and another protocol is named in an anomaly.
        loopback: both ends are loopback addresses: a password in clear is no anomaly then.
        address_of: gives the address of a side in text; asked only for UDP ASSOCIATE, to tell whether the client named
            its own address or the target. Without it only a domain name counts as a target.

    Feeding (in the order of the capture):
        feed(side, octets, frame, time): the next octets of a side, in order, of one segment. `bytes` only.
        gap(side, length, frame, time): so many octets of a side are missing from the capture.
        close(side, frame, time): FIN or RST of a side.
        finish(): no more to come; settles an undecided verdict. `outcome()` does it too.

    Verdict and state:
        verdict: Verdict.UNDECIDED, SOCKS or FOREIGN. FOREIGN is final and drops frames and buffers.
        foreign: on a trusted port, what the foreign protocol is: HTTP, TLS, SSH, SOCKS6, unknown; else None.
        done: the session has no use for more octets: a relay is open, or nothing can be decoded any more. Octets after
            a failure are still wanted (for their anomalies) and cost little.
        relay: a tunnel or a UDP association is open.
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
            counted) where the tunnel's octets begin.
        take_tunnel(): the tunnel's octets that were fed already, as (side, octets, frame, time) runs in order of
            arrival a side; at most TUNNEL_KEPT octets a side are kept. A second call gives what came since.
        preamble: (octets, octets) of each side that preceded the greeting and are not SOCKS.
    """

    __slots__ = (
        "_address_of",
        "_authenticated",
        "_fed",
        "_first_frame",
        "_fits",
        "_gap",
        "_halted",
        "_held",
        "_last_frame",
        "_loopback",
        "_mark",
        "_on_turn",
        "_piped",
        "_state",
        "_told",
        "_tunnel",
        "_tunnel_room",
        "_weak",
        "anomalies",
        "auth_reply",
        "auth_request",
        "client_side",
        "foreign",
        "frames",
        "greeting",
        "malformed",
        "peer_reply_frame",
        "preamble",
        "reply_frame",
        "request",
        "selection",
        "trusted",
        "tunnel_start",
        "verdict",
    )

    def __init__(
        self, trusted: bool = False, loopback: bool = False, address_of: Callable[[int], str] | None = None
    ) -> None:
        self.trusted = trusted
        self._loopback = loopback
        self._address_of = address_of
        self.verdict = _UNDECIDED
        self.foreign: str | None = None
        self.client_side: int | None = None
        self.malformed = False
        self.preamble = (0, 0)
        self.tunnel_start: list[int | None] = [None, None]
        self.frames: list[SessionFrame] = []
        self.anomalies: list[SessionAnomaly] = []
        self.greeting: SessionFrame | None = None
        self.selection: SessionFrame | None = None
        self.auth_request: SessionFrame | None = None
        self.auth_reply: SessionFrame | None = None
        self.request: SessionFrame | None = None
        self.reply_frame: SessionFrame | None = None
        self.peer_reply_frame: SessionFrame | None = None
        self._authenticated: bool | None = None
        self._state: State = _OPENING
        # The side that may speak while nothing is held; _NO_TURN sends every feed through the buffers.
        self._on_turn = _NO_TURN
        self._fed = [0, 0]
        self._first_frame = 0
        self._weak = False
        self._fits = False
        self._gap = False
        self._halted: State | None = None
        # Most conversations never need what follows.
        self._held: list[Held | None] | None = None
        self._told: set[str] | None = None
        self._tunnel: list[Run] | None = None
        self._tunnel_room: list[int] | None = None
        self._mark = 0
        self._last_frame = self._piped = (0, 0)

    # Feeding

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> None:
        """The next octets of `side`, in order, of one segment with this frame number and time (ns)."""
        offset = self._fed[side]
        self._fed[side] = offset + len(octets)
        state = self._state
        if state is _OPENING and not offset and not self._fed[1 - side] and octets and could_open(octets[0]):
            self._first_frame = frame
            self.client_side = self._on_turn = side
            self._state = state = _GREETING if octets[0] == 5 else _REQUEST4
        if side == self._on_turn:
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
        state = self._state
        if state.final or length <= 0:
            return
        held = self._held_of(side)
        if self.client_side is not None and state.awaits_reply and side == self.client_side:
            # Optimistic data: the tunnel's loss, not the handshake's.
            if held is None:
                held = self._hold(side, offset)
            held.cut = True
            self._on_turn = _NO_TURN
            return
        self._gap = True
        missing = self._missing(side)
        if held is None or not length <= missing:
            self._stop()
        else:
            held.add(bytes(length), frame, time, HELD_OCTETS + MAX_GSSAPI)
            held.lost = held.start + len(held)
            self._advance()
        if self.verdict is not _FOREIGN:
            self._note("handshake-gap", frame, f"{length} octets of the handshake are not in the capture")

    def close(self, side: int, frame: int, time: int) -> None:
        """FIN or RST of `side`: nothing more comes from it."""
        if self.client_side is not None and side == self.client_side ^ PROXY:
            self._read_short_refusal(side)

    def finish(self) -> None:
        """Nothing more comes from either side."""
        if self.client_side is not None:
            self._read_short_refusal(self.client_side ^ PROXY)
        if self.verdict is not _UNDECIDED or self._fed == [0, 0]:
            return
        if self.trusted and self._opening_may_stand():
            self.verdict = _SOCKS
        else:
            self._be_foreign(None)

    def take_tunnel(self) -> list[Run]:
        """The tunnel's octets fed so far, as (side, octets, frame, time) runs; each is given once."""
        runs, self._tunnel = self._tunnel or [], None
        return runs

    # What was seen

    @property
    def done(self) -> bool:
        """No more octets are of use: relayed, answered, foreign, or unreadable from here on."""
        return self._state.final and self._state not in _FAILED

    @property
    def relay(self) -> bool:
        """A tunnel or a UDP association is open."""
        return self._state is _TUNNEL or self._state is _ASSOCIATION

    @property
    def socks4(self) -> bool:
        """SOCKS4 or 4A: reply codes are 90 to 93."""
        return self._state is _REQUEST4 or (self.request is not None and self.request.step.row.version == 4)

    @property
    def protocol(self) -> str | None:
        """`socks5`, `socks4`, `socks4a`; None while unknown or when foreign."""
        if self.client_side is None:
            return None
        if self.socks4:
            named = self.request is not None and self.request.value.destination.type == 3
            return "socks4a" if named else "socks4"
        return "socks5"

    @property
    def phase(self) -> str | None:
        """Where the dialogue stands: `greeting`, `authentication`, `request`, `relay`."""
        if self.client_side is None:
            return None
        return (self._halted or self._state).phase

    def outcome(self, ended: bool = True) -> str | None:
        """The record's outcome.

        `succeeded`, `rejected`, `auth-failed`, `no-acceptable-method`, `incomplete` or `malformed`.
        With `ended` no more octets come (`finish` is done); otherwise None says that there is no verdict yet.
        """
        if ended:
            self.finish()
        if self.malformed:
            return "malformed"
        return self._state.outcome or ("incomplete" if ended else None)

    @property
    def methods(self) -> bytes | None:
        """Methods offered, in the client's order."""
        return None if self.greeting is None or self.greeting.damaged else self.greeting.value.methods

    @property
    def method(self) -> int | None:
        """The method chosen; FF: none acceptable."""
        return None if self.selection is None else self.selection.value.method

    @property
    def username(self) -> bytes | None:
        """UNAME of RFC 1929, or SOCKS4's USERID (None when it is empty)."""
        if self.auth_request is not None:
            return self.auth_request.value.username  # type: ignore[no-any-return]
        if self.request is not None and self.socks4:
            return self.request.value.user or None
        return None

    @property
    def password(self) -> bytes | None:
        """PASSWD of RFC 1929."""
        return None if self.auth_request is None else self.auth_request.value.password

    @property
    def authenticated(self) -> bool | None:
        """The sub-negotiation's verdict; None where there was none."""
        return self._authenticated

    @property
    def command(self) -> int | None:
        """CMD, or SOCKS4's CD."""
        return None if self.request is None else self.request.value.command

    @property
    def destination(self) -> Address | None:
        """DST.ADDR and DST.PORT."""
        return None if self.request is None or self.request.damaged else self.request.value.destination

    @property
    def reply(self) -> int | None:
        """Code of the first reply."""
        return None if self.reply_frame is None else self.reply_frame.value.code

    @property
    def bound(self) -> Address | None:
        """BND.ADDR and BND.PORT of the first reply."""
        return None if self.reply_frame is None or self.reply_frame.damaged else self.reply_frame.value.bound

    @property
    def peer_reply(self) -> int | None:
        """Code of BIND's second reply."""
        return None if self.peer_reply_frame is None else self.peer_reply_frame.value.code

    @property
    def peer(self) -> Address | None:
        """The address of BIND's second reply: who connected."""
        entry = self.peer_reply_frame
        return None if entry is None or entry.damaged else entry.value.bound

    @property
    def authentication_start(self) -> int | None:
        """When the first octet of the sub-negotiation came, ns."""
        return next((entry.started for entry in self.frames if _authenticates(entry)), None)

    @property
    def authentication_end(self) -> int | None:
        """When the last octet of the sub-negotiation came, ns; None while it has no verdict."""
        if self._authenticated is None:
            return None
        return next((entry.time for entry in reversed(self.frames) if _authenticates(entry)), None)

    # The steps

    def _accept(self, step: Step, frame: int, time: int, started: int, offset: int, length: int, damaged: bool) -> None:
        """Keep a frame and move on to the next state."""
        entry: SessionFrame = _new_frame(SessionFrame, (step, frame, time, started, offset, length, damaged))
        self.frames.append(entry)
        if step.fact:
            setattr(self, step.fact, entry)
        if step.notable and not self._examine(step, entry):
            return
        state = self._state = step.next
        self._on_turn = self.client_side ^ state.turn  # type: ignore[operator]
        if self.verdict is _UNDECIDED:
            self._judge(step, damaged)
        if state.final and self._state is state:
            self._conclude()

    def _examine(self, step: Step, entry: SessionFrame) -> bool:
        """Note what is odd about a frame; False when the dialogue cannot be followed beyond it."""
        frame = entry.frame
        value = step.value
        if not entry.damaged:
            for code, message in step.deviations:
                self._note(code, frame, message)
        if step.fact == "selection":
            return self._examine_selection(value.method, step, frame)
        if step.fact == "auth_request":
            if not self._loopback:
                self._note("cleartext-credentials", frame, "user name and password crossed in clear")
        elif step.fact == "auth_reply":
            self._authenticated = value.status == 0
            if value.status:
                self._note("auth-failed", frame, f"the proxy refused the credentials (status 0x{value.status:02x})")
        elif step.fact == "request":
            if self._state is _AUTH:
                self._note("bad-version", frame, "a request came where user name and password were due")
            elif self._state is _GSSAPI:
                self._authenticated = True
            if step.next.name == "associate-answer" and not entry.damaged:
                self._examine_associate(value.destination, frame)
        elif step.next is _ASSOCIATION:
            if not entry.damaged and value.bound.is_unspecified:
                self._note("bound-unspecified", frame, f"the relay's address is {value.bound}: that of the proxy")
        elif step.type == "gssapi":
            self._examine_gssapi(step, frame)
        if len(self.frames) > FRAMES_KEPT:
            self._stop()
            return False
        return True

    def _examine_selection(self, method: int, step: Step, frame: int) -> bool:
        methods = self.methods
        if method == Method.NO_ACCEPTABLE:
            self._note("no-acceptable-method", frame, "the proxy accepts none of the offered methods")
        elif methods is not None and method not in methods:
            if step.value.version != 5:
                self._stop(malformed=True)
                return False
            self._note("method-not-offered", frame, f"the proxy chose 0x{method:02x}, which was not offered")
        return True

    def _examine_associate(self, destination: Address, frame: int) -> None:
        if destination.type == 3:
            self._note("associate-names-target", frame, "UDP ASSOCIATE for a domain name")
        elif not destination.is_unspecified and self._address_of is not None and self.client_side is not None:
            own = self._address_of(self.client_side).removeprefix("::ffff:")
            if destination.text.removeprefix("::ffff:") != own:
                message = f"UDP ASSOCIATE for {destination.text}, but the client is {own}"
                self._note("associate-names-target", frame, message)

    def _examine_gssapi(self, step: Step, frame: int) -> None:
        message = step.value
        if message.message_type == GssapiMessageType.ABORT:
            self._authenticated = False
            self._note("auth-failed", frame, f"the {SENDERS[step.role]} refused the GSSAPI security context")
        elif message.message_type == GssapiMessageType.USER_DATA:
            self._authenticated = True
        elif message.message_type == GssapiMessageType.PROTECTION_LEVEL:
            if step.role == PROXY:
                self._authenticated = True
            if len(message.token) == 1:
                self._note_once("gssapi-level-unprotected", frame, "the protection level was sent unwrapped")

    def _judge(self, step: Step, damaged: bool) -> None:
        """While undecided: what this frame says about whether this is SOCKS. See `detection` for the rules."""
        sound = not damaged and is_sound(step)
        fact = step.fact
        if fact == "greeting":
            self._weak |= not sound
            self._fits = self.trusted and sound
        elif fact == "selection":
            chosen = step.value.method
            fits = chosen == Method.NO_ACCEPTABLE or chosen in (self.methods or b"")
            if not sound:
                self._be_foreign(None)
            elif fits and (self.trusted or not self._weak):
                self._fits = True
            else:
                self._weak = True
        elif fact == "request" and self.socks4:
            if sound:
                self._fits = self.trusted
            elif not self.trusted:
                self._be_foreign(None)
        elif not sound:
            self._be_foreign(None)
        elif step.role == PROXY:
            self._fits = True

    def _conclude(self) -> None:
        """A state without a way on is reached."""
        if self.relay:
            for side in (0, 1):
                held = self._held_of(side)
                self.tunnel_start[side] = self._fed[side] if held is None else held.start

    # Octets that have to wait

    def _feed_slowly(self, side: int, octets: bytes, offset: int, frame: int, time: int) -> None:
        if not self._first_frame:
            self._first_frame = frame
        if self._state.final:
            self._after(Run(side, octets, frame, time))
            return
        held = self._hold(side, offset)
        self._on_turn = _NO_TURN
        if self.verdict is _UNDECIDED and self._state not in _LONG_FRAMES:
            limit = UNDECIDED_OCTETS
        else:
            limit = HELD_OCTETS + (MAX_GSSAPI if self._state in _LONG_FRAMES else 0)
        held.add(octets, frame, time, limit)
        if self._state is not _OPENING or self._find_client(side, held):
            self._advance()

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
            self._flush()
        elif any(self._held):
            self._on_turn = _NO_TURN
        else:
            self._held = None
            self._on_turn = self.client_side ^ self._state.turn  # type: ignore[operator]

    def _read_frame(self) -> bool:
        """Read one frame of a role that has the turn; False when there is none to read yet."""
        state = self._state
        for role in (CLIENT, PROXY) if state.turn == EITHER else (state.turn,):
            side = self.client_side ^ role  # type: ignore[operator]
            held = self._held_of(side)
            if not held:
                continue
            if len(held) < held.need:
                if held.cut:
                    self._stop()
                    return True
                continue
            octets = bytes(held.octets)
            row = state.rows[role]
            if row is not None and octets[0] != row.version and foreign_name(octets) is not None:
                self._be_unreadable(None, octets, held)
                return True
            found = decode_step(state, role, octets)
            if isinstance(found, Step):
                self._accept_held(found, side, held)
                return True
            if not isinstance(found, NeedMore):
                self._be_unreadable(found, octets, held)
                return True
            held.need = max(found.octets, len(held) + 1)
            if self.verdict is _UNDECIDED and row is not None and octets[0] not in (row.version, 5):
                self._be_foreign(None)
                return True
            if held.cut:
                self._stop()
                return True
        return False

    def _accept_held(self, step: Step, side: int, held: Held) -> None:
        first, started = held.source(0)
        last, time = held.source(step.length - 1)
        if first != last:
            self._note("split-frame", last, f"the {step.type} came in several segments")
        if first == self._last_frame[side] and first != self._piped[side]:
            self._piped = (first, self._piped[1]) if side == 0 else (self._piped[0], first)
            self._note("pipelined-frames", first, f"several frames of the {SENDERS[step.role]} came in one segment")
        self._last_frame = (last, self._last_frame[1]) if side == 0 else (self._last_frame[0], last)
        offset = held.start
        damaged = held.lost > offset
        held.drop(step.length)
        self._accept(step, last, time, started, offset, step.length, damaged)
        if held and step.fact == "request" and self._state.awaits_reply:
            self._note_once("early-data", held.source(0)[0], "data from the client before the reply")

    def _be_unreadable(self, found: object, octets: bytes, held: Held) -> None:
        """The octets are no frame that is due here."""
        row = self._state.rows[0] or self._state.rows[1]
        frame = held.source(0)[0]
        if self.verdict is _UNDECIDED:
            self._be_foreign(foreign_name(octets))
        elif row is None or row.decode is None:
            self._stop()
        else:
            if octets[0] != row.version:
                name = foreign_name(octets)
                shown = "" if name is None else f" ({name})"
                self._note("bad-version", frame, f"version {octets[0]} where {row.version} is due{shown}")
            elif isinstance(found, Mismatch):
                self._note(found.deviation.code, frame, found.deviation.message)
            self._stop(malformed=True)

    def _look_at_waiting(self) -> None:
        """What octets of the role that does not have the turn mean."""
        state = self._state
        if state.turn == EITHER or self.client_side is None:
            return
        held = self._held_of(self.client_side ^ state.turn ^ 1)
        if not held:
            return
        frame = held.source(0)[0]
        if state.turn == PROXY:
            if state.awaits_reply:
                self._note_once("early-data", frame, "data from the client before the reply")
        elif state is _GREETING or state is _REQUEST4:
            asked = self._held_of(self.client_side)
            if self.trusted and asked is not None and sound_so_far(bytes(asked.octets)):
                self._note_once("server-spoke-first", frame, "the proxy sent before the client's first frame was whole")
            else:
                self._be_foreign(None)
        else:
            self._weak = True
            self._note_once("reply-before-request", frame, f"the proxy sent before the client's {_due(state)}")

    def _flush(self) -> None:
        """Hand on what is held when nothing more will be read."""
        held, self._held = self._held, None
        for side, waiting in enumerate(held or ()):
            if waiting is None:
                continue
            cut = waiting.cut
            for run in waiting.take(side):
                # What a client sent before it could know of a failure is no fault of its own.
                if not (self._state in _FAILED and side == self.client_side):
                    self._after(run)
            if cut and self.relay:
                self._room()[side] = 0

    def _after(self, run: Run) -> None:
        """Octets in a state without a way on."""
        state = self._state
        if self.relay:
            room = self._room()
            if room[run.side] > 0:
                kept = run.octets[: room[run.side]]
                room[run.side] -= len(run.octets)
                if self._tunnel is None:
                    self._tunnel = []
                self._tunnel.append(Run(run.side, kept, run.frame, run.time))
        elif state is _REFUSED and run.side != self.client_side:
            self._note_once("refusal-too-long", run.frame, "octets follow the refusal of all methods")
        elif state in _FAILED:
            sender = SENDERS[CLIENT if run.side == self.client_side else PROXY]
            self._note_once("data-after-failure", run.frame, f"octets of the {sender} after {_FAILED[state]}")

    # Openings

    def _find_client(self, side: int, held: Held) -> bool:
        """While nobody has opened: find out whether somebody does. False: not yet, or never."""
        octets = bytes(held.octets)
        name = foreign_name(octets)
        other = self._held_of(1 - side)
        if name is not None:
            self._be_foreign(name)
        elif side == 0:
            answer = octets[self._mark :]
            at = find_greeting(bytes(other.octets)) if other else None
            if at is not None and other and (fit := _answers(answer, bytes(other.octets[at:]))) is not False:
                return fit is True and self._begin(1, self._mark, at)
            if could_open(octets[0]):
                return self._begin(0, 0, len(other) if other else 0)
            if len(octets) > PREAMBLE_LIMIT:
                self._be_foreign(None)
        else:
            self._mark = self._fed[0]
            if could_open(octets[0]):
                return self._begin(1, self._mark, 0)
            if held.cut or not could_hold_greeting(octets):
                self._be_foreign(None)
        return False

    def _begin(self, client: int, preamble0: int, preamble1: int) -> bool:
        """`client` opens, after so many octets of each side that are not SOCKS."""
        if max(preamble0, preamble1) > PREAMBLE_LIMIT:
            self._be_foreign(None)
            return False
        self.client_side = client
        self.preamble = (preamble0, preamble1)
        self._weak = preamble0 > 0 or preamble1 > 0
        for side, length in enumerate(self.preamble):
            held = self._held_of(side)
            if held is not None and length:
                if side != client == 0:
                    self._note("server-spoke-first", held.source(0)[0], f"{length} octets of the proxy came first")
                held.drop(length)
        opening = self._held_of(client)
        self._state = _GREETING if opening and opening.octets[0] == 5 else _REQUEST4
        return True

    def _opening_may_stand(self) -> bool:
        """On a trusted port: whether what was seen to the end is a SOCKS client's doing, though not a sound opening."""
        if self._gap:
            return False
        if self._state is _GREETING or self._state is _REQUEST4:
            held = self._held_of(self.client_side or 0)
            return held is not None and sound_so_far(bytes(held.octets))
        # A greeting with odd methods, and nobody answered.
        return self._state is _CHOICE and self._held is None

    def _be_foreign(self, name: str | None) -> None:
        """It is not SOCKS: drop everything."""
        self.verdict = _FOREIGN
        self._state = _NOT_SOCKS
        self._on_turn = _NO_TURN
        self._held = self._told = self._tunnel = None
        self._halted = self.client_side = None
        self._fits = self.malformed = False
        self.frames = []
        self.anomalies = []
        self.greeting = self.selection = self.auth_request = self.auth_reply = None
        self.request = self.reply_frame = self.peer_reply_frame = None
        self._authenticated = None
        if self.trusted and not self._gap:
            self.foreign = name or "unknown"
            shown = "unknown protocol" if name is None else name
            self._note("not-socks-on-socks-port", self._first_frame, f"{shown} on a SOCKS port")

    # Ends and faults

    def _stop(self, malformed: bool = False) -> None:
        """Nothing can be read from here on."""
        if self.verdict is _UNDECIDED and not self._fits:
            self._be_foreign(None)
            return
        self._halted = self._state
        self._state = _STOPPED
        self._on_turn = _NO_TURN
        self._held = None
        self.malformed = malformed

    def _missing(self, side: int) -> int:
        """Octets that the frame being read still lacks, when its length and what follows it are certain; else 0."""
        state = self._state
        if self.client_side is None:
            return 0
        role = CLIENT if side == self.client_side else PROXY
        row = state.rows[role]
        held = self._held_of(side)
        if row is None or held is None or not row.sized or len(held) < row.sized or held.cut:
            return 0
        found = decode_step(state, role, bytes(held.octets))
        return found.octets - len(held) if isinstance(found, NeedMore) else 0

    def _read_short_refusal(self, side: int) -> None:
        """A failure reply that ends before its address, because the proxy closed or the capture ended."""
        held = self._held_of(side)
        row = self._state.rows[PROXY]
        if not held or row is None or not self._state.awaits_reply or len(held) < SHORTEST_REFUSAL:
            return
        octets = bytes(held.octets)
        if octets[0] != row.version or octets[1] in row.branches:
            return
        padded = (octets[:2] + b"\0\1" + octets[4:] if row.version else octets).ljust(10 if row.version else 8, b"\0")
        step = decode_step(self._state, PROXY, padded)
        if isinstance(step, Step):
            started = held.source(0)[1]
            last, time = held.source(len(held) - 1)
            offset = held.start
            held.drop(len(held))
            self._accept(step, last, time, started, offset, len(octets), True)
            self._advance()

    def _note(self, code: str, frame: int, message: str) -> None:
        self.anomalies.append(SessionAnomaly(code, frame, message))

    def _note_once(self, code: str, frame: int, message: str) -> None:
        if self._told is None:
            self._told = set()
        if code not in self._told:
            self._told.add(code)
            self._note(code, frame, message)

    def _held_of(self, side: int) -> Held | None:
        return None if self._held is None else self._held[side]

    def _hold(self, side: int, offset: int) -> Held:
        if self._held is None:
            self._held = [None, None]
        held = self._held[side]
        if held is None:
            held = self._held[side] = Held(offset)
        return held

    def _room(self) -> list[int]:
        if self._tunnel_room is None:
            self._tunnel_room = [TUNNEL_KEPT, TUNNEL_KEPT]
        return self._tunnel_room


def _authenticates(entry: SessionFrame) -> bool:
    """Whether a frame belongs to a sub-negotiation; GSSAPI's frames of user data come after it."""
    kind = entry.type
    return kind in ("auth-request", "auth-reply") or (kind == "gssapi" and entry.value.message_type != 3)


def _answers(answer: bytes, greeting: bytes) -> bool | None:
    """Whether octets start with a choice that fits a greeting; None: too few to tell."""
    if answer[0] != 5:
        return False
    if len(answer) < 2:
        return None
    return answer[1] == Method.NO_ACCEPTABLE or answer[1] in greeting[2 : 2 + greeting[1]]


def _due(state: State) -> str:
    return "user name and password" if state is _AUTH else "request"
