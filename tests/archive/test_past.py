"""What goes past the proxies is the same whatever a capture is cut into, and wherever."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from socks5sniff.analysis import Analyser, Past, bypass, unproxied
from socks5sniff.analysis.unproxied import Exchange
from socks5sniff.archive import plan
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from tests.analysis.test_bypass import capture
from tests.analysis.test_names import response
from tests.analysis.test_net import CAPTURES, REPORTED, cut, whole
from tests.analysis.test_relayed_dns import ASSOCIATE, RELAY, header
from tests.traffic import ANSWER, CLIENT, HTTP, PLAIN, SECOND, SERVER, START, batches, connection, datagram

from ..report import reading as report
from .test_reading import records_of, split
from .test_seams import records, traffic

Frames = list[tuple[int, bytes]]
Rows = tuple[list[dict[str, Any]], list[Exchange], int, set[str]]


def found(past: Past) -> Rows:
    """What is told, and all that it is chosen from."""
    return [row.as_dict() for row in past.rows()], past._rows, past.left_out, past.clients


def one(frames: Iterable[FrameBatch], *asked: Any) -> Rows:
    """What one reading finds."""
    past = Past(*asked)
    analyser = Analyser(udp_frames=True, consumers=[past.exchanges])
    past.follow(analyser)
    for batch in frames:
        for part in analyser.take(batch):
            past.learn(part)
    for part in analyser.finish():
        past.learn(part)
    past.finish()
    return found(past)


def several(stretches: Sequence[Sequence[FrameBatch]], *asked: Any) -> Rows:
    """What is found of a capture that is cut into these stretches."""
    past = Past(*asked)
    for part in records(stretches, past):
        past.learn(part)
    past.finish()
    return found(past)


TELLING = ("udp-", "fwd-udp", "chain", "ip-", "local-dns", "tcp-")
CHOSEN = [path for path in CAPTURES if path.name.startswith(TELLING)]


@pytest.mark.parametrize("path", CHOSEN[::8] + REPORTED[1::12], ids=lambda path: path.name)
def test_cut_at_every_kth_packet(path: Path) -> None:
    """Everything that all hosts send; `tests.archive.soak` does it with all captures and every packet alone."""
    frames = whole(path)
    count = sum(map(len, frames))
    hosts = everyone(frames)
    expected = one(frames, hosts, True)
    sizes = [size for size, most in ((1, 12), (2, 30), (7, 200)) if count <= most] or [max(count // 12, 7)]
    for size in sizes:
        assert several([[batch] for batch in cut(frames, size)], hosts, True) == expected, f"every {size} packets"


def everyone(frames: Iterable[FrameBatch]) -> tuple[str, ...]:
    """All addresses."""
    analyser = Analyser()
    hosts: set[str] = set()
    for batch in frames:
        for columns in analyser.reader.read(batch):
            ends = {*columns.source.tolist(), *columns.destination.tolist()}
            hosts.update(map(analyser.reader.addresses.endpoint_address, ends))
    return tuple(sorted(hosts))


# -- made up ---------------------------------------------------------------------------------------------------------

HOSTS = ("10.0.0.1", "10.0.0.9", "10.0.0.2", "192.0.2.1", "2001:db8::1", "2001:db8::9")
ENDS = st.tuples(st.sampled_from(HOSTS[:4]), st.sampled_from([53, 443, 4000, 4001]))
SIX_ENDS = st.tuples(st.sampled_from(HOSTS[4:]), st.sampled_from([53, 443, 4000]))
TOLD = response("a.example", "192.0.2.1")
SAID = st.sampled_from([b"", b"hello", b"\1" * 1200, TOLD, header(("192.0.2.1", 443)) + b"x"])


@st.composite
def datagrams(draw: st.DrawFn) -> Frames:
    """Datagrams between few endpoints, and at times an association."""
    frames = []
    for _ in range(draw(st.integers(0, 12))):
        pair = draw(st.tuples(ENDS, ENDS) | st.tuples(SIX_ENDS, SIX_ENDS))
        for _ in range(draw(st.sampled_from([1, 1, 2, 12]))):
            time = START + draw(st.integers(0, 90)) * SECOND // draw(st.sampled_from([1, 1000]))
            frame = datagram(*pair[:: draw(st.sampled_from([1, -1]))], draw(SAID))
            if len(frame) > 1000 and ":" not in pair[0][0]:
                frames += [(time + number, part) for number, part in enumerate(fragments(frame, len(frames)))]
            else:
                frames.append((time, frame))
    if draw(st.integers(0, 3)) == 0:
        begin = START + draw(st.integers(0, 60)) * SECOND
        frames += [(packet.time, packet.frame()) for packet in connection(ASSOCIATE, begin=begin)]
        for number in range(draw(st.integers(0, 4))):
            time = begin + draw(st.integers(-2000, 9_000_000))
            frames.append((time, datagram(("10.0.0.1", 4000 + number % 2), RELAY, draw(SAID))))
    return frames


def fragments(frame: bytes, number: int) -> list[bytes]:
    """A frame's IPv4 packet in two."""
    link, ip, octets = frame[:14], frame[14:34], frame[34:]
    parts = []
    for start, part in ((0, octets[:800]), (100, octets[800:])):
        place = struct.pack(">HHH", 20 + len(part), number, start or 1 << 13)
        parts.append(link + ip[:2] + place + ip[8:] + part)
    return parts


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(traffic(), datagrams(), st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from([2, 4, 1 << 16]))
def test_whatever_is_on_both_sides_of_a_seam(
    monkeypatch: pytest.MonkeyPatch, tcp: Frames, udp: Frames, sizes: list[int], most: int
) -> None:
    monkeypatch.setattr(unproxied, "MAX_EXCHANGES", most)
    frames = [*merge(tcp, sorted(udp))]
    expected = one(batches(frames), HOSTS, True)
    # With packets a minute late one reading is not always the same in other batches.
    assume(one(batches(frames, sizes), HOSTS, True) == expected)
    assert several([[batch] for batch in batches(frames, sizes)], HOSTS, True) == expected


# -- as a command ----------------------------------------------------------------------------------------------------

FORMATS = ("table", "jsonl", "csv")


@pytest.fixture(scope="module")
def surfing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 hosts that use a proxy and go past it, some of it all the time."""
    frames: Frames = []
    for number in range(120):
        host, begin = f"10.0.1.{number % 40 + 1}", START + number * SECOND // 2
        place = f"198.51.100.{number % 100 + 1}"
        said = HTTP.replace(b"example.com", b"host-%d.example" % number).replace(b"Host", b"X: %0600d\r\nHost" % 0)
        some = connection(PLAIN, client=(host, 40000 + number), begin=begin)
        web = [(CLIENT, said), (SERVER, ANSWER)]
        some += connection(web, client=(host, 50000 + number), proxy=(place, 80), begin=begin)
        if number % 40 == 7:
            long = [(CLIENT, said), *[(SERVER, bytes([byte]) * 700) for byte in range(100)], (CLIENT, b"again")]
            packets = connection(long, client=(host, 60000 + number), proxy=(place, 80), begin=begin, closing=False)
            some += [replace(packet, time=begin + (packet.time - begin) * 200) for packet in packets]
        frames += [(packet.time, packet.frame()) for packet in some]
        frames.append((begin, datagram(("9.9.9.9", 53), (host, 4000), response("named.example", place))))
        frames.append((begin + 9, datagram((host, 4433), ("203.0.113.9", 443), bytes([number % 256]) * 300)))
    relayed = connection(ASSOCIATE, client=("10.0.1.1", 5554), closing=False)
    frames += [(packet.time + 3 * SECOND, packet.frame()) for packet in relayed]
    octets = header(("198.51.100.1", 443)) + b"x"
    frames += [(START + second * SECOND, datagram(("10.0.1.1", 5555), RELAY, octets)) for second in range(4, 50, 5)]
    path = tmp_path_factory.mktemp("past") / "surfing.pcap"
    path.write_bytes(capture(*frames).getvalue())
    return path


@pytest.fixture
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LEAST", 20_000)
    monkeypatch.setattr(plan, "SMALL", 20_000)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["bypass", *arguments])
    return status, *capsys.readouterr()


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("count", [1, 7])
def test_several_processes_print_what_one_prints(
    count: int, surfing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(surfing)] if count == 1 else split(surfing, tmp_path, count)
    for name, options in zip(FORMATS, ([], ["--all"], ["--client", "10.0.1.8,10.0.1.9"]), strict=True):
        asked = [*names, "--format", name, *options]
        expected = printed(capsys, *asked)
        assert len(expected[1].splitlines()) > 8
        assert printed(capsys, *asked, "--jobs", "2") == expected


@pytest.mark.usefixtures("_small_pieces")
def test_files_that_overlap_and_one_that_is_damaged(
    surfing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    octets, packets = surfing.read_bytes(), records_of(surfing)
    half = len(packets) // 2
    names = []
    for number, some in enumerate((packets[:half:2], packets[1:half:2], packets[half:-100], packets[-100:])):
        names.append(str(tmp_path / f"{number}.pcap"))
        Path(names[-1]).write_bytes(octets[:24] + b"".join(some)[: -7 if number == 2 else None])
    expected = printed(capsys, *names)
    assert expected[0] == ExitCode.DAMAGED
    assert printed(capsys, *names, "--jobs", "2") == expected


@pytest.mark.usefixtures("_small_pieces")
def test_a_cluster_prints_what_one_process_prints(surfing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = printed(capsys, str(surfing), "--format", "jsonl")
    assert printed(capsys, str(surfing), "--format", "jsonl", "--jobs", "2", "--cluster", "local") == expected


@pytest.mark.usefixtures("_small_pieces")
def test_the_report_in_one_page(surfing: Path, tmp_path: Path) -> None:
    pages = [tmp_path / "1.html", tmp_path / "2.html"]
    for jobs, page in enumerate(pages, 1):
        assert main(["read", str(surfing), "--format", "html", "--jobs", str(jobs), "-o", str(page)]) == 0
    one_, two = (page.read_text() for page in pages)
    assert one_ == two
    head, _ = report.read(report.data_of(two))
    assert head["about"]["all bypasses"] > 120


def test_the_first_rows_are_kept(surfing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = whole(surfing)
    every, all_kept, *_ = one(frames)
    monkeypatch.setattr(bypass, "MAX_ROWS", 30)
    found_by_one = rows, kept, left_out, _ = one(frames)
    assert (rows, kept) == (every[: len(rows)], all_kept[:30])
    assert left_out == len(all_kept) - 30
    assert several([[batch] for batch in cut(frames, 300)]) == found_by_one
