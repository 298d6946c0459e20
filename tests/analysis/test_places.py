"""Files of one place are read as one capture; files that contradict each other are different places."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import socks5sniff
from socks5sniff.analysis.places import APART, Life, contradicting, places
from socks5sniff.cli import main
from socks5sniff.errors import DamagedInputError, ExitCode
from tests.traffic import (
    ANSWER,
    CHOICE,
    CLIENT,
    GREETING,
    HTTP,
    PLAIN,
    REPLY,
    SECOND,
    SERVER,
    START,
    SYN,
    Packet,
    connection,
    six,
)

from .dialogues import DIALOGUES

OTHER = b"\5\1\0\3\x0bexample.net\1\xbb"
"""A request as long as the plain one."""


def pcap(packets: Iterable[Packet]) -> bytes:
    """A pcap file with nanoseconds."""
    records = [
        struct.pack("<IIII", p.time // SECOND, p.time % SECOND, len(p.frame()), len(p.frame())) + p.frame()
        for p in packets
    ]
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1) + b"".join(records)


def save(folder: Path, *files: Iterable[Packet]) -> list[str]:
    paths = [folder / f"{number}.pcap" for number in range(len(files))]
    for path, packets in zip(paths, files, strict=True):
        path.write_bytes(pcap(packets))
    return [str(path) for path in paths]


def facts(names: Sequence[str], **options: Any) -> list[tuple[Any, ...]]:
    return [
        (each.id, Path(each.capture).name, each.destination and each.destination.host, each.outcome, each.packets)
        for each in socks5sniff.read(names, **options)
    ]


def with_request(request: bytes, **changes: Any) -> list[Packet]:
    return connection([*PLAIN[:2], (CLIENT, request), *PLAIN[3:]], **changes)


def after(packets: Iterable[Packet], nanoseconds: int) -> list[Packet]:
    return [replace(packet, time=packet.time + nanoseconds) for packet in packets]


class TestContradictions:
    """The same endpoints, times and sequence numbers in several files, but not the same connection."""

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("late", [0, 400_000, SECOND, 30 * SECOND])
    def test_other_octets(self, tmp_path: Path, version: int, late: int) -> None:
        one, other = with_request(PLAIN[2][1]), after(with_request(OTHER), late)
        files = [six(file) if version == 6 else file for file in (one, other)]
        assert facts(save(tmp_path, *files)) == [
            (1, "0.pcap", "example.com", "succeeded", 12),
            (2, "1.pcap", "example.net", "succeeded", 12),
        ]

    @pytest.mark.parametrize("one", DIALOGUES)
    @pytest.mark.parametrize("other", DIALOGUES)
    def test_any_two_dialogues(self, tmp_path: Path, one: str, other: str) -> None:
        names = save(tmp_path, connection(DIALOGUES[one]), connection(DIALOGUES[other]))
        assert len(facts(names)) == 1 + (one != other)
        assert len(facts(names, each=True)) == 2

    def test_one_ends_where_the_other_goes_on(self, tmp_path: Path) -> None:
        names = save(tmp_path, connection(PLAIN[:3]), connection(PLAIN))
        assert [outcome for *_, outcome, _ in facts(names)] == ["incomplete", "succeeded"]

    def test_two_connections_at_once(self, tmp_path: Path) -> None:
        names = save(tmp_path, connection(PLAIN), connection(PLAIN, starts=(77_000, 99_000)))
        assert [len(group) for group in places(names)] == [1, 1]
        assert len(facts(names)) == 2

    def test_the_beginning_is_not_captured(self, tmp_path: Path) -> None:
        one, other = (with_request(request, opening=False) for request in (PLAIN[2][1], OTHER))
        assert len(facts(save(tmp_path, one, other))) == 2

    def test_another_reply_alone(self, tmp_path: Path) -> None:
        refused = [*PLAIN[:3], (SERVER, b"\5\5" + REPLY[2:])]
        names = save(tmp_path, connection(PLAIN[:4]), connection(refused), connection(PLAIN[:4]))
        assert [outcome for *_, outcome, _ in facts(names)] == ["succeeded", "rejected"], "the third is the first again"

    def test_nothing_else_of_different_places_is_joined(self, tmp_path: Path) -> None:
        """A file that fits both goes to the first; connections that only one of them has stay with it."""
        alone = [connection(PLAIN, client=("10.0.0.1", port)) for port in (41000, 41001)]
        files = [with_request(PLAIN[2][1]) + alone[0], with_request(OTHER) + alone[1]]
        found = facts(save(tmp_path, *files))
        assert [capture for _, capture, *_ in found] == ["0.pcap", "0.pcap", "1.pcap", "1.pcap"]
        assert [number for number, *_ in found] == [1, 2, 3, 4]

    def test_frames_are_those_of_the_file(self, tmp_path: Path) -> None:
        names = save(tmp_path, with_request(PLAIN[2][1]), with_request(OTHER))
        alone = [next(iter(socks5sniff.read(name))).as_dict() for name in names]
        together = [record.as_dict() for record in socks5sniff.read(names)]
        assert together == [alone[0], {**alone[1], "id": 2}]

    def test_many(self, tmp_path: Path) -> None:
        hosts = [f"host-{number:02}.tld" for number in range(30)]
        requests = [b"\5\1\0\3" + bytes([len(host)]) + host.encode() + b"\0\x50" for host in hosts]
        names = save(tmp_path, *(with_request(request) for request in requests))
        assert [host for _, _, host, *_ in facts(names)] == hosts

    def test_compressed(self, tmp_path: Path) -> None:
        names = save(tmp_path, with_request(PLAIN[2][1]), with_request(OTHER))
        packed = Path(names[1] + ".gz")
        packed.write_bytes(gzip.compress(Path(names[1]).read_bytes()))
        assert len(facts([names[0], str(packed)])) == 2

    def test_begun_anew_with_the_same_number_in_one_file(self, tmp_path: Path) -> None:
        """No FIN, a minute of silence, and a SYN: a stack whose first number is always the same."""
        one = connection(PLAIN, closing=False)
        for pause, expected in ((10 * SECOND, 1), (APART + SECOND, 2)):
            found = facts(save(tmp_path, one + after(with_request(OTHER), pause)))
            assert len(found) == expected


def joined(tmp_path: Path, *files: Iterable[Packet]) -> list[dict[str, Any]]:
    names = save(tmp_path, *files)
    assert places(names) == [names]
    return [{**record.as_dict(), "capture": ""} for record in socks5sniff.read(names)]


class TestWhatFits:
    """It is one capture, and the same record."""

    WHOLE = connection(PLAIN)

    @pytest.mark.parametrize("at", range(1, len(WHOLE)))
    def test_rotation(self, tmp_path: Path, at: int) -> None:
        assert joined(tmp_path, self.WHOLE[:at], self.WHOLE[at:]) == joined(tmp_path, self.WHOLE)

    @pytest.mark.parametrize("offset", [0, -37 * SECOND, 37 * SECOND, 100_000])
    def test_one_direction_a_file(self, tmp_path: Path, offset: int) -> None:
        up = [packet for packet in self.WHOLE if packet.side == CLIENT]
        down = after((packet for packet in self.WHOLE if packet.side == SERVER), offset)
        (record,) = joined(tmp_path, up, down)
        assert (record["outcome"], record["packets"]) == ("succeeded", 12)
        assert record["bytes"] == {"sent": len(HTTP), "received": len(ANSWER)}

    @pytest.mark.parametrize("offset", [0, 5_000, 100_000_000])
    def test_two_taps(self, tmp_path: Path, offset: int) -> None:
        (record,) = joined(tmp_path, self.WHOLE, after(self.WHOLE, offset))
        assert (record["outcome"], record["packets"]) == ("succeeded", 24)
        assert record["bytes"] == {"sent": len(HTTP), "received": len(ANSWER)}

    def test_another_segmentation(self, tmp_path: Path) -> None:
        """One tap sees segments that an offload has put together."""
        merged = connection([(CLIENT, GREETING), (SERVER, CHOICE), *PLAIN[2:]])
        apart = connection([(CLIENT, GREETING[:2]), (CLIENT, GREETING[2:]), (SERVER, CHOICE), *PLAIN[2:]])
        assert len(joined(tmp_path, merged, apart)) == 1

    def test_a_keep_alive(self, tmp_path: Path) -> None:
        alive = [*self.WHOLE[:9], replace(self.WHOLE[9], octets=b"\0", sequence=self.WHOLE[7].sequence)]
        assert len(joined(tmp_path, self.WHOLE, alive)) == 1

    def test_ports_used_again(self, tmp_path: Path) -> None:
        """One tap has both connections, the other began between them."""
        again = after(connection(PLAIN, starts=(800_000, 900_000)), 10 * SECOND)
        assert len(joined(tmp_path, self.WHOLE + again, again)) == 2
        assert len(joined(tmp_path, self.WHOLE, again)) == 2

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(0, 2), min_size=24, max_size=24))
    def test_packets_in_any_files(self, tmp_path: Path, where: list[int]) -> None:
        packets = self.WHOLE + after(connection(PLAIN, client=("10.0.0.2", 40000)), 5_000_000)
        files = [[p for p, number in zip(packets, where, strict=True) if number == file] for file in range(3)]
        names = save(tmp_path, *(file for file in files if file))
        assert places(names) == [names]


class TestEach:
    """`--each`."""

    def test_a_file_by_itself(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        whole = connection(PLAIN)
        names = save(tmp_path, whole, whole, whole[:5])
        assert len(facts(names)) == 1
        assert main(["read", "--each", "--format", "jsonl", *names]) == ExitCode.OK
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(each["id"], Path(each["capture"]).name, each["packets"]) for each in found] == [
            (1, "0.pcap", 12), (2, "1.pcap", 12), (3, "2.pcap", 5),
        ]  # fmt: skip
        for record, name in zip(found, names, strict=True):
            assert {**record, "id": 1} == next(iter(socks5sniff.read(name))).as_dict()

    def test_counts_are_of_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        refused = [Packet(CLIENT, SYN, 1, 0), Packet(SERVER, 4 | 16, 0, 2, time=START + 1)]
        names = save(tmp_path, connection(PLAIN) + refused, refused)
        reading = socks5sniff.read(names, each=True)
        assert len(list(reading)) == reading.conversations == 1
        assert reading.packets == 16
        assert [(outcome, count) for _, outcome, count in reading.attempt_counts] == [("refused", 2)]
        assert [attempt.outcome for attempt in reading.attempts] == ["refused", "refused"]
        assert main(["stats", "--each", "--format", "json", *names]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out)["packets"] == 16

    def test_a_damaged_file_ends_itself_alone(self, tmp_path: Path) -> None:
        names = save(tmp_path, with_request(OTHER), connection(PLAIN))
        Path(names[0]).write_bytes(Path(names[0]).read_bytes()[:-5])
        for each in (True, False):
            reading = socks5sniff.read(names, each=each)
            with pytest.raises(DamagedInputError, match=r"0\.pcap: truncated"):
                list(reading)
            assert reading.conversations == 2

    def test_what_a_directory_holds_besides(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        save(tmp_path, connection(PLAIN), connection(PLAIN))
        (tmp_path / "notes.txt").write_text("no capture")
        assert main(["read", "--each", "--format", "jsonl", str(tmp_path)]) == ExitCode.OK
        assert len(capsys.readouterr().out.splitlines()) == 2


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    """What some files have between two endpoints."""
    numbers = st.frozensets(st.integers(1, 4), min_size=1, max_size=2) | st.frozensets(st.integers(1, 200), min_size=1)
    drawn = draw(st.lists(st.tuples(numbers, st.integers(0, 300), st.integers(0, 40)), max_size=200))
    return [Life(file, firsts, begin, begin + length) for file, (firsts, begin, length) in enumerate(drawn)]


@given(lives())
def test_who_contradicts_another_is_found_in_one_pass(found: list[Life]) -> None:
    def contradicts(one: Life, other: Life) -> bool:
        return one.firsts.isdisjoint(other.firsts) and one.begin <= other.end and other.begin <= one.end

    expected = {one.file for one in found if any(contradicts(one, other) for other in found)}
    told = [life.file for life in contradicting(found)]
    assert len(told) == len(set(told))
    assert set(told) == expected


@pytest.mark.parametrize(
    ("step", "length", "same"), [(10, 5, False), (0, 5, True), (0, 5, False), (1, 10_000_000, False)]
)
def test_very_many_files_with_the_same_endpoints_cost_as_much_as_they_are(step: int, length: int, same: bool) -> None:
    """One after the other, of one connection, of as many, and with ever longer ones."""
    many = [
        Life(file, frozenset({0 if same else file}), file * step, file * step + length) for file in range(100_000)
    ]
    assert len(contradicting(many)) in (0, len(many))
