"""Faults a test proxy commits on demand: the table of their names, and what each does to a frame.

A fault is named on the command line as `NAME`, `NAME=VALUE` or, for the one conversation number N, `NAME=VALUE@N`.
Frames are named as the record names them (`method-selection`, `auth-reply`, `gssapi`, `reply`), and BIND's second
reply `peer-reply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from socks5sniff.codec import Address
from socks5sniff.errors import ExitCode, Socks5sniffError

FRAMES = ("method-selection", "auth-reply", "gssapi", "reply", "peer-reply")
STATES = ("accept", *FRAMES, "relay")
"""Where a proxy may end a conversation: on arrival, instead of a frame, or as soon as the relay is open."""


class FaultError(Socks5sniffError):
    """A fault is not understood."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one conversation; the default is none. Each field is explained in `FAULTS`."""

    reply: int | None = None
    method: int | None = None
    auth_status: int | None = None
    version: Mapping[str, int] = field(default_factory=dict)
    reserved: int = 0
    bound: Address | None = None
    segment: int = 0
    hold: float = 0.0
    delay: Mapping[str, float] = field(default_factory=dict)
    silent: str | None = None
    close: str | None = None
    reset: str | None = None
    before: Mapping[str, bytes] = field(default_factory=dict)
    after: Mapping[str, bytes] = field(default_factory=dict)
    junk_after_failure: bytes = b""
    length: Mapping[str, int] = field(default_factory=dict)
    late_close: float = 0.0
    udp_fragment: int = 0
    udp_reserved: int = 0
    udp_other_port: bool = False
    udp_no_header: bool = False
    udp_names_client: bool = False
    bound_port: int | None = None
    cut: Mapping[str, int] = field(default_factory=dict)

    def apply(self, frame: str, octets: bytes) -> bytes:
        """The octets of a frame as this proxy sends them."""
        changed = bytearray(octets)
        if frame in self.version:
            changed[0] = self.version[frame]
        if frame in ("reply", "peer-reply") and len(changed) > 4 and octets[0] == 5:
            changed[2] = self.reserved
            if frame in self.length and changed[3] == 3:
                changed[4] = self.length[frame] & 0xFF
        elif frame == "gssapi" and frame in self.length and len(changed) >= 4:
            changed[2:4] = self.length[frame].to_bytes(2, "big")
        return self.before.get(frame, b"") + bytes(changed) + self.after.get(frame, b"")


class Fault(NamedTuple):
    """One row of the table."""

    value: str
    """How its value is written behind the name; empty where it has none."""
    help: str
    set: Callable[[Faults, str], Faults]


def number(text: str, limit: int = 255) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not 0 <= value <= limit:
        raise ValueError(f"{text} is not within 0 to {limit}")
    return value


def octets(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"{text!r} is not octets in hexadecimal, as in 05ff") from None
    if not value:
        raise ValueError("no octets given")
    return value


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not 0 < value <= 3600:
        raise ValueError(f"{text} is not within 0 to 3600 seconds")
    return value


def address(text: str) -> Address:
    host, separator, port = text.rpartition(":")
    if not separator:
        raise ValueError(f"{text} is not HOST:PORT")
    return Address.from_text(host.removeprefix("[").removesuffix("]"), number(port, 65535))


def one_of(names: tuple[str, ...], text: str) -> str:
    if text not in names:
        raise ValueError(f"{text} is not one of {', '.join(names)}")
    return text


def setter(name: str, convert: Callable[[str], Any]) -> Callable[[Faults, str], Faults]:
    """A fault with one value."""
    return lambda faults, text: replace(faults, **{name: convert(text)})


def switch(name: str) -> Callable[[Faults, str], Faults]:
    """A fault without a value."""

    def change(faults: Faults, text: str) -> Faults:
        if text:
            raise ValueError("it takes no value")
        changes: dict[str, Any] = {name: True}
        return replace(faults, **changes)

    return change


def per_frame(name: str, convert: Callable[[str], Any]) -> Callable[[Faults, str], Faults]:
    """A fault with a value for each frame: `FRAME:VALUE`, repeatable."""

    def change(faults: Faults, text: str) -> Faults:
        frame, _, value = text.partition(":")
        known = dict(getattr(faults, name))
        known[one_of(FRAMES, frame)] = convert(value)
        changes: dict[str, Any] = {name: known}
        return replace(faults, **changes)

    return change


def long_refusal(faults: Faults, text: str) -> Faults:
    return replace(faults, method=0xFF, after={**faults.after, "method-selection": bytes((0, 1, 0, 0, 0, 0, 0, 0))})


FAULTS: dict[str, Fault] = {
    "reply": Fault("=CODE", "answer the request with this reply code, without trying it", setter("reply", number)),
    "method": Fault("=CODE", "choose this method, offered or not", setter("method", number)),
    "auth-refuse": Fault(
        "[=STATUS]",
        "refuse user name and password (STATUS 1 unless given)",
        lambda faults, text: replace(faults, auth_status=number(text or "1")),
    ),
    "version": Fault("=FRAME:CODE", "wrong VER in a frame", per_frame("version", number)),
    "reserved": Fault("=CODE", "RSV of replies", setter("reserved", number)),
    "bound": Fault(
        "=HOST:PORT",
        "BND of replies: an address or a name; port 0 keeps a UDP relay's",
        setter("bound", address),
    ),
    "segment": Fault(
        "[=OCTETS]",
        "every frame in segments of so many octets (1 unless given)",
        lambda faults, text: replace(faults, segment=max(1, number(text or "1", 65535))),
    ),
    "hold": Fault(
        "[=SECONDS]",
        "all frames in one segment, held back until the reply, or so long (0.2) after the first",
        lambda faults, text: replace(faults, hold=seconds(text or "0.2")),
    ),
    "delay": Fault("=FRAME:SECONDS", "wait before a frame", per_frame("delay", seconds)),
    "silent": Fault("=FRAME", "never send this frame", setter("silent", lambda text: one_of(FRAMES, text))),
    "close": Fault("=STATE", "close at this state", setter("close", lambda text: one_of(STATES, text))),
    "reset": Fault("=STATE", "reset (RST) at this state", setter("reset", lambda text: one_of(STATES, text))),
    "before": Fault("=FRAME:HEX", "octets in front of a frame: data before the reply", per_frame("before", octets)),
    "after": Fault("=FRAME:HEX", "octets behind a frame: a reply longer than it should be", per_frame("after", octets)),
    "long-refusal": Fault("", "refuse all methods, with eight octets too many", long_refusal),
    "junk-after-failure": Fault("=HEX", "octets after a failure reply", setter("junk_after_failure", octets)),
    "length": Fault(
        "=FRAME:OCTETS",
        "the length field of a frame lies: of a name in BND (with bound=NAME:PORT), of a GSSAPI token",
        per_frame("length", lambda text: number(text, 65535)),
    ),
    "late-close": Fault("=SECONDS", "keep open so long after a failure", setter("late_close", seconds)),
    "udp-fragment": Fault(
        "=OCTETS",
        "send relayed datagrams to the client in fragments of so many octets",
        setter("udp_fragment", lambda text: max(1, number(text, 65535))),
    ),
    "udp-reserved": Fault(
        "=CODE", "RSV of relayed datagrams", setter("udp_reserved", lambda text: number(text, 65535))
    ),
    "udp-other-port": Fault(
        "", "relayed datagrams reach the client from another port than BND's", switch("udp_other_port")
    ),
    "udp-no-header": Fault("", "relayed datagrams reach the client without a header", switch("udp_no_header")),
    "udp-names-client": Fault(
        "", "the header of relayed datagrams names the client, not their sender", switch("udp_names_client")
    ),
    "bound-port": Fault(
        "=PORT", "BND's port, a UDP relay's included", setter("bound_port", lambda text: number(text, 65535))
    ),
    "cut": Fault(
        "=FRAME:OCTETS",
        "close after so many octets of a frame",
        per_frame("cut", lambda text: number(text, 65535)),
    ),
}


def parse_faults(arguments: Iterable[str]) -> Callable[[int], Faults]:
    """The faults of each conversation from `NAME[=VALUE][@N]` arguments. Raises FaultError with what is wrong."""
    everyone = Faults()
    single: dict[int, list[tuple[Fault, str]]] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        target = value if value else name
        target, at, conversation = target.rpartition("@")
        if at:
            name, value = (name, target) if value else (target, "")
        fault = FAULTS.get(name)
        if fault is None:
            raise FaultError(f"no fault is called {name!r}; see socks5sniff proxy --list-faults")
        try:
            if at:
                fault.set(Faults(), value)
                single.setdefault(number(conversation, 2**31), []).append((fault, value))
            else:
                everyone = fault.set(everyone, value)
        except ValueError as error:
            raise FaultError(f"fault {argument!r}: {error}; {name}{fault.value}: {fault.help}") from error

    def choose(conversation: int) -> Faults:
        faults = everyone
        for fault, value in single.get(conversation, ()):
            faults = fault.set(faults, value)
        return faults

    return choose
