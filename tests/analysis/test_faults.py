"""An error of this program in one connection stays in it: the others' records are as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import socks5sniff
from socks5sniff.analysis import forms, handshakes, records, relay
from socks5sniff.analysis.association import Association
from socks5sniff.analysis.delivery import Delivery
from socks5sniff.analysis.faults import MAX_TEXT, RAISE, Faults
from socks5sniff.analysis.forms import Forms
from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.analysis.names import Names
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from socks5sniff.record import Conversation
from socks5sniff.session import Session
from tests.analysis.test_net import cut, whole
from tests.cli.test_live_run import Player
from tests.traffic import PLAIN, batches, connection

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
MANY = CAPTURES / "connect-many.pcapng"
UDP = CAPTURES / "udp-associate.pcapng"


@pytest.fixture(autouse=True)
def contained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RAISE)


def failing_at(frame: int) -> Callable[..., None]:
    """`Session.feed`, but for one packet."""
    feed = Session.feed

    def fails(self: Session, side: int, octets: bytes, number: int, time: int) -> None:
        if number == frame:
            raise LookupError("no such\nthing \x1b[31m")
        feed(self, side, octets, number, time)

    return fails


def codes(record: Conversation) -> list[str]:
    return [entry.code for entry in record.anomalies]


def without(records: list[Conversation], at: int) -> list[dict[str, Any]]:
    return [record.as_dict() for record in records if record.id != at]


@pytest.fixture(params=[0, 1 << 30], ids=["forms", "one by one"])
def judged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FEW", request.param)


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("kind", ["greeting", "method-selection", "request", "reply"])
def test_one_connection_alone_is_touched(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(socks5sniff.read(MANY))
    victim = expected[3]
    frame = next(entry.frame for entry in victim.frames if entry.type == kind)
    monkeypatch.setattr(Session, "feed", failing_at(frame))
    monkeypatch.setattr(forms.Forms, "_form", lambda *_: -1)  # a form would spare the connection
    reading = socks5sniff.read(MANY)
    found = list(reading)
    assert [record.id for record in found] == [record.id for record in expected]
    assert without(found, victim.id) == without(expected, victim.id)
    touched = found[3]
    assert (touched.client, touched.proxy, touched.packets) == (victim.client, victim.proxy, victim.packets)
    entry = touched.anomalies[-1]
    assert (entry.code, entry.severity) == ("internal-error", "error")
    assert "LookupError: no such thing" in entry.message
    assert "test_faults.py" in entry.message
    assert touched.outcome == "incomplete"
    assert len(reading.faults) == 1
    assert [seen.type for seen in touched.frames] == [
        seen.type for seen in victim.frames if seen.frame < frame
    ], "what was read before stays"


def test_tests_see_such_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RAISE, "1")
    monkeypatch.setattr(Session, "feed", failing_at(next(iter(socks5sniff.read(MANY))).frames[0].frame))
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    with pytest.raises(LookupError):
        list(socks5sniff.read(MANY))


def raises(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("where", "name"),
    [(Forms, "_form"), (Forms, "_name"), (Forms, "recognise"), (forms, "_learn"), (forms, "arrange"), (forms, "parse")],
)
def test_a_form_that_fails_takes_none_with_it(where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no form is judged by itself, and no record is other than it would be."""
    expected = [record.as_dict() for record in socks5sniff.read(MANY)]
    monkeypatch.setattr(handshakes, "FEW", 0)
    monkeypatch.setattr(where, name, raises)
    reading = socks5sniff.read(MANY)
    assert [record.as_dict() for record in reading] == expected
    assert len(reading.faults) >= 1
    assert reading.faults.first.startswith("ZeroDivisionError: by zero")


@pytest.mark.parametrize(("few", "name"), [(0, "_columns"), (1 << 30, "build")])
def test_a_record_that_cannot_be_made_is_there_all_the_same(
    few: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(socks5sniff.read(MANY))
    monkeypatch.setattr(handshakes, "FEW", few)
    monkeypatch.setattr(records.Records if name == "_columns" else records, name, raises)
    found = list(socks5sniff.read(MANY))
    assert [(each.id, each.proxy, each.packets, each.close) for each in found] == [
        (each.id, each.proxy, each.packets, each.close) for each in expected
    ]
    assert [codes(each) for each in found if each.first_frame == expected[0].first_frame] == [["internal-error"]]


@pytest.mark.usefixtures("judged")
def test_a_tunnel_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "identify", raises)
    monkeypatch.setattr(relay, "identify", raises)
    for record in socks5sniff.read(MANY):
        assert record.outcome == "succeeded"
        assert record.destination is not None
        assert record.tunnel is None
        assert "internal-error" in codes(record)


@pytest.mark.parametrize(
    ("where", "name"),
    [(Association, "of"), (Association, "findings"), (Delivery, "_count"), (Delivery, "_run")],
)
def test_datagrams_that_fail(where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, name, raises)
    (record,) = socks5sniff.read(UDP)
    assert "internal-error" in codes(record)


def test_what_belongs_to_no_connection_is_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [record.as_dict() for record in socks5sniff.read(MANY)]
    monkeypatch.setattr(Names, "learn", raises)
    reading = socks5sniff.read(MANY)
    assert [record.as_dict() for record in reading] == expected
    assert len(reading.faults) >= 1


def test_a_port_that_is_not_trusted_and_an_error_before_any_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "feed", raises)
    packets = list(connection(PLAIN, proxy=("10.0.0.9", 7777)))
    analyser = LiveAnalyser()
    found: list[Conversation] = []
    for batch in batches([(packet.time, packet.frame()) for packet in packets]):
        found += chain.from_iterable(analyser.take(batch))
        assert [codes(record) for record in analyser.news()] == [["internal-error"]]
    (record,) = [*found, *chain.from_iterable(analyser.finish())]
    assert codes(record) == ["internal-error"]
    assert (record.protocol, record.outcome, record.phase) == (None, "incomplete", None)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_live(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = whole(MANY)
    victim = list(socks5sniff.read(MANY))[2]
    expected = {record.id: record.as_dict() for record in socks5sniff.read(MANY)}
    monkeypatch.setattr(Session, "feed", failing_at(victim.frames[1].frame))
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    analyser = LiveAnalyser()
    found: list[Conversation] = []
    for batch in frames:
        for part in cut([batch], size):
            found += chain.from_iterable(analyser.take(part))
            analyser.news()
    found += chain.from_iterable(analyser.finish())
    assert {record.id for record in found} == expected.keys()
    for record in found:
        if record.id != victim.id:
            assert record.as_dict() == expected[record.id]
        else:
            assert "internal-error" in codes(record)
    assert len(analyser.faults) == 1, "however often it is looked at"


def test_the_command_says_how_to_report_it_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Session, "feed", failing_at(next(iter(socks5sniff.read(MANY))).frames[0].frame))
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    for command in (["read", "--format", "jsonl"], ["stats"], ["explain"], ["bypass"]):
        assert main([command[0], str(MANY), *command[1:]]) == ExitCode.FAILED
        out, err = capsys.readouterr()
        assert err.count("\n") == 1
        assert "LookupError: no such thing \\x1b[31m" in err
        assert "github.com/socks5sniff/socks5sniff/issues" in err
        if command[0] == "read":
            assert "internal-error" in out
            assert len([json.loads(line) for line in out.splitlines()]) == len(list(socks5sniff.read(MANY)))


def test_commands_that_take_octets_out_say_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Session, "feed", failing_at(next(iter(socks5sniff.read(MANY))).frames[0].frame))
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    for command in (["follow", "2"], ["extract", "-o", str(tmp_path / "out")], ["decap", "-o", str(tmp_path / "x")]):
        assert main([command[0], str(MANY), *command[1:]]) == ExitCode.FAILED
        assert "LookupError: no such thing" in capsys.readouterr().err
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_size
    assert (tmp_path / "x").stat().st_size


def test_texts_are_short_and_hold_no_password() -> None:
    faults = Faults()
    told = faults.note(ValueError("x" * 10_000 + "secret"), 1, b"secret")
    assert len(told) < MAX_TEXT + 40
    assert faults.note(KeyError("alice:secret"), 2, b"secret") == "KeyError: 'alice:********'"
    assert len(faults) == 2
    faults.note(KeyError(), 2)
    assert len(faults) == 2


def test_live_says_it_once_as_it_happens_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = len(list(socks5sniff.read(MANY)))
    monkeypatch.setattr(Session, "feed", failing_at(next(iter(socks5sniff.read(MANY))).frames[0].frame))
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    monkeypatch.setattr("socks5sniff.live.opening.open_engine", lambda *_: Player(list(cut(whole(MANY), 20))))
    monkeypatch.setattr("socks5sniff.cli.live._give_up_rights", lambda *_: "")
    assert main(["live", "--format", "jsonl", "--no-process", "--until-idle", "1ms"]) == ExitCode.FAILED
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == expected
    told = [line for line in err.splitlines() if "LookupError" in line]
    assert len(told) == 1
    assert "github.com/socks5sniff/socks5sniff/issues" in told[0]
