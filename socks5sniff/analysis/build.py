"""From what was observed to the record: the last step, and the only place where facts get their names."""

from __future__ import annotations

from collections.abc import Iterator
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
    Tunnel,
)
from socks5sniff.record.regular import FlowFacts, RegularConversation
from socks5sniff.session import Session, SessionFrame

from .anomalies import anomaly, by_frame
from .connection import Connection
from .relay import Nested
from .transcripts import shape_of, target

LATE_CLOSE = 10_000_000_000
"""Nanoseconds after a failure by which the proxy must have closed (RFC 1928 s6)."""

_Sides = tuple[int, int] | None
"""Octets of each side; None where they go in GSSAPI tokens, so that their number is not known."""

_FAILURES = frozenset({"rejected", "auth-failed", "no-acceptable-method"})


class _Dialogue(NamedTuple):
    """The varying part of what was said: addresses, frames, times."""

    destination: Target | None
    bound: Target | None
    peer_reply: ReplyCode | None
    peer: Target | None
    frames: list[FrameEntry]
    anomalies: list[AnomalyEntry]
    timing: Timing


def build(
    connection: Connection, flow: FlowFacts, *, number: int = 0, show_passwords: bool = False, now: int
) -> Conversation:
    """The record of a connection.

    Args:
        flow: what the flow table knows of it.
        number: the record's id.
        show_passwords: give the password, not a mask.
        now: time the capture has reached, ns.
    """
    if connection.first_byte is not None:
        flow = flow._replace(first_byte=connection.first_byte)
    if connection.regular is not None:
        connection.regular.tunnel = connection.tunnel
        record: Conversation = RegularConversation(number, connection.regular, flow)
    else:
        assert connection.session is not None
        through = None
        if connection.relay is not None:
            through = _through(connection.session, (flow.passed0, flow.passed1))
        record = _record(connection.session, flow, number, show_passwords, connection.tunnel, through)
        if connection.association is not None:
            record.udp = connection.association.traffic()
            record.frames += sorted(connection.association.frames)
            record.anomalies += connection.association.anomalies
    _add_flow_anomalies(record, connection, flow, now)
    return record


def build_nested(
    nested: Nested, passed: _Sides, flow: FlowFacts, *, number: int = 0, parent: int = 0, show_passwords: bool = False
) -> Conversation:
    """The record of a conversation inside a tunnel.

    Args:
        passed: octets of each side that the tunnel around it carried, where that is known.
        flow: what the flow table knows of the connection.
        number: the record's id.
        parent: that of the conversation whose tunnel it is in.
        show_passwords: give the password, not a mask.
    """
    relay = nested.relay
    flow = flow._replace(
        start=nested.time,
        first_frame=nested.frame,
        tcp_handshake=None,
        first_byte=None if relay is None else relay.first_byte,
    )
    through = None if relay is None else _through(nested.session, passed)
    record = _record(nested.session, flow, number, show_passwords, None if relay is None else relay.tunnel, through)
    record.parent = parent
    return record


def carried(connection: Connection, flow: FlowFacts) -> Iterator[_Sides]:
    """Octets of each side that the connection's tunnel carried, then those of the tunnel inside, and so on."""
    assert connection.relay is not None
    regular, session = connection.regular, connection.session
    if regular is not None:
        start = sum(regular.lengths[0::2]), sum(regular.lengths[1::2])
        passed: _Sides = (max(flow.passed0 - start[0], 0), max(flow.passed1 - start[1], 0))
    else:
        assert session is not None
        passed = _through(session, (flow.passed0, flow.passed1))
    for nested in connection.relay.conversations():
        yield passed
        passed = _through(nested.session, passed)


def _through(session: Session, passed: _Sides) -> _Sides:
    """Of so many octets of each side, those that went through the tunnel that was opened among them."""
    if passed is None or session.enclosed:
        return None
    start = session.tunnel_start
    return max(passed[0] - (start[0] or 0), 0), max(passed[1] - (start[1] or 0), 0)


def _record(
    session: Session,
    flow: FlowFacts,
    number: int,
    show_passwords: bool,
    tunnel: Tunnel | None,
    through: _Sides,
) -> Conversation:
    shape = shape_of(session)
    destination, bound, peer_reply, peer, frames, anomalies, timing = _observed(session, flow)
    password = shape.password
    side = shape.client_side or 0
    ends = Endpoint(flow.opener, flow.opener_port), Endpoint(flow.responder, flow.responder_port)
    return Conversation(
        number,
        None,
        flow.capture,
        shape.protocol,
        ends[side],
        ends[1 - side],
        side == 1 and flow.opener_known,
        flow.start,
        flow.end,
        shape.phase,
        shape.outcome,
        shape.methods,
        shape.method,
        shape.username,
        password if password is None or show_passwords else MASKED_PASSWORD,
        shape.authenticated,
        shape.command,
        destination,
        shape.reply,
        bound,
        peer_reply,
        peer,
        tunnel,
        None if through is None else Traffic(through[side], through[1 - side]),
        None,
        timing,
        flow.close,
        # `closer` and `side` are both TCP sides, so the client closed when they are the same.
        None if flow.closer is None else "client" if flow.closer == side else "proxy",
        flow.packets,
        flow.stream,
        flow.community_id,
        None if destination is None else "remote" if destination.type == "domain" else "address",
        flow.first_frame,
        flow.last_frame,
        frames,
        anomalies,
    )


def _observed(session: Session, flow: FlowFacts) -> _Dialogue:
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
            flow.tcp_handshake,
            _between(session.greeting, session.selection),
            _seconds(session.authentication_start, session.authentication_end),
            _between(session.request, session.reply_frame),
            None if reply is None else _seconds(reply.time, flow.first_byte),
        ),
    )


def _reply(code: int | None, socks4: bool) -> ReplyCode | None:
    return None if code is None else ReplyCode(code, socks4_reply_name(code) if socks4 else reply_name(code))


def _seconds(start: int | None, end: int | None) -> float | None:
    """Null where the order is not the usual one: a step takes no negative time."""
    return None if start is None or end is None or end < start else (end - start) / 1e9


def _between(first: SessionFrame | None, second: SessionFrame | None) -> float | None:
    return None if first is None or second is None else _seconds(first.time, second.time)


def _add_flow_anomalies(record: Conversation, connection: Connection, flow: FlowFacts, now: int) -> None:
    """What only the TCP connection tells."""
    anomalies = record.anomalies
    if not flow.opener_known:
        anomalies.append(anomaly("midstream", flow.first_frame, "the connection's start is not in the capture"))
    for frame in connection.conflicts:
        anomalies.append(anomaly("conflicting-retransmission", frame, "a retransmission differs from the first copy"))
    if record.outcome in _FAILURES and record.frames:
        failed = record.frames[-1]
        ended = flow.end if flow.closer is not None else now
        if ended - failed.time_ns > LATE_CLOSE:
            waited = (ended - failed.time_ns) / 1e9
            anomalies.append(anomaly("late-close", failed.frame, f"open {waited:.1f} s after the failure"))
    if len(anomalies) > 1:
        anomalies.sort(key=by_frame)
