"""Every capture in captures/ says what its truth says: read by the analyser, compared key by key."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import socks5sniff
from socks5sniff.lab.scenarios import SCENARIOS

from .later import LATER, UNJUDGED, covers, rows_for, unjudged

FOLDER = Path(__file__).resolve().parents[2] / "captures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))

(EXAMPLE,) = socks5sniff.read(str(FOLDER / "connect-domain.pcapng"))
KEYS = set(EXAMPLE.as_dict()) | {"proxy_header", "network"}
"""The record's."""

PARTS = {
    "timing": {"tcp_handshake", "negotiation", "authentication", "request", "first_byte", "upstream_handshake"},
    "udp": {"datagrams_sent", "datagrams_received", "bytes_sent", "bytes_received", "fragments", "destinations"},
    "tunnel": {"protocol", "server_name", "alpn"},
}
"""What a truth states of the record's objects."""


def truth_of(name: str) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return truth


def read_back(path: Path) -> list[dict[str, Any]]:
    """The records of a capture, in the form of the truth: anomalies as sorted codes, frames without their summaries.

    They are in the order of their TCP connections, those inside a tunnel behind the one that carries them, and
    `parent` is a place in that order.
    """
    found = sorted(socks5sniff.read(str(path)), key=lambda conversation: (conversation.tcp_stream, conversation.id))
    assert sorted(conversation.id for conversation in found) == list(range(1, len(found) + 1))
    place = {conversation.id: number for number, conversation in enumerate(found, 1)}
    records = []
    for conversation in found:
        record = conversation.as_dict()
        record["capture"] = Path(record["capture"]).name
        record["parent"] = None if conversation.parent is None else place[conversation.parent]
        record["anomalies"] = sorted({anomaly["code"] for anomaly in record["anomalies"]})
        kept = ("frame", "time", "sender", "type", "length")
        record["frames"] = [{key: frame[key] for key in kept} for frame in record["frames"]]
        records.append(record)
    return records


class Difference(NamedTuple):
    key: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.key}: the truth is {self.expected!r}, read was {self.found!r}"


def differences(expected: Any, found: Any, where: str = "") -> list[Difference]:
    """What differs. Of mappings only the keys that the truth has are compared."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = []
        for key, value in expected.items():
            lines += differences(value, found.get(key), f"{where}.{key}" if where else key)
        return lines
    return [] if expected == found else [Difference(where, expected, found)]


def stated(expected: Any, key: str) -> bool:
    """Whether a truth says anything but null of a key, which may have `*` in it."""
    first, _, rest = key.partition(".")
    values = [value for name, value in expected.items() if fnmatchcase(name, first)]
    if rest:
        return any(stated(value, rest) for value in values if isinstance(value, dict))
    return any(value is not None for value in values)


@pytest.mark.parametrize("name", NAMES)
def test_reading_a_capture_gives_its_truth(name: str) -> None:
    expected = truth_of(name)["conversations"]
    records = read_back(FOLDER / f"{name}.pcapng")
    found = differences({"conversations": len(expected)}, {"conversations": len(records)})
    for one, other in zip(expected, records, strict=False):
        found += differences(one, other)
    rows = rows_for(name)
    wrong = [str(each) for each in found if not any(covers(row, each.key) for row in rows)]
    assert not wrong, "\n".join([name, *wrong])
    true_by_now = [
        row.key
        for row in rows
        if not any(covers(row, each.key) for each in found)
        and (row.scenarios != "*" or any(stated(each, row.key) for each in expected))
    ]
    assert not true_by_now, f"{name}: take {true_by_now} out of LATER, which it is right about now"


@pytest.mark.parametrize("name", NAMES)
def test_a_truth_states_every_key(name: str) -> None:
    open_ones = unjudged(name)
    for expected in truth_of(name)["conversations"]:
        assert set(expected) >= KEYS - open_ones
        for key, parts in PARTS.items():
            if expected.get(key) is not None:
                assert set(expected[key]) >= {part for part in parts if f"{key}.{part}" not in open_ones}, key


def test_the_tables_of_exceptions_name_scenarios_that_there_are() -> None:
    for names in (*UNJUDGED, *(row.scenarios for row in LATER)):
        assert any(fnmatchcase(name, names) for name in NAMES), names


class Together(NamedTuple):
    """All captures, read one by one and at once: records by their first frames, which are numbered through."""

    one_by_one: list[dict[str, Any]]
    at_once: list[dict[str, Any]]


def _moved(frames: int, found: re.Match[str]) -> str:
    return f"(frame {int(found[1]) + frames}"


@pytest.fixture(scope="module")
def together() -> Together:
    names = sorted(SCENARIOS, key=lambda name: SCENARIOS[name].number)
    paths = [str(FOLDER / f"{name}.pcapng") for name in names]
    records: list[dict[str, Any]] = []
    frames = streams = 0
    for name, path in zip(names, paths, strict=True):
        before = len(records)
        for record in sorted((found.as_dict() for found in socks5sniff.read(path)), key=lambda record: record["id"]):
            record["id"] += before
            record["parent"] = None if record["parent"] is None else record["parent"] + before
            record["first_frame"] += frames
            record["last_frame"] += frames
            record["tcp_stream"] += streams
            for each in (*record["frames"], *record["anomalies"]):
                each["frame"] += frames
            for each in record["anomalies"]:
                each["message"] = re.sub(r"\(frame (\d+)", partial(_moved, frames), each["message"])
            records.append(record)
        truth = truth_of(name)
        frames += truth["packets"]
        streams += truth["connections"]
    at_once = [found.as_dict() for found in socks5sniff.read(paths)]
    return Together(*(sorted(each, key=lambda record: record["first_frame"]) for each in (records, at_once)))


def test_all_captures_together_are_one_capture(together: Together) -> None:
    """Read at once, the files give what each gives by itself, with numbers that go on from file to file."""
    assert len(together.at_once) == len(together.one_by_one)
    wrong = [
        f"{Path(one['capture']).name}: {each}"
        for one, other in zip(together.one_by_one, together.at_once, strict=True)
        for each in differences(one, other)
        if each.key not in ("id", "parent")
    ]
    assert not wrong, "\n".join(wrong)


def test_and_in_the_same_order(together: Together) -> None:
    ids = [[(record["id"], record["parent"]) for record in records] for records in together]
    assert ids[0] == ids[1]
