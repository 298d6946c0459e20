"""What `live` shows: records many at once, in columns or written out, as if they were shown one by one."""

from __future__ import annotations

import json
from functools import cache
from io import StringIO
from itertools import pairwise
from pathlib import Path
from pickle import dumps, loads
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import socks5sniff
from socks5sniff.analysis import handshakes
from socks5sniff.cli.live_showing import Showing
from socks5sniff.cli.live_summary import Tally
from socks5sniff.cli.live_views import SinkView
from socks5sniff.live.processes import Endpoints, Process
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written
from socks5sniff.sinks import Options, Totals

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
NAMES = ("connect-many", "auth-refused", "reply-connection-refused", "udp-associate", "chain-of-three")
PROGRAMS: list[Process | None] = [None, {"pid": 7, "name": "curl"}, {"pid": 8, "name": "ssh", "container": "c0ffee"}]


@cache
def batches() -> tuple[Batch, ...]:
    """Of several captures, rows of forms among them; not to be changed."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(handshakes, "FEW", 0)
        return tuple(batch for name in NAMES for batch in socks5sniff.read(CAPTURES / f"{name}.pcapng").batches())


def fresh() -> list[Batch]:
    """The same, to be changed."""
    return [*loads(dumps(batches()))]


def test_there_are_rows_of_forms_and_others() -> None:
    rows = [len(batch.of_forms()) for batch in batches()]
    assert 10 < sum(rows) < sum(map(len, batches()))


def test_rows_tell_their_endpoints_and_numbers() -> None:
    for batch in batches():
        assert batch.endpoints() == [(*each.client, *each.proxy) for each in batch]
        assert batch.numbers("tcp_stream").tolist() == [each.tcp_stream for each in batch]
        assert batch.times("end").tolist() == [each.end_ns for each in batch]


class Slowly:
    """Finds the process of each connection, or none, after so many looks at all answers."""

    def __init__(self, delays: dict[Endpoints, int], found: dict[Endpoints, Process | None]) -> None:
        self.delays = delays
        self.found = found
        self.looks = 0
        self.forgotten: list[Endpoints] = []

    def collect(self) -> None:
        self.looks += 1

    def pending(self, endpoints: Endpoints, patience: float) -> bool:
        return patience > 0 and self.looks <= self.delays[endpoints]

    def find(self, endpoints: Endpoints) -> Process | None:
        return self.found[endpoints]

    def forget(self, endpoints: Endpoints) -> None:
        self.forgotten.append(endpoints)


@settings(max_examples=30)
@given(st.data(), st.sampled_from(["jsonl", "csv"]), st.none() | st.integers(1, 12), st.booleans())
def test_many_at_once_are_shown_as_one_by_one(data: st.DataObject, name: str, left: int | None, chosen: bool) -> None:
    """Those that `keep` lets through, at most `left`, in order, each with its process."""
    everyone = [ends for batch in batches() for ends in batch.endpoints()]
    delays = {ends: data.draw(st.integers(0, 3)) for ends in dict.fromkeys(everyone)}
    found = {ends: data.draw(st.sampled_from(PROGRAMS)) for ends in delays}
    shown: list[str] = []
    tables = []
    forgotten = []
    for together in (True, False):
        out, processes = StringIO(), Slowly(delays, found)
        keep = (lambda record: record.outcome == "succeeded") if chosen else None
        showing = Showing(SinkView(name, out, Options(prompt=False)), processes, keep)  # type: ignore[arg-type]
        showing.left = left
        for records in fresh() if together else [written([each]) for batch in fresh() for each in batch]:
            showing.add(records, ended=True)
            showing.show()
        showing.show(0)
        showing.view.close(Totals())
        shown.append(out.getvalue())
        tables.append((showing.tally.table(), showing.shown.table(), showing.left))
        forgotten.append(processes.forgotten)
    assert shown[0] == shown[1]
    assert tables[0] == tables[1]
    if left is None:
        assert {*forgotten[0]} == {*forgotten[1]}
    if name == "jsonl" and left is None:
        kept = [each for batch in batches() for each in batch if not chosen or each.outcome == "succeeded"]
        lines = [json.loads(line) for line in shown[0].splitlines()]
        assert [line["id"] for line in lines] == [each.id for each in kept]
        assert [line["process"] for line in lines] == [found[(*each.client, *each.proxy)] for each in kept]
        assert shown[0].count("curl") == sum(found[ends] == PROGRAMS[1] for ends in _ends(kept))


def _ends(records: list[Conversation]) -> list[Endpoints]:
    return [(*each.client, *each.proxy) for each in records]


def test_a_connection_is_forgotten_behind_the_last_of_its_conversations() -> None:
    order: list[Any] = []

    class Noted(Slowly):
        def find(self, endpoints: Endpoints) -> Process | None:
            order.append(("find", endpoints))
            return None

        def forget(self, endpoints: Endpoints) -> None:
            order.append(("forget", endpoints))

    (chained,) = socks5sniff.read(CAPTURES / "chain-of-three.pcapng").batches()
    ends = chained.endpoints()
    assert any(one == other for one, other in pairwise(ends))
    showing = Showing(SinkView("jsonl", StringIO(), Options()), Noted(dict.fromkeys(ends, 0), {}))  # type: ignore[arg-type]
    showing.add(chained, ended=True)
    showing.show()
    for each in {*ends}:
        assert order.index(("forget", each)) > max(at for at, what in enumerate(order) if what == ("find", each))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_summary_counts_rows_of_forms_as_written_ones(size: int) -> None:
    counted, one_by_one = Tally(), Tally()
    for batch in batches():
        for begin in range(0, len(batch), size):
            counted.add(batch.slice(begin, begin + size))
        for each in batch:
            one_by_one.add(written([each]))
    assert counted.conversations == one_by_one.conversations
    assert counted.outcomes() == one_by_one.outcomes()
    assert counted.table() == one_by_one.table()
