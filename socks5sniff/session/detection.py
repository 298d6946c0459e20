"""Is it SOCKS? The weight of each frame while that is undecided.

Any port may speak SOCKS, and VER 05 or 04 proves nothing: DCE/RPC, Cassandra, DNP3, TDS and random octets start so
too. No protocol is excluded by name; the rules ask what SOCKS itself would say.

- A side opens SOCKS5 soundly with a greeting that offers at least one method, none twice, none from the range that
  IANA never assigned. It is SOCKS when the other side then answers with VER 05 and an offered method, or FF, and
  whatever else was sent by then fits as well.
- A side opens SOCKS4 soundly with a known command, a user id of printable characters and, for 4A, a host name of
  printable characters. It is SOCKS when the answer has VN 00 and a known code.
- Everything less (no method or a method twice, a choice that was not offered, octets before the greeting) is doubtful:
  it is SOCKS only after a request and its reply, or an authentication and its answer, came without any fault.
- The first fault in an undecided dialogue makes it foreign, and so does an answer that comes before the opening was
  whole: DNP3's two sides both start 05 64, which would offer 100 methods and choose one before they were listed.

On a trusted port a sound opening alone is enough; one with octets before or behind it, or a doubtful one, needs only
a fitting answer.
"""

from __future__ import annotations

from enum import Enum

from ..codec import GSSAPI_MESSAGES, AddressType, GssapiMessage, Method
from .opening import printable, sound_methods
from .states import PROXY
from .steps import Step

UNDECIDED_OCTETS = 1100
"""Octets held of a side while undecided: preamble (64), greeting (257), user name and password (513) and request (262),
all ahead of the choice, come to 1,096."""

_HARMLESS = frozenset(("zero-port", "empty-credential", "domain-is-ip-literal", "domain-not-ascii"))
"""Deviations that say nothing about whether this is SOCKS."""


class Weight(Enum):
    """What a frame says."""

    NOTHING = 0
    DOUBTFUL = 1
    """More has to follow than would do otherwise."""
    FITS = 2
    """It is SOCKS, unless octets that have already come contradict."""
    FOREIGN = 3
    """It is not."""


def weigh(step: Step, doubtful: bool, trusted: bool, methods: bytes | None) -> Weight:
    """The weight of a frame in an undecided dialogue.

    Args:
        doubtful: a frame before it was DOUBTFUL, or octets of another kind preceded.
        trusted: SOCKS is expected on this port.
        methods: those offered; None when that was not seen whole.
    """
    sound = step.sound
    if sound is None:
        sound = step.sound = is_sound(step)
    if step.fact == "greeting":
        if not sound:
            return Weight.DOUBTFUL
        return Weight.FITS if trusted and not doubtful else Weight.NOTHING
    if step.fact == "request" and step.row.version == 4:
        if sound:
            return Weight.FITS if trusted and not doubtful else Weight.NOTHING
        return Weight.DOUBTFUL if trusted else Weight.FOREIGN
    if not sound:
        return Weight.FOREIGN
    if step.fact == "selection":
        chosen = step.value.method
        fits = methods is None or chosen == Method.NO_ACCEPTABLE or chosen in methods
        return Weight.FITS if fits and (trusted or not doubtful) else Weight.DOUBTFUL
    return Weight.FITS if step.role == PROXY else Weight.NOTHING


def is_sound(step: Step) -> bool:
    """Whether a frame has nothing that a SOCKS program would not send."""
    for deviation in step.deviations:
        if deviation.code not in _HARMLESS:
            return False
    frame = step.value
    if step.fact == "greeting":
        return sound_methods(frame.methods)
    if step.fact == "request" and frame.version == 4:
        named = frame.destination.type == AddressType.DOMAIN
        return printable(frame.user) and (not named or printable(frame.destination.host))
    return not isinstance(frame, GssapiMessage) or frame.message_type in GSSAPI_MESSAGES
