"""Is it SOCKS? The weight of each frame while that is undecided.

Any port may speak SOCKS, and VER 05 or 04 proves nothing: DCE/RPC, Cassandra, DNP3, TDS and random octets start so
too. No protocol is excluded by name; the rules ask what SOCKS itself would say.

- A side opens SOCKS5 soundly with a greeting that offers at least one method, none twice, none from the range that
  IANA never assigned. It is SOCKS when the other side then answers with VER 05 and an offered method, or FF, and
  whatever else was sent by then fits as well.
- A side opens SOCKS4 soundly with a known command, a user id of printable characters and, for 4A, a host name of
  printable characters. It is SOCKS when the answer has VN 00 (or 04) and a known code. What is sound but for its end
  (the NUL, or 4A's name) is SOCKS as well when it is answered so.
- A client that offers no method at all is refused with FF: that and nothing else is SOCKS too.
- Everything less (no method or a method twice, a choice that was not offered, octets before the greeting) is doubtful:
  it is SOCKS only after a request and its reply, or an authentication and its answer, came without any fault.
- The first fault in an undecided dialogue makes it foreign, and so does an answer that comes before the opening was
  whole: DNP3's two sides both start 05 64, which would offer 100 methods and choose one before they were listed.

On a trusted port a sound opening alone is enough; one with octets before or behind it, or a doubtful one, needs only
a fitting answer.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..codec import GSSAPI_MESSAGES, AddressType, GssapiMessage, Method, Socks4Reply, Socks4Request
from .opening import printable, sound_methods
from .states import PROXY
from .steps import Step

UNDECIDED_OCTETS = 1100
"""Octets held of a side while undecided: preamble (64), greeting (257), user name and password (513) and request (262),
all ahead of the choice, come to 1,096."""

_HARMLESS = frozenset(("zero-port", "empty-credential", "domain-is-ip-literal", "domain-not-ascii", "odd-destination"))
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


def _as_sent(code: str, frame: Any) -> bool:
    """How programs do speak SOCKS4: with VN 04 in replies (which is no echo), with a second NUL before the name."""
    if isinstance(frame, Socks4Reply):
        return code == "bad-version" and frame.version == 4
    return code == "empty-domain" and isinstance(frame, Socks4Request)


def is_sound(step: Step) -> bool:
    """Whether a frame has nothing that a SOCKS program would not send."""
    frame = step.value
    for deviation in step.deviations:
        if deviation.code not in _HARMLESS and not _as_sent(deviation.code, frame):
            return False
    if step.fact == "greeting":
        return sound_methods(frame.methods)
    if step.fact == "request" and frame.version == 4:
        named = frame.destination.type == AddressType.DOMAIN
        return printable(frame.user) and (not named or printable(frame.destination.host))
    return not isinstance(frame, GssapiMessage) or frame.message_type in GSSAPI_MESSAGES
