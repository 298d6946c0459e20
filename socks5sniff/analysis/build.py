"""From what was observed to the record: the last step, and the only place where facts get their names."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from socks5sniff.codec import (
    Address,
    command_name,
    decode_text,
    method_name,
    reply_name,
    socks4_reply_name,
)
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


def build(connection: Connection, flow: FlowFacts, show_passwords: bool) -> Conversation:
    """The record of a finished connection."""
    session = connection.session
    outcome = session.outcome()
    server_opened = session.client_side == 1
    client, proxy = (flow.responder, flow.opener) if server_opened else (flow.opener, flow.responder)
    association = connection.association
    destination = None if session.destination is None else _target(session.destination)
    frames = [
        FrameEntry(frame.frame, frame.time, frame.sender, frame.type, frame.length, frame.summary)
        for frame in session.frames
    ]
    if association is not None and association.frames:
        frames += sorted(association.frames)
    password = session.password
    return Conversation(
        id=connection.conversation_id,
        parent=None,
        capture=flow.capture,
        protocol=session.protocol,
        client=client,
        proxy=proxy,
        reversed=server_opened and flow.opener_known,
        start_ns=flow.start,
        end_ns=flow.end,
        phase=session.phase,
        outcome=outcome or "incomplete",
        methods=None if session.methods is None else _method_names(session.methods),
        method=None if session.method is None else method_name(session.method),
        username=None if session.username is None else decode_text(session.username),
        password=None if password is None else decode_text(password) if show_passwords else MASKED_PASSWORD,
        authenticated=session.authenticated,
        command=None if session.command is None else command_name(session.command),
        destination=destination,
        reply=_reply(session.reply, session.socks4),
        bound=None if session.bound is None else _target(session.bound),
        peer_reply=_reply(session.peer_reply, session.socks4),
        peer=None if session.peer is None else _target(session.peer),
        tunnel=connection.tunnel,
        bytes=_traffic(session, flow) if connection.relaying and association is None else None,
        udp=None if association is None else association.traffic(),
        timing=_timing(connection, flow),
        close=flow.close,
        closed_by=None if flow.closer is None else "client" if flow.closer == int(server_opened) else "proxy",
        # `closer` and client_side are both TCP sides, so the client closed when they are the same.
        packets=flow.packets,
        tcp_stream=connection.stream,
        community_id=flow.community_id,
        name_resolution=None if destination is None else "remote" if destination.type == "domain" else "address",
        first_frame=flow.first_frame,
        last_frame=flow.last_frame,
        frames=frames,
        anomalies=_anomalies(connection, flow, outcome),
    )


@lru_cache(maxsize=1024)
def _method_names(methods: bytes) -> list[str]:
    return [method_name(method) for method in methods]


def _target(address: Address) -> Target:
    return Target(address.type_name, address.text, address.port)


@lru_cache(maxsize=512)
def _reply(code: int | None, socks4: bool) -> ReplyCode | None:
    return None if code is None else ReplyCode(code, socks4_reply_name(code) if socks4 else reply_name(code))


def _traffic(session: Session, flow: FlowFacts) -> Traffic:
    side = session.client_side or 0
    sent, received = (max(flow.passed[s] - (session.tunnel_start[s] or 0), 0) for s in (side, 1 - side))
    return Traffic(sent, received)


def _seconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else (end - start) / 1e9


def _between(first: SessionFrame | None, second: SessionFrame | None) -> float | None:
    return None if first is None or second is None else (second.time - first.time) / 1e9


def _timing(connection: Connection, flow: FlowFacts) -> Timing:
    session = connection.session
    reply = session.peer_reply_frame or session.reply_frame
    return Timing(
        tcp_handshake=flow.tcp_handshake,
        negotiation=_between(session.greeting, session.selection),
        authentication=_seconds(session.authentication_start, session.authentication_end),
        request=_between(session.request, session.reply_frame),
        first_byte=None if reply is None else _seconds(reply.time, connection.first_byte),
    )


def _anomalies(connection: Connection, flow: FlowFacts, outcome: str | None) -> list[AnomalyEntry]:
    session = connection.session
    found = [anomaly(entry.code, entry.frame, entry.message) for entry in session.anomalies]
    if not flow.opener_known:
        found.append(anomaly("midstream", flow.first_frame, "the start of the TCP connection is not in the capture"))
    for frame in connection.conflicts:
        found.append(anomaly("conflicting-retransmission", frame, "a retransmission differs from the first copy"))
    if connection.association is not None:
        found += connection.association.anomalies
    if outcome in _FAILURES and session.frames:
        failed = session.frames[-1]
        ended = flow.end if flow.closer is not None else flow.now
        if ended - failed.time > LATE_CLOSE:
            waited = (ended - failed.time) / 1e9
            found.append(anomaly("late-close", failed.frame, f"open {waited:.1f} s after the failure"))
    found.sort(key=_by_frame)
    return found


def _by_frame(entry: AnomalyEntry) -> int:
    return entry.frame
