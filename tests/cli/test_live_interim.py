"""`live --interim`: records of open conversations, so that a crash loses minutes, not days."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from socks5sniff.analysis import handshakes
from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.cli import main
from socks5sniff.cli.live_run import Limits, Watch
from socks5sniff.cli.live_showing import Showing
from socks5sniff.cli.live_views import SinkView
from socks5sniff.errors import ExitCode
from socks5sniff.record import Conversation
from socks5sniff.sinks import Options
from tests.analysis.test_net import cut, whole
from tests.traffic import PLAIN, SECOND, START, Packet, batches, connection

from .test_live_run import Player

CAPTURES = Path(__file__).resolve().parents[2] / "captures"


def dialogues(count: int, pause: int = SECOND) -> list[Packet]:
    """So many conversations, one after the other, each 12 ms long."""
    return [
        packet
        for number in range(count)
        for packet in connection(PLAIN, client=("10.0.0.1", 40000 + number), begin=START + number * pause)
    ]


def asked_after_each(packets: Sequence[Packet], size: int) -> Iterator[tuple[list[Conversation], list[Conversation]]]:
    """Records that have ended and records that stand, after every batch of `size` packets, and at the end."""
    analyser = LiveAnalyser()
    frames = [(packet.time, packet.frame()) for packet in packets]
    for batch in batches(frames, [size] * (len(frames) // size)):
        ended = analyser.take(batch)
        more, standing = analyser.interim()
        yield [*chain.from_iterable(ended + more)], standing
    yield [*chain.from_iterable(analyser.finish())], []


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("size", [1, 7, 30])
def test_ids_are_those_of_the_last_record(few: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FEW", few)
    packets = dialogues(12, 4_000_000)  # three of them open at any time
    packets.sort(key=lambda packet: packet.time)
    final: dict[int, Conversation] = {}
    early: list[Conversation] = []
    for ended, standing in asked_after_each(packets, size):
        early += standing
        final |= {record.id: record for record in ended}
        assert all(record.interim for record in standing)
        assert not any(record.interim for record in ended)
    assert sorted(final) == [*range(1, 13)]
    assert [final[number].client.port for number in sorted(final)] == [*range(40000, 40012)]
    assert {record.id for record in early} <= final.keys()
    for record in early:
        last = final[record.id]
        assert (record.client, record.first_frame, record.tcp_stream) == (
            last.client, last.first_frame, last.tcp_stream
        )  # fmt: skip
        assert record.packets <= last.packets
        assert record.start_ns == last.start_ns


def test_a_long_tunnel_grows() -> None:
    said = [*PLAIN, *([(1, b"x" * 1000)] * 20)]
    told = [
        (record.id, record.outcome, record.close, record.bytes and record.bytes.received)
        for _, standing in asked_after_each(connection(said, closing=False), 1)
        for record in standing
    ]
    assert {number for number, *_ in told} == {1}
    received = [amount for _, outcome, _, amount in told if outcome == "succeeded"]
    assert received == sorted(received)
    assert received[-1] == 20_000 + len(PLAIN[-1][1])
    assert {close for _, _, close, _ in told} == {"open"}


def test_a_conversation_in_an_open_tunnel_says_whose_tunnel_it_is() -> None:
    packets = connection([*PLAIN[:4], *PLAIN[:4], *PLAIN], closing=False)
    *_, (_, standing), _ = asked_after_each(packets, 1)
    assert [(record.id, record.parent) for record in standing] == [(1, None), (2, 1), (3, 2)]


@pytest.mark.parametrize("name", ["connect-many", "chain-of-three", "udp-associate", "gssapi-integrity", "bind"])
def test_asking_changes_no_record(name: str) -> None:
    """But for ids that must be given before a conversation inside an older tunnel is found."""
    path = CAPTURES / f"{name}.pcapng"
    found: list[list[dict[str, Any]]] = []
    for asks in (False, True):
        analyser = LiveAnalyser()
        records: list[Conversation] = []
        for batch in cut(whole(path), 5):
            records += chain.from_iterable(analyser.take(batch))
            if asks:
                records += chain.from_iterable(analyser.interim()[0])
        records += chain.from_iterable(analyser.finish())
        records.sort(key=lambda record: (record.first_frame, record.id))
        assert sorted(record.id for record in records) == [*range(1, len(records) + 1)]
        chained = {"id": 0, "parent": 0} if name.startswith("chain") else {}
        found.append([record.as_dict() | chained for record in records])
    assert found[0] == found[1]


def test_inside_a_tunnel() -> None:
    """A chain's inner conversations have their parents' ids."""
    analyser = LiveAnalyser()
    (batch,) = whole(CAPTURES / "chain-of-three.pcapng")
    half = list(cut([batch], len(batch) - 8))
    analyser.take(half[0])
    _, standing = analyser.interim()
    found = {record.id: record for record in standing}
    inner = [record for record in standing if record.parent is not None]
    assert inner
    assert all(found[record.parent or 0].tcp_stream == record.tcp_stream for record in inner)


def shown(form: str, left: int | None = None) -> str:
    out = io.StringIO()
    packets = dialogues(4)
    played = list(batches([(packet.time, packet.frame()) for packet in packets], [10] * 4))
    showing = Showing(SinkView(form, out, Options(interim=True)))
    watch = Watch(Player(played), LiveAnalyser(), showing, interim=1e-9)
    watch.run(Limits(count=left, idle=0.01))
    return out.getvalue()


def test_jsonl() -> None:
    found = [json.loads(line) for line in shown("jsonl").splitlines()]
    assert [record["id"] for record in found if "interim" not in record] == [1, 2, 3, 4]
    early = [record for record in found if "interim" in record]
    assert early
    assert all(record["interim"] is True for record in early)


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(shown("csv"))))
    assert [row["id"] for row in rows if row["interim"] == ""] == ["1", "2", "3", "4"]
    assert {row["interim"] for row in rows} == {"", "true"}


def test_zeek() -> None:
    lines = shown("zeek").splitlines()
    (names,) = (line.split("\t")[1:] for line in lines if line.startswith("#fields"))
    (types,) = (line.split("\t")[1:] for line in lines if line.startswith("#types"))
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines if not line.startswith("#")]
    assert (names[-1], types[-1]) == ("interim", "bool")
    assert [row["interim"] for row in rows].count("F") == 4
    told = {flag: {row["uid"] for row in rows if row["interim"] == flag} for flag in "TF"}
    assert told["T"] <= told["F"]


def test_a_count_is_of_records_that_are_complete() -> None:
    found = [json.loads(line) for line in shown("jsonl", left=2).splitlines()]
    assert [record["id"] for record in found if "interim" not in record] == [1, 2]


@pytest.mark.parametrize("form", [[], ["--format", "accesslog"], ["--view", "table"]])
def test_formats_that_cannot_say_so(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--interim", "5m", *form]) == ExitCode.USAGE
    assert "--interim goes with --format jsonl, csv or zeek" in capsys.readouterr().err
