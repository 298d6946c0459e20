"""A conversation as a ladder in text: client, proxy and destination side by side, in the order of frames.

Never in the order of times: two clocks in one capture may disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation, FrameEntry

_WIDTH = 12
"""Columns between two lines of the ladder."""
MAX_STEPS = 60
"""Lines; what is between the first and the last of more is counted."""
_TO_PROXY, _TO_CLIENT = "-" * (_WIDTH - 1) + ">", "<" + "-" * (_WIDTH - 1)
_AIR = " " * _WIDTH
_THROUGH = "<" + "=" * (2 * _WIDTH - 1) + ">"


class Step(NamedTuple):
    """One line."""

    frame: int | None
    """None for what is not one frame."""
    time_ns: int | None
    drawn: str
    """The ladder's part of the line."""
    said: str


def ladder(c: Conversation) -> list[str]:
    """The lines, titles first: frame number, seconds since the start, seconds since the line before, and what was said.

    Everything that came from the wire is escaped.
    """
    steps = list(_steps(c))
    left_out = len(steps) - MAX_STEPS
    if left_out > 0:
        middle = Step(None, None, f"|{_AIR}|{_AIR}|", f"… {left_out + 1:,} more frames")
        steps = [*steps[: MAX_STEPS // 2], middle, *steps[left_out + 1 + MAX_STEPS // 2 :]]
    lines = [f"{'FRAME':>8}  {'SECONDS':>10}  {'+':>9}  CLIENT       PROXY        DESTINATION"]
    before = c.start_ns
    for step in steps:
        frame = "" if step.frame is None else str(step.frame)
        if step.time_ns is None:
            times = f"{'':>10}  {'':>9}"
        else:
            times = f"{(step.time_ns - c.start_ns) / 1e9:10.6f}  {(step.time_ns - before) / 1e9:9.6f}"
            before = step.time_ns
        lines.append(f"{frame:>8}  {times}  {step.drawn}  {escape_text(step.said)}".rstrip())
    return lines


def _steps(c: Conversation) -> Iterator[Step]:
    """Frames and what is odd beside them in order, and what went through behind the handshake's last frame."""
    yield _opening(c)
    odd = _by_frame(c)
    handshake = max((entry.frame for entry in c.frames if entry.type != "udp"), default=c.first_frame)
    rows = [_step(entry, odd.pop(entry.frame, [])) for entry in c.frames]
    closing = odd.pop(c.last_frame, [])
    rows += [Step(frame, None, f"|{_AIR}|{_AIR}|", f"! {' '.join(codes)}") for frame, codes in odd.items()]
    through = list(_carried(c))
    asked = max((entry.frame for entry in c.frames if entry.type == "request"), default=None)
    for row in sorted(rows, key=lambda row: row.frame or 0):
        if row.frame is not None and row.frame > handshake:
            yield from through
            through = []
        yield row
        if c.upstream is not None and row.frame == asked:
            yield _upstream(c)
    yield from through
    yield _close(c, closing)


def _by_frame(c: Conversation) -> dict[int, list[str]]:
    """Codes of the anomalies, by frame number."""
    found: dict[int, list[str]] = {}
    for entry in c.anomalies:
        found.setdefault(entry.frame, []).append(entry.code)
    return found


def _opening(c: Conversation) -> Step:
    how = "connection" if c.timing.tcp_handshake is None else f"connection, in {c.timing.tcp_handshake:.6f} s"
    inside = "" if c.parent is None else f", inside the tunnel of conversation {c.parent}"
    arrow = _TO_CLIENT if c.reversed else _TO_PROXY
    return Step(c.first_frame, c.start_ns, f"|{arrow}|{_AIR}|", f"{how}{inside}")


def _step(entry: FrameEntry, odd: list[str]) -> Step:
    arrow = _TO_PROXY if entry.sender == "client" else _TO_CLIENT
    return Step(entry.frame, entry.time_ns, f"|{arrow}|{_AIR}|", f"{entry.summary}{_marked(odd)}")


def _marked(odd: list[str]) -> str:
    return f"  ! {' '.join(odd)}" if odd else ""


def _upstream(c: Conversation) -> Step:
    """The proxy's own connection, where the capture has it."""
    assert c.upstream is not None
    place = c.upstream.get("destination") or {}
    host = f"{place.get('address')}:{place.get('port')}"
    seconds = getattr(c.timing, "upstream_handshake", None)
    took = "" if seconds is None else f", in {seconds:.6f} s"
    said = f"the proxy's connection to {host}: {c.upstream.get('outcome')}{took}"
    return Step(None, None, f"|{_AIR}|{_TO_PROXY}|", said)


def _carried(c: Conversation) -> Iterator[Step]:
    if c.udp is not None:
        for party in c.udp.destinations:
            said = f"{party.datagrams_sent:,} datagrams to {party.host}:{party.port}, {party.datagrams_received:,} back"
            for carried in filter(None, (party.dns, party.server_name, party.quic)):
                said += f", {carried}"
            yield Step(None, None, f"|{_THROUGH}|", said)
        return
    if c.bytes is None:
        return
    name = "" if c.tunnel is None else " ".join(filter(None, (c.tunnel.protocol, c.tunnel.server_name))) + ": "
    said = f"{name}{c.bytes.sent:,} octets sent, {c.bytes.received:,} received"
    yield Step(None, None, f"|{_THROUGH}|", said)


def _close(c: Conversation, odd: list[str]) -> Step:
    if c.close == "open":
        return Step(c.last_frame, c.end_ns, f"|{_AIR}|{_AIR}|", f"still open when the capture ends{_marked(odd)}")
    verb = "reset" if c.close == "reset" else "closed"
    by = f" by the {c.closed_by}" if c.closed_by else ""
    arrow = {"client": _TO_PROXY, "proxy": _TO_CLIENT}.get(c.closed_by or "", _AIR)
    return Step(c.last_frame, c.end_ns, f"|{arrow}|{_AIR}|", f"{verb}{by}{_marked(odd)}")
