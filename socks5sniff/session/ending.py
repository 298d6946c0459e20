"""What a dialogue's end makes of the octets that were still held."""

from __future__ import annotations

from .dialogue import Dialogue
from .facts import HalfFrame
from .opening import looks_like_request
from .states import CLIENT, STATES
from .steps import Step, decode_step

_CHOICE = STATES["choice"]
_REQUEST = STATES["request"]
_UNASKED = STATES["unasked"]


def read_unanswered_request(dialogue: Dialogue) -> None:
    """A request behind the greeting where no answer came: the proxy was silent, or its side is not captured."""
    if dialogue.state not in (_CHOICE, _UNASKED) or dialogue.held is None or dialogue.client_side is None:
        return
    held = dialogue.held[dialogue.client_side]
    octets = bytes(held.octets)
    if looks_like_request(octets):
        step = decode_step(_REQUEST, CLIENT, octets)
        if isinstance(step, Step):
            offset, started = held.start, held.source(0)[1]
            last, time = held.source(step.length - 1)
            held.drop(step.length)
            dialogue.accept(step, last, time, started, offset, step.length, False)


def find_half_frame(dialogue: Dialogue) -> HalfFrame | None:
    """What was held of a frame when the dialogue ended; None where all ended with a whole frame or with a gap."""
    if dialogue.held is None or dialogue.client_side is None or dialogue.state.final or dialogue.evidence.gap:
        return None
    found = None
    for role, row in enumerate(dialogue.state.rows):
        side = dialogue.client_side ^ role
        held = dialogue.held[side]
        if row is not None and row.decode is not None and len(held) and not held.cut:
            found = dialogue.half_frame(row, side, held)
    return found
