"""A batch of records says of its rows what the records say one by one, whether they are columns or written out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch, joined, written
from tests.analysis.test_net import ROOT, whole

CAPTURE = ROOT / "captures" / "connect-many.pcapng"


@pytest.fixture(scope="module")
def batch() -> Batch:
    """The records of a capture of many conversations; every third row is written out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshakes, "FEW", 0)
        analyser = Analyser()
        parts = [part for each in whole(CAPTURE) for part in analyser.take(each)] + analyser.finish()
    found = max(parts, key=lambda part: len(part.of_forms()))
    for row in range(0, len(found), 3):
        found.write_out(row)
    assert len(found.of_forms()) == 8
    return found


def shown(rows: Batch) -> list[dict[str, object]]:
    return [record.as_dict() for record in rows]


def test_rows_are_columns_or_written_out(batch: Batch) -> None:
    assert batch.of_forms().tolist() == [row for row, each in enumerate(batch.written) if each is None]
    assert [batch.row(row).as_dict() for row in range(len(batch))] == shown(batch)
    assert [record.id for record in batch] == batch.id.tolist()


def test_endpoints_numbers_and_times(batch: Batch) -> None:
    records = list(batch)
    assert batch.endpoints() == [(*record.client, *record.proxy) for record in records]
    for name in ("tcp_stream", "first_frame", "packets"):
        assert batch.numbers(name).tolist() == [getattr(record, name) for record in records]
    assert batch.times("start").tolist() == [record.start_ns for record in records]
    assert batch.times("end").tolist() == [record.end_ns for record in records]


def test_upstreams(batch: Batch) -> None:
    expected = Counter(
        (Endpoint(**record.upstream["source"]), Endpoint(**record.upstream["destination"]))
        for record in batch
        if record.upstream is not None
    )
    assert Counter(batch.upstreams()) == expected
    assert expected


def test_rows_of_columns_by_proxy(batch: Batch) -> None:
    records = list(batch)
    counts: Counter[tuple[Endpoint, str]] = Counter()
    octets: Counter[tuple[Endpoint, str, int]] = Counter()
    for row in batch.of_forms().tolist():
        record: Conversation = records[row]
        counts[record.proxy, record.outcome] += 1
        for way in (0, 1):
            octets[record.proxy, record.outcome, way] += record.bytes[way] if record.bytes else 0
    found: Counter[tuple[Endpoint, str]] = Counter()
    through: Counter[tuple[Endpoint, str, int]] = Counter()
    for proxy, outcome, count, sent, received in batch.by_proxy():
        found[proxy, outcome] += count
        through.update({(proxy, outcome, 0): sent, (proxy, outcome, 1): received})
    assert found == counts
    assert +through == +octets
    assert list(written(records).by_proxy()) == []


def test_some_of_the_rows(batch: Batch) -> None:
    every = shown(batch)
    assert shown(batch.slice(2, 9)) == every[2:9]
    assert shown(batch.take(np.array([5, 1, 8]))) == [every[5], every[1], every[8]]
    assert shown(batch.select([row % 4 == 1 for row in range(len(batch))])) == every[1::4]


def test_rows_of_several_batches_together(batch: Batch) -> None:
    others = written([batch.row(0), batch.row(1)])
    every = shown(batch)
    assert shown(joined([others, batch, others])) == [*every[:2], *every, *every[:2]]


def test_processes_are_told_of_either_kind_of_row(batch: Batch) -> None:
    some = joined([batch.slice(0, 12)])
    before = [record.process for record in some]
    processes = [{"name": f"p{row % 2}", "pid": row % 2} if row % 5 else None for row in range(len(some))]
    some.name(processes)
    assert [record.process for record in some] == [new or old for new, old in zip(processes, before, strict=True)]
