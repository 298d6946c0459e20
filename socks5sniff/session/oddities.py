"""What is odd about a frame, beyond the deviations that its decoder saw: what needs the dialogue around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..codec import Address, AddressType, GssapiMessage, GssapiMessageType, Method
from .states import STATES, State
from .steps import SENDERS, Step

_AUTH = STATES["auth"]
_REQUEST = STATES["request"]
_ASSOCIATE_ANSWER = STATES["associate-answer"]
_ASSOCIATION = STATES["association"]

Oddity = tuple[str, str]
"""A code of the codec's ANOMALIES, and a line that says what exactly."""


def oddities(
    step: Step, state: State, methods: bytes | None, loopback: bool, own_address: Callable[[], str | None]
) -> Iterator[Oddity]:
    """The oddities of a frame that was read in `state`, the codec's own first.

    Args:
        methods: those offered, None when that was not seen.
        loopback: both ends are loopback addresses.
        own_address: gives the client's address, or None when it is not known.
    """
    yield from step.deviations
    frame = step.value
    if step.fact == "selection":
        if frame.method == Method.NO_ACCEPTABLE:
            yield "no-acceptable-method", "the proxy accepts none of the offered methods"
        elif frame.version == 5 and methods is not None and frame.method not in methods:
            yield "method-not-offered", f"the proxy chose 0x{frame.method:02x}, which was not offered"
    elif step.fact == "auth_request":
        if state is _REQUEST:
            yield "auth-unasked", "user name and password were sent although another method was chosen"
        if not loopback:
            yield "cleartext-credentials", "user name and password crossed in clear"
    elif step.fact == "auth_reply":
        if frame.status:
            yield "auth-failed", f"the proxy refused the credentials (status 0x{frame.status:02x})"
    elif step.fact == "request":
        if state is _AUTH:
            yield "bad-version", "a request came where user name and password were due"
        if step.next is _ASSOCIATE_ANSWER:
            yield from _associate(frame.destination, own_address)
    elif step.next is _ASSOCIATION:
        if frame.bound.is_unspecified:
            yield "bound-unspecified", f"the relay's address is {frame.bound.text}, which means the proxy's own"
    elif isinstance(frame, GssapiMessage):
        yield from _gssapi(frame, SENDERS[step.role])


def _associate(destination: Address, own_address: Callable[[], str | None]) -> Iterator[Oddity]:
    """DST of UDP ASSOCIATE is where the client sends from; zeros when it does not know."""
    if destination.type == AddressType.DOMAIN:
        yield "associate-names-target", "UDP ASSOCIATE for a domain name"
    elif not destination.is_unspecified:
        own = own_address()
        if own is not None and _plain(own) != _plain(destination.text):
            yield "associate-names-target", f"UDP ASSOCIATE for {destination.text}, but the client is {own}"


def _gssapi(message: GssapiMessage, sender: str) -> Iterator[Oddity]:
    if message.message_type == GssapiMessageType.ABORT:
        yield "auth-failed", f"the {sender} refused the GSSAPI security context"
    elif message.message_type == GssapiMessageType.PROTECTION_LEVEL and len(message.token) == 1:
        yield "gssapi-level-unprotected", "the protection level was sent unwrapped"


def _plain(address: str) -> str:
    """An IPv4-mapped IPv6 address is the IPv4 address."""
    return address.removeprefix("::ffff:")
