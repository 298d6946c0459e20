"""The benchmark's captures are what they say: valid for foreign readers, and with a truth that our reader finds."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import dpkt
import pytest

import socks5sniff
from socks5sniff.record import Conversation, Endpoint
from tests.benchmarks import captures
from tests.benchmarks.captures import Truth

SIZES = {"churn": 120, "many": 60, "bulk": 1500, "noise": 1500, "midstream": 300}
PACKETS = {"churn": 120 * 15, "many": 60 * 50, "bulk": 2 * 1500, "noise": 50_000, "midstream": 3051}
CONVERSATIONS = {"churn": 120, "many": 60, "bulk": 2, "noise": 15, "midstream": 0}
WHOLE = [name for name in captures.NAMES if name != "midstream"]
"""Captures whose streams have a beginning."""

Capture = tuple[str, Path, list[Truth]]


@pytest.fixture(scope="module", params=captures.NAMES)
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    name = str(request.param)
    path = tmp_path_factory.mktemp("benchmark") / f"{name}.pcap"
    return name, path, captures.write(name, path, SIZES[name])


def test_the_same_seed_gives_the_same_capture(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for path, seed in ((first, 1), (again, 1), (other, 2)):
        captures.write("churn", path, 20, seed=seed)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_a_longer_capture_has_more_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "churn.pcap"
    truth = captures.write("churn", path, 20, scale=3)
    assert len({conversation.socks.destination for conversation in truth}) == 60
    assert [conversation.first_frame for conversation in truth] == sorted(c.first_frame for c in truth)
    assert len(_packets(path)) == 3 * 20 * 15


def test_counts(capture: Capture) -> None:
    name, path, truth = capture
    assert len(_packets(path)) == PACKETS[name]
    assert len(truth) == CONVERSATIONS[name]


def test_time_never_goes_back(capture: Capture) -> None:
    times = [time for time, _ in _packets(capture[1])]
    assert times == sorted(times)


@pytest.mark.parametrize("capture", WHOLE, indirect=True)
def test_tcp_streams_have_no_gaps_and_carry_the_truth(capture: Capture) -> None:
    _, path, truth = capture
    streams: dict[tuple[bytes, int, bytes, int], dict[str, bytes | int]] = {}
    for _, octets in _packets(path):
        ip = dpkt.ethernet.Ethernet(octets).data
        assert len(octets) == 14 + ip.len
        if not isinstance(ip.data, dpkt.tcp.TCP):
            assert ip.data.ulen == ip.len - 20
            continue
        tcp = ip.data
        stream = streams.setdefault((ip.src, tcp.sport, ip.dst, tcp.dport), {"next": tcp.seq, "octets": b""})
        assert tcp.seq == stream["next"]
        stream["octets"] += tcp.data
        consumed = len(tcp.data) + (tcp.flags & dpkt.tcp.TH_SYN != 0) + (tcp.flags & dpkt.tcp.TH_FIN != 0)
        stream["next"] = (tcp.seq + consumed) % (1 << 32)
        back = streams.get((ip.dst, tcp.dport, ip.src, tcp.sport))
        assert tcp.ack == (back["next"] if back else 0)
    by_client = {
        (".".join(map(str, source)), port): stream["octets"] for (source, port, _, _), stream in streams.items()
    }
    for conversation in truth:
        said = by_client[conversation.client]
        assert isinstance(said, bytes)
        kind, host, port = conversation.socks.destination
        assert said.startswith(b"\5\2\0\2")
        if kind == "domain":
            assert host.encode() + port.to_bytes(2, "big") in said
        assert len(said) > conversation.sent > 0


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_finds_nothing_wrong(capture: Capture) -> None:
    name, path, _ = capture
    shown = _output("tcpdump", "-nn", "-v", "-r", str(path), "-c", "5000", "ip")
    assert shown.count("proto TCP") + shown.count("proto UDP") == min(PACKETS[name], 5000)
    assert "bad cksum" not in shown
    assert "truncated" not in shown


def test_midstream_flows_began_before_the_capture(tmp_path: Path) -> None:
    path = tmp_path / "midstream.pcap"
    captures.write("midstream", path, 300)
    segments = [dpkt.ethernet.Ethernet(octets).data.data for _, octets in _packets(path)]
    assert not any(segment.flags & dpkt.tcp.TH_SYN for segment in segments)
    first: dict[int, bool] = {}
    for octets in (octets for _, octets in _packets(path)):
        ip = dpkt.ethernet.Ethernet(octets).data
        flow = hash(frozenset(((ip.src, ip.data.sport), (ip.dst, ip.data.dport))))
        first.setdefault(flow, len(ip.data.data) == 0)
    assert len(first) == 300
    assert 50 < sum(first.values()) < 150  # so many begin with an acknowledgment and nothing else


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_sees_the_same_requests(capture: Capture) -> None:
    _, path, truth = capture
    fields = ("ip.src", "tcp.srcport", "socks.remote_name", "socks.dst", "socks.dstV6", "socks.port")
    listed = [argument for field in fields for argument in ("-e", field)]
    # The reply has these fields, too; it comes from port 1080.
    shown = _output("tshark", "-n", "-r", str(path), "-Y", "socks.port && tcp.dstport == 1080", "-T", "fields", *listed)
    seen = defaultdict(set)
    for line in shown.splitlines():
        client, port, name, ipv4, ipv6, destination_port = line.split("\t")
        seen[client, int(port)].add((name or ipv4 or ipv6, int(destination_port)))
    for conversation in truth:
        assert conversation.socks.destination[1:] in seen[conversation.client]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_sees_no_lost_segment(capture: Capture) -> None:
    trouble = "tcp.analysis.lost_segment || tcp.analysis.retransmission || tcp.analysis.ack_lost_segment"
    assert _output("tshark", "-n", "-r", str(capture[1]), "-Y", trouble) == ""


def test_read_finds_the_truth(capture: Capture) -> None:
    name, path, truth = capture
    found = list(socks5sniff.read(str(path)))
    assert [_seen(record) for record in sorted(found, key=lambda record: record.id)] == [_told(t) for t in truth]
    assert [record.outcome for record in found] == ["succeeded"] * CONVERSATIONS[name]
    assert [record.close for record in found] == ["fin"] * CONVERSATIONS[name]
    assert all(record.capture == str(path) or record.capture == path.name for record in found)


def _seen(record: Conversation) -> dict[str, object]:
    return {
        "client": record.client,
        "proxy": record.proxy,
        "protocol": record.protocol,
        "command": record.command,
        "method": record.method,
        "username": record.username,
        "destination": record.destination and tuple(record.destination),
        "tunnel": record.tunnel and (record.tunnel.protocol, record.tunnel.server_name),
        "bytes": record.bytes and tuple(record.bytes),
        "packets": record.packets,
        "first_frame": record.first_frame,
    }


def _told(truth: Truth) -> dict[str, object]:
    return {
        "client": Endpoint(*truth.client),
        "proxy": Endpoint(*truth.proxy),
        "protocol": "socks5",
        "command": "connect",
        "method": truth.socks.method,
        "username": truth.socks.username,
        "destination": truth.socks.destination,
        "tunnel": (truth.socks.tunnel, truth.socks.server_name),
        "bytes": (truth.sent, truth.received),
        "packets": truth.packets,
        "first_frame": truth.first_frame,
    }


def _packets(path: Path) -> list[tuple[float, bytes]]:
    with path.open("rb") as file:
        return list(dpkt.pcap.Reader(file))


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
