"""Every capture in captures/ says what its truth says: read by the analyser, compared key by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import socks5sniff

FOLDER = Path(__file__).resolve().parents[2] / "captures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def read_back(path: Path) -> list[dict[str, Any]]:
    """The records of a capture, in the form of the truth: anomalies as sorted codes, frames without their times.

    They are in the order of their TCP connections, those inside a tunnel behind the one that carries them, and
    `parent` is a place in that order.
    """
    found = sorted(socks5sniff.read(str(path)), key=lambda conversation: (conversation.tcp_stream, conversation.id))
    assert sorted(conversation.id for conversation in found) == list(range(1, len(found) + 1))
    place = {conversation.id: number for number, conversation in enumerate(found, 1)}
    records = []
    for conversation in found:
        record = conversation.as_dict()
        record["parent"] = None if conversation.parent is None else place[conversation.parent]
        record["anomalies"] = sorted({anomaly["code"] for anomaly in record["anomalies"]})
        record["frames"] = [{key: frame[key] for key in ("sender", "type", "length")} for frame in record["frames"]]
        records.append(record)
    return records


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """What differs, one line each. Of mappings only the keys that the truth has are compared."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = []
        for key, value in expected.items():
            lines += differences(value, found.get(key), f"{where}.{key}" if where else key)
        return lines
    return [] if expected == found else [f"{where}: the truth is {expected!r}, read was {found!r}"]


@pytest.mark.parametrize("name", NAMES)
def test_reading_a_capture_gives_its_truth(name: str) -> None:
    truth = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    records = read_back(FOLDER / f"{name}.pcapng")
    expected = truth["conversations"]
    if expected is None:
        return  # that it can be read is all that is asked
    lines = []
    if len(records) != len(expected):
        lines.append(f"the truth has {len(expected)} conversations, read were {len(records)}")
    for number, (one, other) in enumerate(zip(expected, records, strict=False), 1):
        lines += differences(one, other, f"conversation {number}")
    assert not lines, "\n".join([name, *lines])
