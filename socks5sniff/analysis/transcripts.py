"""Handshakes that were heard before: the same octets but for addresses and credentials, decoded once.

A regular handshake is greeting, selection, perhaps one username/password round, CONNECT request and success reply,
each exactly one segment, taking turns. Clients and proxies repeat theirs to the octet, except for DST, BND, user name
and password. What a session found in the first such handshake (its shape) holds for all that have the same octets
around well-formed ones, so no session is needed for them. Anything else goes through a session.
"""

from __future__ import annotations

from dataclasses import replace

from socks5sniff.codec import (
    Address,
    Command,
    Decoded,
    command_name,
    decode_auth_request,
    decode_reply,
    decode_request,
    decode_text,
    method_name,
    reply_name,
    socks4_reply_name,
)
from socks5sniff.record import MASKED_PASSWORD, ReplyCode, Target
from socks5sniff.record.regular import Regular, Shape
from socks5sniff.session import Session, Verdict

from .anomalies import anomaly

MAX_SHAPES = 4096
"""Shapes remembered, about 2 kB each: a few per client program in practice."""

Key = tuple[bytes | int, ...]


Segment = tuple[int, bytes, int, int]
"""Side, octets, frame number and time (ns) of one segment."""

TRUSTED, LOOPBACK = 1, 2

SELECTED_NONE = b"\5\0"
SELECTED_PASSWORD = b"\5\2"


def shape_of(session: Session) -> Shape:
    """The constant part of what a session has found so far."""
    code = session.reply
    name = "" if code is None else socks4_reply_name(code) if session.socks4 else reply_name(code)
    return Shape(
        protocol=session.protocol,
        client_side=session.client_side,
        phase=session.phase,
        outcome="malformed" if session.verdict is Verdict.FOREIGN else session.outcome(ended=False) or "incomplete",
        methods=None if session.methods is None else [method_name(method) for method in session.methods],
        method=None if session.method is None else method_name(session.method),
        username=None if session.username is None else decode_text(session.username),
        password=None if session.password is None else decode_text(session.password),
        authenticated=session.authenticated,
        command=None if session.command is None else command_name(session.command),
        reply=None if code is None else ReplyCode(code, name),
    )


def target(address: Address) -> Target:
    """An address of the codec as the record shows it."""
    return Target(address.type_name, address.text, address.port)


def expected_length(seen: list[Segment]) -> int:
    """How many segments the regular handshake that begins so has; 0 when this is none."""
    side, octets, _, _ = seen[-1]
    place = len(seen) - 1
    if side != place & 1:
        return 0
    if place == 1:
        return 4 if octets == SELECTED_NONE else 6 if octets == SELECTED_PASSWORD else 0
    return -1 if place == 0 and octets[:1] == b"\5" else 0


class Transcripts:
    """The shapes of regular handshakes, by their octets.

    Args:
        show_passwords: let handshakes hold passwords instead of a mask.
    """

    def __init__(self, show_passwords: bool = False) -> None:
        self.shapes: dict[Key, Shape] = {}
        self._show_passwords = show_passwords

    def find(self, seen: list[Segment], context: int) -> Regular | Key | None:
        """Look a complete regular handshake up.

        Args:
            seen: its segments, as many as `expected_length` says.
            context: what else a session's findings depend on: TRUSTED port, LOOPBACK.

        Returns:
            The handshake; or the key to `learn` it by, when its shape is new; or None when it is not regular.
        """
        if any(segment[0] != place & 1 for place, segment in enumerate(seen)):
            return None
        asked, answered = seen[-2][1], seen[-1][1]
        request = decode_request(asked)
        if type(request) is not Decoded or request.deviations or request.length != len(asked):
            return None
        reply = decode_reply(answered)
        if type(reply) is not Decoded or reply.deviations or reply.length != len(answered):
            return None
        if request.frame.command != Command.CONNECT or reply.frame.code:
            return None
        key: Key = (seen[0][1], seen[1][1], asked[3], answered[3], context)
        username = password = None
        if len(seen) == 6:
            login = self.login(seen[2][1])
            if login is None:
                return None
            username, password = login
            key = (*key, seen[3][1])
        shape = self.shapes.get(key)
        if shape is None:
            return key
        _, octets, frames, times = zip(*seen, strict=True)
        lengths = [len(frame) for frame in octets]
        destination, bound = target(request.frame.destination), target(reply.frame.bound)
        return Regular(shape, destination, bound, username, password, list(frames), list(times), lengths)

    def login(self, octets: bytes) -> tuple[str, str] | None:
        """User name and password, as the record shows them, of a request in which the codec finds nothing odd."""
        login = decode_auth_request(octets)
        if type(login) is not Decoded or login.deviations or login.length != len(octets):
            return None
        password = decode_text(login.frame.password) if self._show_passwords else MASKED_PASSWORD
        return decode_text(login.frame.username), password

    def study(self, key: Key, seen: list[Segment], context: int) -> Shape | None:
        """`learn` what a session finds in a handshake; see `find` for the arguments."""
        session = Session(bool(context & TRUSTED), bool(context & LOOPBACK))
        for side, octets, frame, time in seen:
            session.feed(side, octets, frame, time)
        self.learn(key, seen, session)
        return self.shapes.get(key)

    def learn(self, key: Key, seen: list[Segment], session: Session) -> None:
        """Remember what a session that was fed exactly `seen` has found, if it found one frame in each segment."""
        frames = session.frames
        regular = (
            session.verdict is Verdict.SOCKS
            and session.relay
            and len(frames) == len(seen)
            and all(
                frame.frame == segment[2] and frame.length == len(segment[1]) and not frame.damaged
                for frame, segment in zip(frames, seen, strict=True)
            )
            and session.destination is not None
            and session.bound is not None
        )
        if not regular:
            return
        assert session.destination is not None
        assert session.bound is not None
        shape = shape_of(session)
        request_words, request_address = frames[-2].summary, str(target(session.destination))
        reply_words, reply_address = frames[-1].summary, str(target(session.bound))
        login_words, login = (frames[2].summary, shape.username or "") if len(frames) == 6 else ("", "")
        places = {frame.frame: place for place, frame in enumerate(frames)}
        if (
            not request_words.endswith(request_address)
            or not reply_words.endswith(reply_address)
            or not login_words.endswith(login)
            or any(entry.frame not in places for entry in session.anomalies)
        ):
            return
        if len(self.shapes) >= MAX_SHAPES:
            self.shapes.clear()
        words = [frame.summary for frame in frames]
        words[-2:] = request_words.removesuffix(request_address), reply_words.removesuffix(reply_address)
        if len(frames) == 6:
            words[2] = login_words.removesuffix(login)
        found = [anomaly(entry.code, places[entry.frame], entry.message) for entry in session.anomalies]
        self.shapes[key] = replace(
            shape,
            frames=tuple((frame.sender, frame.type, begun) for frame, begun in zip(frames, words, strict=True)),
            anomalies=tuple(sorted(found, key=lambda entry: entry[2])),
        )
