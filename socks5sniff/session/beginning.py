"""The beginning of a connection that does not simply begin with a whole greeting or SOCKS4 request.

A PROXY protocol header or other octets may come first (`opening` says who opens behind them); the first frame may come
in parts; and where the connection's start is not in the capture, the dialogue may yet be joined.
"""

from __future__ import annotations

from ..codec import (
    MAX_PROXY_HEADER,
    MAX_PROXY_LINE,
    Decoded,
    NeedMore,
    ProxyHeader,
    decode_proxy_header,
    starts_proxy_header,
)
from .detection import UNDECIDED_OCTETS
from .dialogue import Dialogue
from .held import Held, Run
from .opening import CHOICE_LENGTH, Foreign, Opening, could_open, find_client, looks_like_request, sound_so_far
from .states import STATES, State
from .steps import Step, whole_step

_GREETING = STATES["greeting"]
_REQUEST4 = STATES["request4"]
_CHOICE = STATES["choice"]
_AUTH = STATES["auth"]
_REQUEST = STATES["request"]


class Beginning:
    """Finds who opens the dialogue, and where.

    Attributes:
        preamble: octets of each side that precede the opening and are not SOCKS.
        proxy_header: the PROXY protocol header that side 0 began with, with its length.
        joining: while the dialogue may yet be joined after its greeting: what may be the proxy's choice, if it has
            come; else None.
    """

    __slots__ = ("_dialogue", "_mark", "joining", "preamble", "proxy_header")

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        # Octets of side 0 when side 1 last spoke: what side 0 says later can be an answer.
        self._mark = 0
        self.preamble = (0, 0)
        self.proxy_header: Decoded[ProxyHeader] | None = None
        self.joining: list[Run] | None = [] if dialogue.evidence.setting.midstream else None

    # From the connection's start

    def feed(self, side: int, octets: bytes, frame: int, time: int) -> bool:
        """Octets while nobody has opened; whether somebody has now."""
        dialogue = self._dialogue
        offset = dialogue.fed[side]
        dialogue.fed[side] = offset + len(octets)
        dialogue.evidence.first_frame = dialogue.evidence.first_frame or frame
        held = dialogue.hold(side, offset)
        limit = UNDECIDED_OCTETS
        if self._header_may_follow(held, octets):
            limit += MAX_PROXY_HEADER
        held.add(octets, frame, time, limit)
        return dialogue.held is not None and self._find(side, dialogue.held)

    def _find(self, side: int, both: tuple[Held, Held]) -> bool:
        """Whether somebody has opened, now that `side` has spoken."""
        if not self._read_proxy_header(both[0]):
            return False
        if side == 1:
            self._mark = len(both[0])
        if not len(both[side]):
            return False
        found = find_client((bytes(both[0].octets), bytes(both[1].octets)), side, self._mark)
        if isinstance(found, Foreign) or (found is None and both[side].cut):
            self._dialogue.be_foreign(found and found.name)
        elif found is not None:
            self._begin(found, both)
            return True
        return False

    def _begin(self, opening: Opening, both: tuple[Held, Held]) -> None:
        """Somebody opens, after octets that are not SOCKS or behind a PROXY protocol header."""
        dialogue = self._dialogue
        client, self.preamble = opening
        doubtful = self.proxy_header is None or self.preamble != (0, 0)
        dialogue.evidence.doubtful = doubtful
        if client == 0 and doubtful:
            message = f"{self.preamble[1]} octets of the proxy precede the greeting"
            dialogue.seen.note("server-spoke-first", both[1].source(0)[0], message)
            if both[1].octets == b"\5\0":
                # A selection before its time is the answer all the same.
                self.preamble = (0, 0)
        for held, length in zip(both, self.preamble, strict=True):
            held.drop(length)
        dialogue.open(client, both[client].octets[0])

    # A PROXY protocol header

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
            # Never whole: what is held is looked at as it is, and is foreign.
            return held.cut
        if isinstance(found, Decoded):
            header = ProxyHeader(found.frame.version, None, None) if held.lost > 0 else found.frame
            self._keep_proxy_header(header, found.length, held.completion(found.length)[0])
            held.drop(found.length)
        return True

    def _keep_proxy_header(self, header: ProxyHeader, length: int, frame: int) -> None:
        self.proxy_header = Decoded(header, length)
        stated = "no client" if header.source is None else f"{header.source} as the client"
        message = f"a PROXY protocol header of {length} octets came first and names {stated}"
        self._dialogue.seen.note("proxy-protocol", frame, message)

    def bridge(self, length: int, frame: int, time: int) -> bool:
        """Whether so many octets of side 0 that are missing are a PROXY protocol header's.

        A binary one says where it ends; a line is taken to end with the segment that was captured in part.
        """
        if self._dialogue.held is None or self.proxy_header is not None:
            return False
        held = self._dialogue.held[0]
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
        message = f"{length} octets of the PROXY protocol header are not in the capture"
        self._dialogue.seen.note("handshake-gap", frame, message)
        return True

    # A dialogue whose greeting is not in the capture

    def wait(self) -> bool:
        """Octets are missing before anybody opened: whether all that was said before them may be left out."""
        dialogue = self._dialogue
        if self.joining or (dialogue.held is not None and any(map(len, dialogue.held))):
            return False
        dialogue.held = None
        dialogue.evidence.gap = True
        self.joining = []
        return True

    def join(self, run: Run) -> list[Run]:
        """Join the dialogue where octets show where it stands: at the proxy's choice, or at a whole request.

        Gives the segments that are to be fed as any others, because they show no place to join at.
        """
        self._dialogue.fed[run.side] += len(run.octets)
        before = [] if self.joining is None else self.joining
        if not before and len(run.octets) == CHOICE_LENGTH and run.octets[0] == 5:
            before.append(run)
            return []
        self.joining = None
        runs = [*before, run]
        start = _CHOICE if before else _REQUEST
        steps: list[Step] = []
        state = start
        for expected in runs:
            step = whole_step(state, expected.octets) if state in (_CHOICE, _AUTH, _REQUEST) else None
            if step is None or step.deviations:
                break
            steps.append(step)
            state = step.next
        turns = before[0].side != run.side if before else all(step.fact == "request" for step in steps)
        if len(steps) < len(runs) or not turns or (steps[-1].fact == "request" and not looks_like_request(run.octets)):
            return self.give_up(runs)
        self._enter(start, list(zip(steps, runs, strict=True)))
        return []

    def _enter(self, state: State, said: list[tuple[Step, Run]]) -> None:
        dialogue = self._dialogue
        dialogue.evidence.joined = dialogue.evidence.doubtful = True
        dialogue.evidence.first_frame = said[0][1].frame
        dialogue.client_side = said[-1][1].side
        dialogue.state = state
        for step, (side, octets, frame, time) in said:
            dialogue.accept(step, frame, time, time, dialogue.fed[side] - len(octets), step.length, False)

    def give_up(self, runs: list[Run]) -> list[Run]:
        """What to feed again where nothing can be joined; behind a gap that is nothing that could be read."""
        self.joining = None
        if self._dialogue.evidence.gap:
            self._dialogue.be_foreign(None)
            return []
        for run in runs:
            self._dialogue.fed[run.side] -= len(run.octets)
        return runs


def begins_plainly(dialogue: Dialogue, side: int, octets: bytes) -> bool:
    """Whether the first octets of a connection are those of a SOCKS client, so that there is nothing to find.

    The TCP server's `05 00` may be a choice before its time.
    """
    return could_open(octets[0]) and (side == 0 or len(octets) > CHOICE_LENGTH) and not any(dialogue.fed)


def may_stand(dialogue: Dialogue) -> bool:
    """On a trusted port: whether what was seen to the end is a SOCKS client's doing, though not a sound opening."""
    evidence, held = dialogue.evidence, dialogue.held
    if evidence.joined and dialogue.request is not None:
        return True
    if evidence.gap or dialogue.client_side is None:
        return False
    if dialogue.state is _GREETING or dialogue.state is _REQUEST4:
        if held is None:
            return False
        asked = held[dialogue.client_side]
        return sound_so_far(bytes(asked.octets)) or (len(asked) > 8 and sound_so_far(asked.first_segment()))
    if dialogue.client_side == 1 and not dialogue.methods:
        return False  # rather a choice, in a capture that lacks the client's side
    # A greeting with odd methods or with more behind it, and nobody answered.
    if dialogue.state is not _CHOICE or held is None:
        return dialogue.state is _CHOICE
    asked, answered = held[dialogue.client_side], held[dialogue.client_side ^ 1]
    return not len(answered) and bytes(asked.octets[:1]) in (b"\1", b"\5")
