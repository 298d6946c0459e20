"""From what was observed to the record: the last step, and the only place where facts get their names."""

from __future__ import annotations

from typing import NamedTuple

from socks5sniff.codec import reply_name, socks4_reply_name
from socks5sniff.record import (
    MASKED_PASSWORD,
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    ReplyCode,
    Target,
    Timing,
    Traffic,
)
from socks5sniff.session import Session, SessionFrame

from .anomalies import anomaly
from .connection import Connection
from .transcripts import Regular, shape_of, target

LATE_CLOSE = 10_000_000_000
"""Nanoseconds after a failure by which the proxy must have closed (RFC 1928 s6)."""

_FAILURES = frozenset({"rejected", "auth-failed", "no-acceptable-method"})


class FlowFacts(NamedTuple):
    """What the flow table knows of one connection, as plain values."""

    capture: str
    start: int
    end: int
    first_frame: int
    last_frame: int
    packets: int
    opener: Endpoint
    responder: Endpoint
    opener_known: bool
    tcp_handshake: float | None
    close: str
    closer: int | None
    """Side of the first FIN or RST."""
    community_id: str
    passed: tuple[int, int]
    """Octets per side, from the start of its stream."""
    now: int
    """Time the capture has reached, ns."""


class _Dialogue(NamedTuple):
    """The varying part of what was said: addresses, frames, times."""

    destination: Target | None
    bound: Target | None
    peer_reply: ReplyCode | None
    peer: Target | None
    frames: list[FrameEntry]
    anomalies: list[AnomalyEntry]
    timing: Timing
    starts: tuple[int, int]
    """Per side, where in its stream the tunnel begins."""


def build(connection: Connection, flow: FlowFacts, show_passwords: bool) -> Conversation:
    """The record of a finished connection."""
    regular = connection.regular
    if regular is not None:
        shape, _, _, username, password = regular
        dialogue = _regular(connection, regular, flow.tcp_handshake)
    else:
        assert connection.session is not None
        shape = shape_of(connection.session)
        username, password = shape.username, shape.password
        dialogue = _observed(connection, connection.session, flow.tcp_handshake)
    destination, bound, peer_reply, peer, frames, anomalies, timing, starts = dialogue
    side = shape.client_side or 0
    client, proxy = (flow.responder, flow.opener) if side else (flow.opener, flow.responder)
    association = connection.association
    traffic = None
    if association is not None:
        frames += sorted(association.frames)
        anomalies += association.anomalies
    elif connection.relaying:
        sent, received = flow.passed[side] - starts[side], flow.passed[1 - side] - starts[1 - side]
        traffic = Traffic(max(sent, 0), max(received, 0))
    _add_flow_anomalies(anomalies, connection, flow, shape.outcome, frames)
    return Conversation(
        connection.conversation_id,
        None,
        flow.capture,
        shape.protocol,
        client,
        proxy,
        side == 1 and flow.opener_known,
        flow.start,
        flow.end,
        shape.phase,
        shape.outcome,
        shape.methods,
        shape.method,
        username,
        password if password is None or show_passwords else MASKED_PASSWORD,
        shape.authenticated,
        shape.command,
        destination,
        shape.reply,
        bound,
        peer_reply,
        peer,
        connection.tunnel,
        traffic,
        None if association is None else association.traffic(),
        timing,
        flow.close,
        # `closer` and `side` are both TCP sides, so the client closed when they are the same.
        None if flow.closer is None else "client" if flow.closer == side else "proxy",
        flow.packets,
        connection.stream,
        flow.community_id,
        None if destination is None else "remote" if destination.type == "domain" else "address",
        flow.first_frame,
        flow.last_frame,
        frames,
        anomalies,
    )


def _regular(connection: Connection, regular: Regular, tcp_handshake: float | None) -> _Dialogue:
    seen = connection.seen
    shape, destination, bound, username, _ = regular
    authenticated = len(seen) == 6
    ends: list[str | None] = ["", "", username, ""] if authenticated else ["", ""]
    ends += (str(destination), str(bound))
    frames = []
    lengths = [0, 0]
    for (side, octets, frame, time), (sender, kind, words), end in zip(seen, shape.frames, ends, strict=False):
        length = len(octets)
        lengths[side] += length
        frames.append(FrameEntry(frame, time, sender, kind, length, f"{words}{end}"))
    replied = seen[-1][3]
    first_byte = connection.first_byte
    return _Dialogue(
        destination,
        bound,
        None,
        None,
        frames,
        [anomaly(code, seen[place][2], message) for code, place, message in shape.anomalies],
        Timing(
            tcp_handshake,
            (seen[1][3] - seen[0][3]) / 1e9,
            (seen[3][3] - seen[2][3]) / 1e9 if authenticated else None,
            (replied - seen[-2][3]) / 1e9,
            None if first_byte is None else (first_byte - replied) / 1e9,
        ),
        (lengths[0], lengths[1]),
    )


def _observed(connection: Connection, session: Session, tcp_handshake: float | None) -> _Dialogue:
    reply = session.peer_reply_frame or session.reply_frame
    return _Dialogue(
        None if session.destination is None else target(session.destination),
        None if session.bound is None else target(session.bound),
        _reply(session.peer_reply, session.socks4),
        None if session.peer is None else target(session.peer),
        [
            FrameEntry(frame.frame, frame.time, frame.sender, frame.type, frame.length, frame.summary)
            for frame in session.frames
        ],
        [anomaly(entry.code, entry.frame, entry.message) for entry in session.anomalies],
        Timing(
            tcp_handshake,
            _between(session.greeting, session.selection),
            _seconds(session.authentication_start, session.authentication_end),
            _between(session.request, session.reply_frame),
            None if reply is None else _seconds(reply.time, connection.first_byte),
        ),
        (session.tunnel_start[0] or 0, session.tunnel_start[1] or 0),
    )


def _reply(code: int | None, socks4: bool) -> ReplyCode | None:
    return None if code is None else ReplyCode(code, socks4_reply_name(code) if socks4 else reply_name(code))


def _seconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e9


def _between(first: SessionFrame | None, second: SessionFrame | None) -> float | None:
    return None if first is None or second is None else (second.time - first.time) / 1e9


def _add_flow_anomalies(
    anomalies: list[AnomalyEntry],
    connection: Connection,
    flow: FlowFacts,
    outcome: str,
    frames: list[FrameEntry],
) -> None:
    """What only the TCP connection tells."""
    if not flow.opener_known:
        anomalies.append(anomaly("midstream", flow.first_frame, "the connection's start is not in the capture"))
    for frame in connection.conflicts:
        anomalies.append(anomaly("conflicting-retransmission", frame, "a retransmission differs from the first copy"))
    if outcome in _FAILURES and frames:
        failed = frames[-1]
        ended = flow.end if flow.closer is not None else flow.now
        if ended - failed.time_ns > LATE_CLOSE:
            waited = (ended - failed.time_ns) / 1e9
            anomalies.append(anomaly("late-close", failed.frame, f"open {waited:.1f} s after the failure"))
    if len(anomalies) > 1:
        anomalies.sort(key=_by_frame)


def _by_frame(entry: AnomalyEntry) -> int:
    return entry.frame
