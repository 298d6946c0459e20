"""The page finds in its columns what the records of all captures say."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import socks5sniff
from socks5sniff.record import Conversation
from socks5sniff.report.columns import container
from socks5sniff.report.conversations import KEYS, Conversations

from .chromium import Tab

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
NAMES = [name for name, _ in KEYS]
TELL = (
    "Array.from({ length: store.rows }, (_, row) => ({"
    " values: names.map((name) => store.value(name, row)), id: Community.of(store, row),"
    " start: String(store.origin(row)), last: store.value('last_frame', row),"
    " frames: store.entries('frames', row).map((e) => [e.frame, e.time, e.sender, e.type, e.length, e.summary]),"
    " anomalies: store.entries('anomalies', row).map((e) => [e.code, e.severity, e.frame, e.message]),"
    " parties: store.entries('udp.destinations', row) }))"
)


@pytest.fixture(scope="module")
def records() -> list[Conversation]:
    paths = sorted(CAPTURES.glob("*.pcapng"))
    return [c for path in paths for c in socks5sniff.read(str(path), udp_frames=True)]


def expected(c: Conversation) -> dict[str, Any]:
    record = c.as_dict()

    def value(name: str) -> Any:
        found: Any = record
        for part in name.split("."):
            found = None if found is None else found.get(part)
        if name.startswith("timing.") and found is not None and found < 0:
            return None
        return json.dumps(found, separators=(",", ":")) if isinstance(found, (list, dict)) else found

    return {
        "values": [value(name) for name in NAMES],
        "id": c.community_id,
        "start": str(c.start_ns),
        "last": c.last_frame,
        "frames": [[f.frame, f.time_ns - c.start_ns, f.sender, f.type, f.length, f.summary] for f in c.frames],
        "anomalies": [list(anomaly) for anomaly in c.anomalies],
        "parties": [each._asdict() for each in c.udp.destinations] if c.udp else [],
    }


def stored(scripts: Tab, data: bytes, then: str) -> Any:
    text = json.dumps(base64.b64encode(gzip.compress(data)).decode())
    return scripts.evaluate(
        f"Columns.read({text}).then(({{ store }}) => {{ const names = {json.dumps(NAMES)}; {then} return {TELL}; }})"
    )


def test_a_report_s_data(scripts: Tab, records: list[Conversation]) -> None:
    made = Conversations()
    made.take(records, [[]] * len(records))
    found = stored(scripts, container(made.columns.values(), made.dictionary, {"rows": made.rows}), "")
    assert len(found) > 140
    for told, c in zip(found, records, strict=True):
        assert told == expected(c), c.capture


def test_records_that_come_live(scripts: Tab, records: list[Conversation]) -> None:
    made = Conversations()
    data = container(made.columns.values(), made.dictionary, {"rows": 0})
    push = f"{json.dumps([c.as_dict() for c in records])}.forEach((record) => store.push(record));"
    for told, c in zip(stored(scripts, data, push), records, strict=True):
        assert told == expected(c), c.capture
