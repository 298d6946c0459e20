"""Dialogues in octets, written by hand, and how to play them into a session.

A script is one line for each segment: `C` or `P` (who sends, by SOCKS role) and the octets in hexadecimal, or text in
quotes. Segments are numbered from 1, and the n-th comes at n microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from socks5sniff.session import Session

Segment = tuple[int, bytes]
"""Role (0 client, 1 proxy) and octets."""


def segments(script: str) -> list[Segment]:
    """The segments of a script."""
    found = []
    for line in script.strip().splitlines():
        who, _, rest = line.strip().partition(" ")
        octets = b""
        while rest := rest.strip():
            if rest[0] == '"':
                text, _, rest = rest[1:].partition('"')
                octets += text.encode()
            else:
                word, _, rest = rest.partition(" ")
                octets += bytes.fromhex(word)
        found.append(({"C": 0, "P": 1}[who], octets))
    return found


def play(
    script: str | list[Segment],
    client: int = 0,
    trusted: bool = False,
    loopback: bool = False,
    address: str | None = None,
) -> Session:
    """A session that has seen the script, with the client on TCP side `client`."""
    given = segments(script) if isinstance(script, str) else script
    session = Session(trusted, loopback, None if address is None else (address, address))
    for number, (role, octets) in enumerate(given, 1):
        session.feed(role ^ client, octets, number, number * 1000)
    return session


def codes(session: Session) -> list[tuple[str, int]]:
    """Anomalies as (code, frame), in order of frames."""
    return sorted(((anomaly.code, anomaly.frame) for anomaly in session.anomalies), key=lambda pair: pair[::-1])


def summaries(session: Session) -> list[str]:
    return [frame.summary for frame in session.frames]


def facts(session: Session) -> dict[str, object]:
    """All that a record takes from a session but frame numbers, times and anomalies."""
    names = (
        "verdict", "protocol", "phase", "methods", "method", "username", "password", "authenticated", "command",
        "destination", "reply", "bound", "peer_reply", "peer", "relay", "tunnel_start", "done", "malformed", "foreign",
        "enclosed",
    )  # fmt: skip
    found: dict[str, object] = {"outcome": session.outcome()}
    found.update((name, getattr(session, name)) for name in names)
    found["frames"] = [(frame.sender, frame.type, frame.offset, frame.length, frame.value) for frame in session.frames]
    return found


# Whole dialogues, each message a line, in the order in which they must be said.

CONNECT_BY_NAME = """
    C 05 01 00
    P 05 00
    C 05 01 00 03 0b "example.com" 01bb
    P 05 00 00 01 0a000001 1267
"""
PASSWORD = """
    C 05 02 00 02
    P 05 02
    C 01 03 "bob" 05 "alice"
    P 01 00
    C 05 01 00 01 c0000209 0016
    P 05 00 00 04 20010db8000000000000000000000001 0016
"""
BIND = """
    C 05 01 00
    P 05 00
    C 05 02 00 01 c0000209 0015
    P 05 00 00 01 c6336401 2710
    P 05 00 00 01 c0000209 0014
"""
ASSOCIATE = """
    C 05 01 00
    P 05 00
    C 05 03 00 01 00000000 0000
    P 05 00 00 01 c6336401 2711
"""
RESOLVE = """
    C 05 01 00
    P 05 00
    C 05 f0 00 03 0b "example.com" 0000
    P 05 00 00 01 5db8d822 0000
"""
REFUSED_CONNECTION = """
    C 05 01 00
    P 05 00
    C 05 01 00 01 c0000209 0050
    P 05 05 00 01 00000000 0000
"""
GSSAPI_IN_CLEAR = """
    C 05 01 01
    P 05 01
    C 01 01 0003 aabbcc
    P 01 01 0002 ddee
    C 01 02 0004 01020304
    P 01 02 0004 05060708
    C 05 01 00 01 c0000209 0050
    P 05 00 00 01 00000000 0000
"""
GSSAPI_SEALED = """
    C 05 01 01
    P 05 01
    C 01 01 0003 aabbcc
    P 01 01 0002 ddee
    C 01 02 0004 01020304
    P 01 02 0004 05060708
    C 01 03 0004 0a0b0c0d
    P 01 03 0004 0e0f1011
"""
GSSAPI_OPENED = "\n".join(GSSAPI_SEALED.strip().splitlines()[:6])


def wrapped(plain: bytes, sealed: bool = False, rotation: int = 0) -> bytes:
    """A wrap token of RFC 4121 s4.2.6.2 with a checksum of twelve octets."""
    body = plain + bytes(range(0xA0, 0xAC))
    turn = rotation % len(body)
    body = body[len(body) - turn :] + body[: len(body) - turn]
    return b"\5\4" + bytes((2 if sealed else 0, 0xFF)) + struct.pack(">HHQ", 12, rotation, 1) + body


def wrapped_before(plain: bytes) -> bytes:
    """A wrap token of RFC 1964 s1.2.2, with DES checksum, in RFC 2743's framing."""
    padding = 8 - len(plain) % 8
    token = bytes.fromhex("02010000ffffffff") + bytes(24) + plain + bytes((padding,)) * padding
    token = bytes.fromhex("06092a864886f712010202") + token
    return b"\x60\x82" + struct.pack(">H", len(token)) + token


def user_data(token: bytes) -> bytes:
    """A frame of RFC 1961 s5 with a token."""
    return struct.pack(">BBH", 1, 3, len(token)) + token


def enclosed(script: str, wrap: Callable[[bytes], bytes] = wrapped) -> str:
    """A GSSAPI dialogue in which each message of the script is a token of its own."""
    said = [f"{'CP'[role]} {user_data(wrap(octets)).hex()}" for role, octets in segments(script)]
    return "\n".join([GSSAPI_OPENED, *said])


def after_choice(script: str) -> str:
    """A dialogue without method negotiation: from the request on."""
    return "\n".join(script.strip().splitlines()[2:])


GSSAPI_CONNECT = enclosed(after_choice(CONNECT_BY_NAME) + '\n C "GET /" \n P "HTTP/1"')
GSSAPI_CONNECT_BEFORE = enclosed(after_choice(CONNECT_BY_NAME) + '\n P "SSH-2.0-x"', wrapped_before)
GSSAPI_BIND = enclosed(after_choice(BIND))
GSSAPI_ASSOCIATE = enclosed(after_choice(ASSOCIATE))
GSSAPI_REJECTED = enclosed(after_choice(REFUSED_CONNECTION))
SOCKS4 = """
    C 04 01 0050 5db8d822 "fred" 00
    P 00 5a 0000 00000000
"""
SOCKS4A = """
    C 04 01 01bb 00000001 "fred" 00 "example.com" 00
    P 00 5a 1267 0a000001
"""
SOCKS4_BIND = """
    C 04 02 0015 c0000209 00
    P 00 5a 2710 c6336401
    P 00 5a 0014 c0000209
"""
SOCKS4_REJECTED = """
    C 04 01 0050 5db8d822 00
    P 00 5b 0000 00000000
"""

DIALOGUES = {
    "connect": CONNECT_BY_NAME,
    "password": PASSWORD,
    "bind": BIND,
    "associate": ASSOCIATE,
    "resolve": RESOLVE,
    "refused connection": REFUSED_CONNECTION,
    "gssapi in clear": GSSAPI_IN_CLEAR,
    "gssapi sealed": GSSAPI_SEALED,
    "gssapi connect": GSSAPI_CONNECT,
    "gssapi connect, older tokens": GSSAPI_CONNECT_BEFORE,
    "gssapi bind": GSSAPI_BIND,
    "gssapi associate": GSSAPI_ASSOCIATE,
    "gssapi rejected": GSSAPI_REJECTED,
    "socks4": SOCKS4,
    "socks4a": SOCKS4A,
    "socks4 bind": SOCKS4_BIND,
    "socks4 rejected": SOCKS4_REJECTED,
}
