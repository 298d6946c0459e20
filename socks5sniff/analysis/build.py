"""From what was observed to the record: the last step, and the only place where facts get their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from socks5sniff.codec import Address, command_name, decode_text, method_name, reply_name, socks4_reply_name
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record import (
    MASKED_PASSWORD,
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    ProxyHeader,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
)
from socks5sniff.session import HalfFrame, Session, SessionFrame, Verdict

from .anomalies import anomaly, by_frame
from .association import Association
from .dialogue import Dialogue
from .relay import DatagramRelay, Nested, Relay

LATE_CLOSE = 10_000_000_000
"""Nanoseconds after a failure by which the proxy must have closed (RFC 1928 s6)."""

_Sides = tuple[int, int] | None
"""Octets of each side; None where they go in GSSAPI tokens, so that their number is not known."""

_FAILURES = frozenset({"rejected", "auth-failed", "no-acceptable-method"})


class FlowFacts(NamedTuple):
    """What the flow table knows of one connection; sides are TCP's, 0 opened it."""

    stream: int
    capture: str
    start: int
    end: int
    first_frame: int
    last_frame: int
    packets: int
    opener: str
    opener_port: int
    responder: str
    responder_port: int
    opener_known: bool
    tcp_handshake: float | None
    close: str
    closer: int | None
    """Side that closed first."""
    community_id: str
    passed0: int
    """Octets of side 0, from the start of its stream."""
    passed1: int
    first_byte: int | None
    """ns, when the destination's first octet came."""


def target(address: Address) -> Target:
    """An address of the codec as the record shows it."""
    return Target(address.type_name, address.text, address.port)


def build(
    dialogue: Dialogue,
    association: Association | None,
    flow: FlowFacts,
    book: AddressBook,
    *,
    number: int = 0,
    show_passwords: bool = False,
    now: int,
) -> Conversation:
    """The record of a connection.

    Args:
        association: what came of UDP ASSOCIATE.
        flow: what the flow table knows of it.
        book: the addresses behind endpoints.
        number: the record's id.
        show_passwords: give the password, not a mask.
        now: time the capture has reached, ns.
    """
    relay = dialogue.relay
    if relay is not None:
        flow = flow._replace(first_byte=relay.first_byte)
    through = None if relay is None else _through(dialogue.session, (flow.passed0, flow.passed1))
    record = _record(dialogue.session, flow, number, show_passwords, dialogue.tunnel, through)
    if dialogue.clocks_disagree:
        record.timing = Timing()
    _add_datagrams(record, relay, through)
    _add_silence(record, relay, flow)
    if association is not None:
        add_association(record, association, book)
    _add_flow_anomalies(record, dialogue, flow, now)
    return record


def add_association(record: Conversation, association: Association, book: AddressBook) -> None:
    """What came of UDP ASSOCIATE."""
    if association.bound.address is not None or association.amounts.latest[1]:
        record.udp = association.amounts.traffic()
        record.tunnel = association.amounts.tunnel()
    record.frames += sorted(association.frames)
    record.anomalies += association.findings(book)
    if len(record.anomalies) > 1:
        record.anomalies.sort(key=by_frame)


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
    _add_datagrams(record, relay, through)
    _add_silence(record, relay, flow)
    if nested.session.half_frame is not None:
        _add_half_frame(record, nested.session.half_frame)
    return record


def carried(dialogue: Dialogue, flow: FlowFacts) -> Iterator[_Sides]:
    """Octets of each side that the connection's tunnel carried, then those of the tunnel inside, and so on."""
    passed = _through(dialogue.session, (flow.passed0, flow.passed1))
    for nested in dialogue.nested():
        yield passed
        passed = _through(nested.session, passed)


def build_bare(flow: FlowFacts, number: int = 0) -> Conversation:
    """What the flow table alone knows, of a connection whose dialogue cannot be told."""
    record = _record(Session(), flow, number, False, None, None)
    if not flow.opener_known:
        record.anomalies.append(_midstream(flow))
    return record


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
    username, password = session.username, session.password
    side = session.client_side or 0
    destination = None if session.destination is None else target(session.destination)
    foreign = session.verdict is Verdict.FOREIGN
    ends = Endpoint(flow.opener, flow.opener_port), Endpoint(flow.responder, flow.responder_port)
    record = Conversation(
        number,
        None,
        flow.capture,
        session.protocol,
        ends[side],
        ends[1 - side],
        side == 1 and flow.opener_known,
        flow.start,
        flow.end,
        session.phase,
        "malformed" if foreign else session.outcome(ended=False) or "incomplete",
        None if session.methods is None else [method_name(method) for method in session.methods],
        None if session.method is None else method_name(session.method),
        None if username is None else decode_text(username),
        None if password is None else decode_text(password) if show_passwords else MASKED_PASSWORD,
        session.authenticated,
        None if session.command is None else command_name(session.command),
        destination,
        _reply(session.reply, session.socks4),
        None if session.bound is None else target(session.bound),
        _reply(session.peer_reply, session.socks4),
        None if session.peer is None else target(session.peer),
        tunnel,
        None if through is None else Traffic(through[side], through[1 - side]),
        None,
        _timing(session, flow),
        flow.close,
        # `closer` and `side` are both TCP sides, so the client closed when they are the same.
        None if flow.closer is None else "client" if flow.closer == side else "proxy",
        flow.packets,
        flow.stream,
        flow.community_id,
        None if destination is None else "remote" if destination.type == "domain" else "address",
        flow.first_frame,
        flow.last_frame,
        [
            FrameEntry(frame.frame, frame.time, frame.sender, frame.type, frame.length, frame.summary)
            for frame in session.frames
        ],
        [anomaly(entry.code, entry.frame, entry.message) for entry in session.anomalies],
    )
    if session.proxy_header is not None:
        header = session.proxy_header.frame
        source, stated_to = _stated(header.source), _stated(header.destination)
        record.proxy_header = ProxyHeader(header.version, source, stated_to, session.proxy_header.length)
    return record


def _stated(address: Address | None) -> Endpoint | None:
    return None if address is None else Endpoint(address.text, address.port)


def _timing(session: Session, flow: FlowFacts) -> Timing:
    reply = session.peer_reply_frame or session.reply_frame
    return Timing(
        flow.tcp_handshake,
        _between(session.greeting, session.selection),
        _seconds(session.authentication_start, session.authentication_end),
        _between(session.request, session.reply_frame),
        None if reply is None else _seconds(reply.time, flow.first_byte),
    )


def _reply(code: int | None, socks4: bool) -> ReplyCode | None:
    return None if code is None else ReplyCode(code, socks4_reply_name(code) if socks4 else reply_name(code))


def _seconds(start: int | None, end: int | None) -> float | None:
    """A step's length; None also where two clocks disagree about its ends."""
    return None if start is None or end is None or end < start else (end - start) / 1e9


def _between(first: SessionFrame | None, second: SessionFrame | None) -> float | None:
    return None if first is None or second is None else _seconds(first.time, second.time)


def _add_datagrams(record: Conversation, relay: Relay | None, through: _Sides) -> None:
    """What a tunnel carried of datagrams."""
    if isinstance(relay, DatagramRelay):
        unread = relay.datagrams.unread(through)
        record.udp = relay.datagrams.amounts.traffic()
        record.anomalies += relay.datagrams.anomalies(not unread)
        record.tunnel = relay.datagrams.tunnel()
        if unread:
            detail = f"{record.tunnel.detail}; counted in the first octets only"
            record.tunnel = record.tunnel._replace(detail=detail)


def _add_silence(record: Conversation, relay: Relay | None, flow: FlowFacts) -> None:
    """What a proxy does that answers before it has connected."""
    if relay is None or relay.first_byte is not None or record.closed_by != "proxy" or record.close == "open":
        return
    if record.bytes is None or not record.bytes.received:
        how = "reset" if record.close == "reset" else "closed"
        message = f"the proxy {how} the connection after its success without an octet from the destination"
        record.anomalies.append(anomaly("closed-without-data", flow.last_frame, message))


def _add_half_frame(record: Conversation, half: HalfFrame) -> None:
    """Who closed in the middle of which frame."""
    if record.closed_by is None:
        return
    whose = "its" if half.sender == record.closed_by else f"the {half.sender}'s"
    octets = "1 octet" if half.octets == 1 else f"{half.octets} octets"
    message = f"the {record.closed_by} closed after {octets} of {whose} {half.type}"
    record.anomalies.append(anomaly("half-frame", half.frame, message))


def _midstream(flow: FlowFacts) -> AnomalyEntry:
    return anomaly("midstream", flow.first_frame, "the connection's start is not in the capture")


def _add_flow_anomalies(record: Conversation, dialogue: Dialogue, flow: FlowFacts, now: int) -> None:
    """What only the TCP connection tells."""
    anomalies = record.anomalies
    if not flow.opener_known:
        anomalies.append(_midstream(flow))
    for frame in dialogue.conflicts:
        anomalies.append(anomaly("conflicting-retransmission", frame, "a retransmission differs from the first copy"))
    half = dialogue.session.half_frame
    if half is not None and half.end >= (flow.passed1 if half.side else flow.passed0):
        _add_half_frame(record, half)
    if record.outcome in _FAILURES and record.frames:
        failed = record.frames[-1]
        ended = flow.end if flow.closer is not None else now
        if ended - failed.time_ns > LATE_CLOSE:
            waited = (ended - failed.time_ns) / 1e9
            anomalies.append(anomaly("late-close", failed.frame, f"open {waited:.1f} s after the failure"))
    if len(anomalies) > 1:
        anomalies.sort(key=by_frame)
