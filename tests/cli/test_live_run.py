"""The loop of a live capture on an engine that plays recorded captures: news, ticks, limits, what is saved."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import socks5sniff
from socks5sniff.analysis.live import ASSOCIATED, LiveAnalyser
from socks5sniff.capture import open_captures
from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.cli import live_run
from socks5sniff.cli.live_run import Limits, Watch
from socks5sniff.cli.live_showing import Showing
from socks5sniff.cli.live_views import LinesView
from socks5sniff.errors import InputError
from socks5sniff.live.engine import Counts
from socks5sniff.live.processes import Endpoints, Process
from socks5sniff.live.rotation import Rotation
from socks5sniff.live.saving import Saving
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Totals
from socks5sniff.sinks.clock import Clock

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
SOME = (
    "auth-password", "auth-refused", "bind", "chain", "connect-many", "gssapi", "method-refusal", "port-reuse",
    "reversed", "silent", "slow", "socks4", "split", "reply-connection-refused", "udp-associate", "udp-fragments",
)  # fmt: skip
LOGIN = "auth-password-loopback"


def named(*words: str) -> list[Path]:
    return sorted({path for word in words for path in CAPTURES.glob(f"*{word}*.pcapng")})


def slices(path: Path, size: int) -> Iterator[FrameBatch]:
    """A capture in batches of `size` frames."""
    for batch in open_captures([str(path)]):
        for first in range(0, len(batch), size):
            rows = slice(first, first + size)
            yield replace(
                batch,
                offset=batch.offset[rows],
                captured=batch.captured[rows],
                length=batch.length[rows],
                time=batch.time[rows],
                first_number=batch.first_number + first,
                interface=batch.interface[rows],
            )


class Player:
    """An engine that plays batches, then is idle, or fails."""

    name = "player"

    def __init__(self, batches: list[FrameBatch], fault: InputError | None = None) -> None:
        self.interfaces = batches[0].interfaces if batches else [Interface("lo", "lo", 1)]
        self.notices: list[str] = []
        self.closed = False
        self._batches = iter(batches)
        self._fault = fault

    def wait(self, seconds: float) -> FrameBatch | None:
        batch = next(self._batches, None)
        if batch is None and self._fault is not None:
            raise self._fault
        return batch

    def counts(self) -> list[Counts]:
        return [Counts(7, 0)]

    def close(self) -> None:
        self.closed = True


class Seen:
    """A view that keeps what it is shown."""

    wants_news = True

    def __init__(self) -> None:
        self.told: list[Conversation] = []
        self.records: list[Conversation] = []
        self.order: list[str] = []
        self.totals: Totals | None = None

    def news(self, conversation: Conversation) -> None:
        self.told.append(conversation)
        self.order.append(f"+{conversation.tcp_stream}")

    def ended(self, records: Batch) -> None:
        self.records += records
        self.order += [f"-{conversation.tcp_stream}" for conversation in records]

    def refresh(self, packets: int) -> None:
        pass

    def close(self, totals: Totals) -> None:
        self.totals = totals


class Lookup:
    """Processes that answer after having been asked so many times whether they will."""

    def __init__(self, delay: int, known: bool = True) -> None:
        self._delay = delay
        self._known = known
        self.asked: list[Endpoints] = []
        self.forgotten: list[Endpoints] = []

    def ask(self, connections: list[Endpoints]) -> None:
        self.asked += connections

    def collect(self) -> None:
        self._delay -= 1

    def pending(self, endpoints: Endpoints, patience: float) -> bool:
        return self._delay > 0 and patience > 0

    def find(self, endpoints: Endpoints) -> Process | None:
        return {"pid": 4, "name": "curl"} if self._known else None

    def forget(self, endpoints: Endpoints) -> None:
        self.forgotten.append(endpoints)

    def close(self) -> None:
        pass


def play(batches: list[FrameBatch], limits: Limits | None = None, **options: Any) -> tuple[Seen, Watch]:
    view = Seen()
    showing = Showing(view, options.get("processes"), options.pop("keep", None))
    watch = Watch(Player(batches, options.pop("fault", None)), LiveAnalyser(udp_frames=True), showing, **options)
    watch.run(limits or Limits(idle=0.001))
    return view, watch


def as_read(path: Path) -> list[dict[str, Any]]:
    return [record.as_dict() for record in socks5sniff.read(str(path), udp_frames=True)]


def alone(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what the proxy's own connection tells: live may not have seen its end, or not have saved it."""
    for record in records:
        record["upstream"] = record["timing"]["upstream_handshake"] = None
    return records


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcapng")), ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 7])
def test_the_records_are_those_that_read_gives_however_the_frames_come(path: Path, size: int) -> None:
    view, watch = play(list(slices(path, size)))
    found = sorted((record.as_dict() for record in view.records), key=lambda record: record["id"])
    assert alone(found) == alone(as_read(path))
    assert watch.tally.conversations == len(view.records)
    assert watch.open == 0
    assert view.totals is not None
    assert view.totals.packets == watch.packets


@pytest.mark.parametrize("path", named(*SOME), ids=lambda path: path.stem)
def test_a_conversation_is_news_when_it_is_found_and_when_it_has_its_outcome(path: Path) -> None:
    view, _ = play(list(slices(path, 1)))
    final = {(record.tcp_stream, record.first_frame): record for record in view.records}
    for (stream, first), record in final.items():
        told = [entry for entry in view.told if (entry.tcp_stream, entry.first_frame) == (stream, first)]
        outcomes = [entry.outcome for entry in told]
        assert outcomes in (["incomplete", record.outcome], [record.outcome], ["incomplete"], [])
        if record.outcome in ("succeeded", "rejected", "auth-failed"):
            assert outcomes[-1] == record.outcome
            assert told[-1].destination == record.destination
            assert view.order.index(f"+{stream}") < view.order.index(f"-{stream}")


def test_a_line_waits_a_little_for_the_clients_process() -> None:
    (path,) = named(LOGIN)
    lookup = Lookup(delay=3)
    view, _ = play(list(slices(path, 1)), processes=lookup)
    assert {entry.process["name"] for entry in view.told if entry.process} == {"curl"}
    assert all(record.process == {"pid": 4, "name": "curl"} for record in view.records)
    assert len(lookup.forgotten) == len(view.records)
    assert {*lookup.asked} == {*lookup.forgotten}
    never, _ = play(list(slices(path, 1)), processes=Lookup(delay=10**9, known=False))
    assert len(never.told) == len(view.told)
    assert never.records[0].process is None
    assert never.order.index("+0") < never.order.index("-0")


def test_what_a_filter_keeps_out_is_neither_shown_nor_in_the_summary() -> None:
    path = named(LOGIN)[0]
    view, watch = play(list(slices(path, 5)), keep=lambda conversation: False)
    assert view.told == view.records == []
    assert watch.tally.conversations > 0
    assert (watch.shown.conversations, watch.shown.table()) == (0, "")


@pytest.mark.parametrize("path", named("udp-associate", "udp-fragments", LOGIN, "bind"), ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [3, 10_000])
def test_only_socks_keeps_all_of_each_conversation(path: Path, size: int, tmp_path: Path) -> None:
    file = tmp_path / "only.pcapng"
    batches = list(slices(path, size))
    noise = with_noise(batches)
    saving = Saving(str(file), noise[0].interfaces, 262_144, Rotation(), tuple, time.time_ns(), lambda error: None)
    view, _ = play(noise, saving=saving, only_socks=True)
    assert view.records
    kept = [batch.frame(row) for batch in open_captures([str(file)]) for row in range(len(batch))]
    assert NOISE not in kept
    numbers = {"id", "capture", "first_frame", "last_frame", "frames", "tcp_stream", "anomalies"}

    def facts(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in record.items() if key not in numbers} for record in records]

    assert facts(alone(as_read(file))) == facts(alone(as_read(path)))


NOISE = bytes.fromhex("00000000000000000000000008004500001c000000004011000001010101020202020035003500080000")


def with_noise(batches: list[FrameBatch]) -> list[FrameBatch]:
    """The same with a datagram of nobody's at the end of each batch."""
    noisy = []
    for index, batch in enumerate(batches):
        octets = np.concatenate((batch.octets, np.frombuffer(NOISE, np.uint8)))
        more = replace(
            batch,
            octets=octets,
            offset=np.append(batch.offset, len(batch.octets)),
            captured=np.append(batch.captured, len(NOISE)),
            length=np.append(batch.length, len(NOISE)),
            time=np.append(batch.time, batch.time[-1]),
            interface=np.append(batch.interface, batch.interface[-1]),
            first_number=batch.first_number + index,
        )
        noisy.append(more)
    return noisy


def test_each_frame_is_told_its_stream() -> None:
    path = named("udp-associate")[0]
    analyser = LiveAnalyser()
    streams = []
    for batch in slices(path, 10_000):
        analyser.take(batch)
        streams += analyser.streams(batch).tolist()
    (record,) = chain.from_iterable(analyser.finish())
    assert streams.count(record.tcp_stream) == record.packets
    assert record.udp is not None
    assert streams.count(ASSOCIATED) >= record.udp.datagrams_sent + record.udp.datagrams_received > 0


@pytest.mark.parametrize("size", [1, 7])
def test_newcomers_are_told_once_while_they_are_open(size: int) -> None:
    """Their processes are asked for while the connection still has one; those that have closed are not looked at."""
    path = named(LOGIN)[0]
    analyser = LiveAnalyser()
    told = []
    for batch in slices(path, size):
        analyser.take(batch)
        told += analyser.newcomers()
        assert analyser.newcomers() == []
    expected = [(record.client, record.proxy, True) for record in socks5sniff.read(str(path))]
    assert told == expected
    (everything,) = slices(path, 10_000)
    analyser = LiveAnalyser()
    analyser.take(everything)
    assert analyser.newcomers() == []


def test_time_alone_ends_what_is_closed() -> None:
    path = named(LOGIN)[0]
    analyser = LiveAnalyser()
    taken = [record for batch in slices(path, 10_000) for records in analyser.take(batch) for record in records]
    last = max(int(batch.time.max()) for batch in slices(path, 10_000))
    assert analyser.tick(last) == []
    later = [*chain.from_iterable(analyser.tick(last + 60_000_000_000))]
    assert len(taken) + len(later) == len(as_read(path))
    assert analyser.finish() == []


@pytest.mark.parametrize(("before", "catch_up", "read"), [(3600, 5.0, 36), (-3600, 5.0, 3), (3600, 0.0, 3)])
def test_what_was_captured_before_the_signal_is_read_however_late(
    monkeypatch: pytest.MonkeyPatch, before: int, catch_up: float, read: int
) -> None:
    """A machine that is behind its traffic catches up, for a while; what comes after the signal it leaves."""
    limits = Limits()

    class Signalled(list[FrameBatch]):
        def __iter__(self) -> Iterator[FrameBatch]:
            for number, batch in enumerate(super().__iter__()):
                if number == 2:
                    limits.ask()
                yield batch

    batches = [*slices(CAPTURES / "connect-many.pcapng", 10)]
    shift = time.time_ns() - before * 1_000_000_000 - int(batches[-1].time[-1])
    monkeypatch.setattr(live_run, "DRAIN", 0.0)
    monkeypatch.setattr(live_run, "CATCH_UP", catch_up)
    _, watch = play(Signalled(replace(batch, time=batch.time + shift) for batch in batches), limits)
    assert watch.packets == read * 10
    assert (limits.behind > 3599) is (catch_up == 0), "what is lost is told"


def test_it_stops_after_so_many_conversations_or_so_much_time_or_when_asked() -> None:
    path = named(LOGIN)[0]
    for size in (1, 10_000):
        view, watch = play(list(slices(path, size)), Limits(count=1, idle=0.2))
        assert len(view.records) == watch.tally.conversations == 1
    began = time.monotonic()
    play([], Limits(duration=0.2))
    assert time.monotonic() - began >= 0.2
    play([], Limits(asked=time.monotonic()))


def test_when_the_interface_goes_away_what_was_seen_is_shown_and_saved(tmp_path: Path) -> None:
    path = named(LOGIN)[0]
    batches = list(slices(path, 10_000))
    file = tmp_path / "x.pcapng"
    saving = Saving(str(file), batches[0].interfaces, 262_144, Rotation(), tuple, time.time_ns(), lambda error: None)
    view, watch = play(batches, fault=InputError("gone"), saving=saving)
    assert str(watch.fault) == "gone"
    assert len(view.records) == len(as_read(path)) > 0
    assert len(as_read(file)) == len(view.records)


def test_when_nobody_reads_the_lines_any_more_what_was_captured_is_saved(tmp_path: Path) -> None:
    class Gone(Seen):
        def ended(self, records: Batch) -> None:
            raise BrokenPipeError

    batches = list(slices(named(LOGIN)[0], 10_000))
    file = tmp_path / "x.pcapng"
    saving = Saving(str(file), batches[0].interfaces, 262_144, Rotation(), tuple, time.time_ns(), lambda error: None)
    player = Player(batches)
    with pytest.raises(BrokenPipeError):
        Watch(player, LiveAnalyser(), Showing(Gone()), saving=saving).run(Limits(idle=0.001))
    assert player.closed
    assert len(as_read(file)) == 1


def test_lines_of_a_whole_capture() -> None:
    path = named(LOGIN)[0]
    out = io.StringIO()
    view = LinesView(out, colour=False, frames=True, clock=Clock())
    watch = Watch(Player(list(slices(path, 4))), LiveAnalyser(), Showing(view))
    watch.run(Limits(idle=0.001))
    lines = out.getvalue().splitlines()
    assert sum(" + " in line for line in lines) == sum(" - " in line for line in lines) == watch.tally.conversations
    assert any("client: Greeting:" in line for line in lines)
