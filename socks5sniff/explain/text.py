"""Findings and overviews as text."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from socks5sniff.codec.text import escape_text
from socks5sniff.record import Conversation

from .findings import Finding, findings
from .ladder import ladder

WIDTH = 100
"""Columns of running text."""


def conversation_text(c: Conversation) -> str:
    """One conversation: a headline, its ladder, and what is wrong with it."""
    lines = [_headline(c), "", *ladder(c), ""]
    found = findings(c)
    if not found:
        lines.append("Nothing is wrong with it.")
    for number, finding in enumerate(found, 1):
        lines += _paragraph(f"{number}. {finding.severity}: {finding.sentence}{_evidence(finding.frames)}", "   ")
        lines += _why(finding, "   ")
    return "\n".join(lines) + "\n"


def overview_text(overview: dict[str, Any]) -> str:
    """A whole capture, of `Overview.as_dict()`: what failed, what is odd, the commonest first, and what is fine."""
    lines = [_count(overview)]
    for attempt in overview["attempts"]:
        many = attempt["count"]
        how = "closed before a greeting" if attempt["outcome"] == "closed" else attempt["outcome"]
        lines += ["", f"{many:,} connection{'' if many == 1 else 's'} to {attempt['proxy']} {how}"]
        lines += _reasons(attempt["causes"], attempt["advice"], "   ")
    for title, name in (("What failed", "failures"), ("What is odd", "oddities")):
        if overview[name]:
            lines += ["", title]
        for group in overview[name]:
            lines += ["", *_group(group)]
    fine = overview["fine"]
    if overview["conversations"]:
        lines += ["", f"{fine:,} succeeded with nothing to say about {'it' if fine == 1 else 'them'}"]
    return "\n".join(lines) + "\n"


def _headline(c: Conversation) -> str:
    target = "" if c.destination is None else f" to {c.destination}"
    user = f" as {c.username}" if c.username else ""
    protocol = (c.protocol or "SOCKS").upper()
    return escape_text(f"Conversation {c.id}: {c.client}{user} through {c.proxy}{target}, {protocol}, {c.outcome}")


def _count(overview: dict[str, Any]) -> str:
    whole, failed = overview["conversations"], overview["failed"]
    if not whole:
        return "No SOCKS conversation"
    return f"{whole:,} conversation{'' if whole == 1 else 's'}: {whole - failed:,} succeeded, {failed:,} did not"


def _group(group: dict[str, Any]) -> list[str]:
    examples = ", ".join(map(str, group["conversations"]))
    more = ", …" if group["count"] > len(group["conversations"]) else ""
    noun = "conversation" if group["count"] == 1 else "conversations"
    first = f"{group['count']:,}  {group['severity']}: {group['example']}{_evidence(group['frames'])}"
    lines = _paragraph(first, "   ") + _paragraph(f"   ({noun} {examples}{more}; code {group['code']})", "   ")
    if len(group["destinations"]) > 1:
        places = ", ".join(f"{place} ({count:,})" for place, count in group["destinations"].items())
        lines += _paragraph(f"   Mostly to: {places}", "   ")
    return lines + _reasons(group["causes"], group["advice"], "   ")


def _why(finding: Finding, margin: str) -> list[str]:
    return _reasons(finding.causes, finding.advice, margin)


def _reasons(causes: Sequence[str], advice: str, margin: str) -> list[str]:
    likely = "; or ".join(causes)
    return _paragraph(f"{margin}Likely: {likely}.", margin) + _paragraph(f"{margin}Try: {advice}", margin)


def _evidence(frames: Sequence[int]) -> str:
    if not frames:
        return ""
    return f" [frame{'' if len(frames) == 1 else 's'} {', '.join(map(str, frames))}]"


def _paragraph(text: str, margin: str) -> list[str]:
    return wrap(escape_text(text), WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)
