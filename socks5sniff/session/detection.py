"""Is it SOCKS? Evidence that octets give, before and while the machine reads them.

Any port may speak SOCKS, and VER 05 or 04 proves nothing: DCE/RPC, Cassandra, DNP3, TDS and random octets start so
too. No protocol is excluded by name; the rules ask what SOCKS itself would say.

- A side opens SOCKS5 soundly with a greeting that offers at least one method, none twice, none from the range that
  IANA never assigned. It is SOCKS when the other side then answers with VER 05 and an offered method, or FF, and
  whatever else was already sent fits as well.
- A side opens SOCKS4 soundly with a known command, a user id of printable characters and, for 4A, a host name of
  printable characters. It is SOCKS when the answer has VN 00 and a known code.
- Everything less (no method or a method twice, a choice that was not offered, octets before the greeting) is doubtful:
  it is SOCKS only after a request and its reply, or an authentication and its answer, came without any fault.
- The first fault in a doubtful dialogue makes it foreign, and so does an answer that comes before the question was
  complete: DNP3's two sides both start 05 64, which would offer 100 methods and choose one before they were listed.

On a trusted port a sound opening is enough, and a doubtful one needs only a fitting answer.
"""

from __future__ import annotations

from .steps import Step

PREAMBLE_LIMIT = 64
"""Octets of each side that may precede the greeting where the SOCKS client is the TCP server: such proxies call back
to a controller and may say who they are first. Longer talk is another protocol."""

UNDECIDED_OCTETS = 1100
"""Octets held of a side that sent more than it was its turn to, while undecided: preamble, greeting (257 octets),
user name and password (513) and request (262), all ahead of the choice, come to 1096."""

SOUND_METHODS = frozenset((0, 1, 2, 3, 5, 6, 7, 8, 9, *range(0x80, 0xFF)))
"""Assigned and private methods. FF is no method to offer."""

_HARMLESS = frozenset(("zero-port", "empty-credential", "domain-is-ip-literal", "domain-not-ascii"))
"""Deviations that say nothing about whether this is SOCKS."""

_SOCKS4_COMMANDS = (b"", b"\x01", b"\x02", b"\xf0", b"\xf1")

_HTTP = tuple(
    f"{word} ".encode()
    for word in ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI")
)


def could_open(first_octet: int) -> bool:
    """Whether a SOCKS client's first octet can be this."""
    return first_octet in (4, 5)


def plausible_opening(octets: bytes, side: int = 0) -> bool | None:
    """What the first octets of a direction say, on a port nobody named.

    Args:
        octets: what `side` sent before the other side answered, or the first of it.
        side: 0 for the side that opened the TCP connection.

    Returns:
        False: no SOCKS conversation starts so, neither as its client nor as its proxy. True: a sound SOCKS opening.
        None: it may become one, so a Session has to tell: an opening not complete or doubtful, or so few octets that
        they may precede the greeting of a conversation in which the TCP server is the client.
    """
    if not octets:
        return None
    if octets[0] == 5:
        return _plausible_greeting(octets)
    if octets[0] == 4:
        return _plausible_request4(octets)
    if len(octets) <= PREAMBLE_LIMIT:
        return None if foreign_name(octets) is None else False
    return None if side == 1 and find_greeting(octets) is not None else False


def _plausible_greeting(octets: bytes) -> bool | None:
    if len(octets) < 2:
        return None
    methods = octets[2 : 2 + octets[1]]
    rest = octets[2 + octets[1] :]
    if rest and rest[0] not in (1, 5):
        # What is pipelined behind a greeting is a request or a sub-negotiation; private methods may have any.
        return None if any(method >= 0x80 for method in methods) else False
    return True if methods and len(methods) == octets[1] and sound_methods(methods) else None


def _plausible_request4(octets: bytes) -> bool | None:
    if len(octets) < 2:
        return None
    if octets[1:2] not in _SOCKS4_COMMANDS:
        return False
    user, end, _ = octets[8:].partition(b"\0")
    if not printable(user):
        return False
    return True if end else None


def sound_methods(methods: bytes) -> bool:
    """Whether a client that means SOCKS would list these: no method twice, none that was never assigned."""
    return SOUND_METHODS.issuperset(methods) and len(set(methods)) == len(methods)


def sound_so_far(octets: bytes) -> bool:
    """Whether the beginning of an opening, not whole yet, has nothing that a SOCKS client would not send."""
    if octets[0] == 5:
        return sound_methods(octets[2:])
    return octets[1:2] in _SOCKS4_COMMANDS and printable(octets[8:].partition(b"\0")[0])


def printable(text: bytes) -> bool:
    """Whether octets could be a user id or host name: no control characters."""
    return not text or (min(text) >= 0x20 and 0x7F not in text)


def is_sound(step: Step) -> bool:
    """Whether a frame has nothing that a SOCKS program would not send."""
    for deviation in step.deviations:
        if deviation.code not in _HARMLESS:
            return False
    frame = step.value
    fact = step.fact
    if fact == "greeting":
        return sound_methods(frame.methods)
    if fact == "request" and frame.version == 4:
        return printable(frame.user) and (frame.destination.type != 3 or printable(frame.destination.host))
    return bool(frame.version == step.row.version)


def find_greeting(octets: bytes) -> int | None:
    """The offset, at most PREAMBLE_LIMIT, of the first sound greeting that ends the octets or has a request or a
    sub-negotiation behind it; None when there is none."""
    at = octets.find(5, 0, PREAMBLE_LIMIT + 1)
    while at >= 0:
        head = octets[at + 1 : at + 2]
        end = at + 2 + head[0] if head else 0
        whole = bool(head) and head[0] > 0 and len(octets) >= end
        if whole and sound_methods(octets[at + 2 : end]) and octets[end : end + 1] in (b"", b"\1", b"\5"):
            return at
        at = octets.find(5, at + 1, PREAMBLE_LIMIT + 1)
    return None


def could_hold_greeting(octets: bytes) -> bool:
    """Whether a greeting may begin within the first PREAMBLE_LIMIT octets, or octets to come."""
    return len(octets) <= PREAMBLE_LIMIT or octets.find(5, 0, PREAMBLE_LIMIT + 1) >= 0


def foreign_name(octets: bytes) -> str | None:
    """The protocol that octets at the start of a direction show; None when it is none of those worth a name."""
    if octets[:1] == b"\x06":
        return "SOCKS6"
    if octets[:2] == b"\x16\x03":
        return "TLS"
    if octets.startswith(b"SSH-"):
        return "SSH"
    if octets.startswith(_HTTP) or octets.startswith(b"HTTP/"):
        return "HTTP"
    return None
