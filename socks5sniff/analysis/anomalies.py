"""Anomaly entries as the record lists them: code and severity from the codec's registry."""

from __future__ import annotations

from socks5sniff.codec import ANOMALIES
from socks5sniff.record import AnomalyEntry


def anomaly(code: str, frame: int, message: str) -> AnomalyEntry:
    """An entry for `code`, a key of the codec's ANOMALIES (KeyError otherwise)."""
    return AnomalyEntry(code, ANOMALIES[code].severity, frame, message)


def by_frame(entry: AnomalyEntry) -> int:
    """What a record's anomalies are sorted by."""
    return entry.frame
