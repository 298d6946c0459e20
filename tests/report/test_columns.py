"""Records survive being taken apart into columns: a second reader finds every value again."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.record import Conversation, Target
from socks5sniff.report.columns import GREATEST, Column, Dictionary, container
from socks5sniff.report.conversations import KEYS, Conversations

from ..sinks.samples import START, conversations, sample
from .community import community_id
from .made_up import conversations as made_up
from .reading import HOLES, entries, read


class Told(NamedTuple):
    """What an explanation may be."""

    number: int
    code: str = "odd"
    severity: str = "note"
    frames: tuple[int, ...] = (5, 9)
    causes: tuple[str, ...] = ("this", "that")
    advice: str = "try"

    @property
    def sentence(self) -> str:
        return f"told {self.number}"


def columns_of(records: list[Conversation], size: int = 3) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Records into columns, some at a time, and out of them again."""
    made = Conversations()
    for begin in range(0, len(records), size):
        some = records[begin : begin + size]
        made.take(some, [[Told(c.id)] if c.id % 2 else [] for c in some])
    return read(container(made.columns.values(), made.dictionary, {"rows": made.rows}))


def at(record: dict[str, Any], name: str) -> Any:
    value: Any = record
    for part in name.split("."):
        value = None if value is None else value.get(part)
    return value


def near(value: Any) -> Any:
    """A number as a page can hold it: seconds to the nanosecond, integers below 2^53."""
    if isinstance(value, float):
        return round(min(value, GREATEST / 1e9), 9)
    return min(value, int(GREATEST) - 1) if isinstance(value, int) and not isinstance(value, bool) else value


def filled(summary: str, record: dict[str, Any], c: Conversation) -> str:
    if summary.startswith("\ue003"):
        return summary[1:]
    hole = HOLES.get(summary[-1:])
    if hole is None:
        return summary
    return summary[:-1] + (record["username"] if hole == "username" else str(getattr(c, hole)))


@settings(max_examples=25, deadline=None)
@given(st.lists(conversations, max_size=4))
def test_every_value_comes_back(records: list[Conversation]) -> None:
    header, columns = columns_of(records)
    assert header["rows"] == len(records)
    for row, c in enumerate(records):
        record = c.as_dict()
        for name, kind in KEYS:
            found, told = columns[name][row], at(record, name)
            if kind == "seconds":
                told = None if told is None or told < 0 else min(told, GREATEST / 1e9)  # 104 days
                assert (found is None) == (told is None)
                assert found is None or abs(found - told) <= 1e-9 + told * 1e-15, name
            else:
                assert near(found) == near(told), name
        start = columns["start.seconds"][row] * 1_000_000_000 + columns["start.nanoseconds"][row]
        assert (start, columns["last_frame"][row]) == (c.start_ns, c.last_frame)
        told_findings = [(f["sentence"], f["causes"], [n + c.first_frame for n in f["frames"]]) for f in
                         entries(columns, "findings", row)]  # fmt: skip
        assert told_findings == ([(f"told {c.id}", ["this", "that"], [5, 9])] if c.id % 2 else [])
        told_frames = []
        frame, time = c.first_frame, c.start_ns
        for entry in entries(columns, "frames", row):
            frame, time = frame + entry["frame"], time + entry["time"]
            told_frames.append((frame, entry["sender"], entry["type"], filled(entry["summary"], record, c)))
        assert told_frames == [(f.frame, f.sender, f.type, f.summary) for f in c.frames]
        assert [(a["code"], a["severity"], a["frame"] + c.first_frame, a["message"]) for a in
                entries(columns, "anomalies", row)] == [tuple(a) for a in c.anomalies]  # fmt: skip
        parties = [] if c.udp is None else [each._asdict() for each in c.udp.destinations]
        assert entries(columns, "udp.destinations", row) == parties


def test_frame_times_are_told_to_the_nanosecond() -> None:
    (c,) = made_up(1)
    _, columns = columns_of([c])
    time, found = c.start_ns, []
    for entry in entries(columns, "frames", 0):
        time += entry["time"]
        found.append(time)
    assert found == [frame.time_ns for frame in c.frames]


def test_a_summary_that_holds_a_mark_of_its_own_stays_what_it_is() -> None:
    c = sample(destination=Target("domain", "\ue000", 443))
    c.frames[0] = c.frames[0]._replace(summary="ends with \ue001")
    c.frames[1] = c.frames[1]._replace(summary="\ue003begins with one")
    _, columns = columns_of([c])
    shown = [filled(entry["summary"], c.as_dict(), c) for entry in entries(columns, "frames", 0)]
    assert shown == [frame.summary for frame in c.frames]


def test_a_community_id_that_the_endpoints_tell_is_left_out() -> None:
    (told,) = made_up(1)
    other = sample(community_id="1:something else")
    assert told.community_id == community_id(told.client, told.proxy)
    assert columns_of([told, other])[1]["community_id"] == [None, "1:something else"]


def test_a_column_takes_as_many_octets_as_its_largest_number_needs() -> None:
    def width(*values: int | None) -> int:
        column = Column("n", "int", Dictionary())
        column.take(list(values))
        return column.planes()[1]

    assert [width(), width(None), width(254), width(255), width(65534), width(65535)] == [0, 0, 1, 2, 2, 3]


def test_rows_may_come_in_any_number_of_batches() -> None:
    records = list(made_up(50))
    assert columns_of(records, 1)[1] == columns_of(records, 7)[1] == columns_of(records, 50)[1]


def test_a_step_goes_on_from_the_batch_before() -> None:
    column = Column("id", "step", Dictionary())
    column.take([5, 7])
    column.take([6])
    count, width, planes = column.planes()
    assert (count, width, planes) == (3, 1, bytes([11, 5, 2]))
    assert np.frombuffer(planes, np.uint8).tolist() == [2 * 5 + 1, 2 * 2 + 1, 2 * 1 - 1 + 1]


def test_later_keys_of_the_record_have_columns_as_soon_as_records_have_them() -> None:
    class Later(Conversation):
        __slots__ = ("network", "proxy_header")

    plain = sample(upstream={"source": {"address": "192.0.2.1", "port": 5}, "outcome": "refused"})
    later = Later(*[getattr(plain, name) for name in Conversation.__slots__])
    later.network = "vlan 10"
    later.proxy_header = {"version": 1, "source": None}
    _, columns = columns_of([plain, later])
    assert columns["network"] == [None, "vlan 10"]
    assert columns["proxy_header"] == [None, {"version": 1, "source": None}]
    assert columns["upstream"][0]["outcome"] == "refused"
    assert columns["start.seconds"][0] == START // 1_000_000_000
