"""What is wrong with one conversation, each in a plain sentence with its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from socks5sniff.codec.codes import ANOMALIES
from socks5sniff.record import AnomalyEntry, Conversation

from .reasons import ANOMALY_REASONS, ENDING_REASONS, Reason, reply_reason

SLOW = 1.0
"""Seconds from request to reply above which a success is called slow."""
MAX_FRAMES = 8
"""Frame numbers of one finding."""
_RANK = {"error": 0, "warning": 1, "note": 2}

_STEPS = {
    "greeting": "the proxy's choice of a method",
    "authentication": "the proxy's answer to the login",
    "request": "the proxy's reply to the request",
}
"""What the proxy owed, by the phase that was reached."""
_ASKED = {
    "greeting": ("greeting",),
    "authentication": ("auth-request", "gssapi", "method-selection"),
    "request": ("request",),
}
"""Types of the frames that show how far it came, by phase; the first that is there counts."""
_TELLING = ("not-socks-on-socks-port", "half-frame", "auth-unasked")
"""Anomalies that say all of why a conversation came to nothing."""


class Finding(NamedTuple):
    """One thing worth knowing."""

    code: str
    """What it is: an anomaly's code, `reply-5`, `ended-by-proxy`, …"""
    severity: str
    """`error` where the conversation failed of it, else `warning` or `note`."""
    sentence: str
    frames: tuple[int, ...]
    """Numbers of the frames that show it."""
    causes: tuple[str, ...]
    """Likeliest first."""
    advice: str
    """What to try next."""


def findings(c: Conversation) -> list[Finding]:
    """Everything that is wrong or odd, what it failed of first; empty where all is well."""
    failure = _failure(c)
    found: dict[str, Finding] = {}
    for finding in (*([failure] if failure else []), *_anomalies(c), *_facts(c)):
        found.setdefault(finding.code, finding)

    def rank(finding: Finding) -> tuple[bool, int]:
        return finding is not failure, _RANK.get(finding.severity, len(_RANK))

    return sorted(found.values(), key=rank)


def _failure(c: Conversation) -> Finding | None:
    """What the conversation failed of, None where it did not."""
    if c.outcome == "rejected" and c.reply is not None:
        name = "SOCKS4 code" if c.reply.code in (91, 92, 93) else "code"
        sentence = f"The proxy refused {_asked(c)}: {c.reply.name} ({name} {c.reply.code})"
        reason = reply_reason(c.reply.code)
        return _finding(c, f"reply-{c.reply.code}", "error", sentence, _frames(c, "request", "reply"), reason)
    if c.outcome == "auth-failed":
        user = f" of {c.username!r}" if c.username else ""
        how = "GSSAPI context" if c.method == "gssapi" else f"user name and password{user}"
        frames = _frames(c, "auth-request", "auth-reply", "gssapi")
        return _finding(
            c, "auth-failed", "error", f"The proxy refused the {how}", frames, ANOMALY_REASONS["auth-failed"]
        )
    if c.outcome == "no-acceptable-method":
        offered = f" ({', '.join(c.methods)})" if c.methods else ""
        sentence = f"The proxy accepted none of the methods that the client offered{offered}"
        frames = _frames(c, "greeting", "method-selection")
        return _finding(c, "no-acceptable-method", "error", sentence, frames, ANOMALY_REASONS["no-acceptable-method"])
    if c.outcome not in ("malformed", "incomplete"):
        return None
    telling = next((entry for entry in c.anomalies if entry.code in _TELLING), None)
    if telling is not None:
        return _from_anomaly(c, [telling], "error")
    return _malformed(c) if c.outcome == "malformed" else _ending(c)


def _malformed(c: Conversation) -> Finding:
    entry = next((entry for entry in c.anomalies if entry.severity == "error"), None)
    if entry is None:
        sentence = "A frame cannot be read, so that nothing after it can"
        return _finding(c, "malformed", "error", sentence, (c.last_frame,), ENDING_REASONS["malformed"])
    return _from_anomaly(c, [entry], "error")


def _ending(c: Conversation) -> Finding:
    """A conversation without a verdict: who ended it, and what was still to come."""
    phase = c.phase or "greeting"
    owed = _STEPS.get(phase, "the end of the handshake")
    asked = next((frames for kind in _ASKED.get(phase, ()) if (frames := _frames(c, kind))), ())
    waited = _waited(c)
    if c.close == "open":
        sentence = f"The capture ends before {owed}"
        return _finding(c, "capture-ended", "note", sentence, (*asked, c.last_frame), ENDING_REASONS["capture-ended"])
    verb = "reset" if c.close == "reset" else "closed"
    if c.closed_by == "client" and waited is not None and waited >= SLOW:
        sentence = f"{owed[0].upper()}{owed[1:]} never came: after {waited:.1f} s the client {verb} the connection"
        code = "ended-unanswered"
    else:
        side = c.closed_by or "one side"
        sentence = f"The {side} {verb} the connection before {owed}".replace("The one side", "One side")
        by_proxy = "ended-without-reply" if phase == "request" else "ended-by-proxy"
        code = "ended-by-client" if c.closed_by == "client" else by_proxy
    return _finding(c, code, "error", sentence, (*asked, c.last_frame), ENDING_REASONS[code])


def _waited(c: Conversation) -> float | None:
    """Seconds from the last frame that was sent to the end."""
    return (c.end_ns - c.frames[-1].time_ns) / 1e9 if c.frames else None


def _anomalies(c: Conversation) -> Iterator[Finding]:
    """One finding for each code, with all frames that have it."""
    by_code: dict[str, list[AnomalyEntry]] = {}
    for entry in c.anomalies:
        by_code.setdefault(entry.code, []).append(entry)
    for entries in by_code.values():
        yield _from_anomaly(c, entries, entries[0].severity)


def _from_anomaly(c: Conversation, entries: list[AnomalyEntry], severity: str) -> Finding:
    code = entries[0].code
    message = entries[0].message or (ANOMALIES[code].description if code in ANOMALIES else code)
    more = f" (and {len(entries) - 1:,} more times)" if len(entries) > 1 else ""
    reason = ANOMALY_REASONS.get(code, ENDING_REASONS["malformed"])
    sentence = f"{message[:1].upper()}{message[1:]}{more}"
    return _finding(c, code, severity, sentence, tuple(entry.frame for entry in entries), reason)


def _facts(c: Conversation) -> Iterator[Finding]:
    """What the record shows without an anomaly."""
    if c.outcome != "succeeded":
        return
    if c.command == "connect" and c.bytes is not None and not c.bytes.received and c.closed_by == "proxy":
        verb = "reset" if c.close == "reset" else "closed"
        sentence = f"The proxy reported success and {verb} the connection without one octet from {_target(c)}"
        frames = (*_frames(c, "reply"), c.last_frame)
        yield _finding(c, "closed-without-data", "note", sentence, frames, ANOMALY_REASONS["closed-without-data"])
    if c.udp is not None and c.udp.datagrams_sent and not c.udp.datagrams_received:
        count = c.udp.datagrams_sent
        sentence = f"{count:,} datagram{'' if count == 1 else 's'} went to the relay and none came back"
        frames = (*_frames(c, "udp"), *_frames(c, "reply"))
        yield _finding(c, "udp-one-way", "warning", sentence, frames, ANOMALY_REASONS["udp-one-way"])
    if c.command == "udp-associate" and (c.udp is None or not (c.udp.datagrams_sent or c.udp.datagrams_received)):
        sentence = f"No datagram went through the association{f' at {c.bound}' if c.bound else ''}"
        yield _finding(c, "udp-unused", "note", sentence, _frames(c, "reply"), ENDING_REASONS["udp-unused"])
    if c.timing.request is not None and c.timing.request >= SLOW and c.command == "connect":
        sentence = f"The proxy took {c.timing.request:.1f} s to answer the request"
        frames = _frames(c, "request", "reply")
        yield _finding(c, "slow-request", "note", sentence, frames, ENDING_REASONS["slow-request"])


def _finding(
    c: Conversation, code: str, severity: str, sentence: str, frames: tuple[int, ...], reason: Reason
) -> Finding:
    """Put together, with the conversation's own names in the reason's texts."""
    methods = " or ".join(c.methods or ()) or "what the client offers"

    def told(text: str) -> str:
        return text.replace("{target}", _target(c)).replace("{proxy}", str(c.proxy)).replace("{methods}", methods)

    evidence = tuple(sorted(set(frames))[:MAX_FRAMES])
    return Finding(code, severity, sentence, evidence, tuple(map(told, reason.causes)), told(reason.advice))


def _target(c: Conversation) -> str:
    return str(c.destination) if c.destination else "the destination"


def _asked(c: Conversation) -> str:
    if c.command == "udp-associate":
        return "UDP ASSOCIATE"
    if c.destination is None:
        return "the request"
    return f"{(c.command or 'the request').upper()} to {c.destination}"


def _frames(c: Conversation, *types: str) -> tuple[int, ...]:
    return tuple(entry.frame for entry in c.frames if entry.type in types)
