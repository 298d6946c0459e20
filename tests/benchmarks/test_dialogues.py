"""Copies of real dialogues are what their originals are, to our reader and to tshark, alone and all in one capture."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import dpkt
import numpy as np
import pytest

import socks5sniff
from socks5sniff.record import Conversation
from tests.benchmarks import captures, dialogues, pcap
from tests.benchmarks.originals import Addresses, Original, copies

START = 1_795_000_000 * 1_000_000_000
ORIGINALS = {original.name: original for original in dialogues.originals()}
ROUND = sum(original.conversations for original in ORIGINALS.values())
OF_ITS_OWN = {"community_id", "capture", "upstream", "timing"}
"""What a record of a copy cannot have in common with the original's."""

_NUL_CLIENT = 32928
"""The client's port in the scenario `domain-nul`."""


def save(path: Path, original: Original, octets: np.ndarray) -> Path:
    columns = original.begin, original.captured, original.length, original.time + START
    path.write_bytes(pcap.FILE_HEADER + pcap.records(octets, *columns).tobytes())
    return path


def records(path: Path) -> list[Conversation]:
    return sorted(socks5sniff.read(str(path)), key=lambda record: record.id)


def told(path: Path, others: dict[str, str]) -> list[dict[str, object]]:
    """The records as JSON says them, with the addresses of `others` back to what they were."""
    said = [{k: v for k, v in record.as_dict().items() if k not in OF_ITS_OWN} for record in records(path)]
    address = re.compile(r"(?<![\w.:])(" + "|".join(map(re.escape, [*others, "none"])) + r")(?![\w.]|:\w*:)")
    return json.loads(address.sub(lambda found: others.get(found[1], found[1]), json.dumps(said)))


def text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_copy_has_the_records_of_its_original(name: str, tmp_path: Path) -> None:
    original = ORIGINALS[name]
    given = Addresses()
    second = [given.like(address, 2)[1].tobytes() for address in original.addresses]
    others = {text(new): text(old) for old, new in zip(original.addresses, second, strict=True)}
    copy = copies(original, 2, Addresses(), np.random.default_rng(1))[1]
    first = save(tmp_path / "original.pcap", original, original.octets)
    assert told(save(tmp_path / "copy.pcap", original, copy), others) == told(first, {})
    assert len(records(first)) == original.conversations


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each capture with every original twice, nearly."""
    folder = tmp_path_factory.mktemp("rounds")
    found = {name: folder / f"{name}.pcap" for name in ("dialogues", "slow", "lossy")}
    for name, path in found.items():
        assert captures.make(name, path, 2 * ROUND) == 2 * ROUND
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Counter[tuple[object, ...]]:
    """What is to be found in two rounds: every original read alone, twice."""
    path = tmp_path_factory.mktemp("alone") / "original.pcap"
    found: Counter[tuple[object, ...]] = Counter()
    for original in ORIGINALS.values():
        found.update(seen(record) for record in records(save(path, original, original.octets)))
    return found + found


def seen(record: Conversation) -> tuple[object, ...]:
    """What a copy has in common with its original, whatever its addresses and pace."""
    destination = record.destination
    host = destination.host if destination and destination.type == "domain" else None
    return (
        *(record.protocol, record.command, record.method, record.username, record.outcome, record.close),
        *(destination and (destination.type, host, destination.port), record.client.port, record.proxy.port),
        *(record.bytes and tuple(record.bytes), record.packets, record.tunnel and record.tunnel.protocol),
        record.udp and (record.udp.datagrams_sent, record.udp.datagrams_received),
    )


def in_order(found: list[Conversation]) -> bool:
    first = [record.first_frame for record in found]
    return [record.id for record in found] == list(range(1, len(found) + 1)) and first == sorted(first)


@pytest.mark.parametrize("name", ["dialogues", "slow"])
def test_dialogues_side_by_side_are_what_each_is_alone(
    name: str, rounds: dict[str, Path], alone: Counter[tuple[object, ...]]
) -> None:
    found = records(rounds[name])
    assert in_order(found)
    assert Counter(map(seen, found)) == alone


def test_a_nul_in_a_name_stays(rounds: dict[str, Path]) -> None:
    found = [record for record in records(rounds["dialogues"]) if record.client.port == _NUL_CLIENT]
    assert [record.destination and record.destination.host for record in found] == ["www\0.example.test"] * 2


def test_slow_dialogues_are_nearly_all_open_at_once(rounds: dict[str, Path]) -> None:
    """All but some of those captures that hold several."""
    found = records(rounds["slow"])
    times = _times(rounds["slow"])
    middle = datetime.fromtimestamp((times[0] + times[-1]) / 2, timezone.utc).isoformat()
    assert sum(record.start < middle < record.end for record in found) > 0.7 * len(found)


def test_lost_and_swapped_packets_change_few_records(
    rounds: dict[str, Path], alone: Counter[tuple[object, ...]]
) -> None:
    found = records(rounds["lossy"])
    whole, lossy = (len(_times(rounds[name])) for name in ("dialogues", "lossy"))
    assert 0.985 < lossy / whole < 0.995
    assert in_order(found)
    assert 0.97 * 2 * ROUND < len(found) <= 2 * ROUND
    assert (Counter(map(seen, found)) & alone).total() > 0.75 * 2 * ROUND


def test_the_same_seed_gives_the_same_copies(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for path, seed in ((first, 1), (again, 1), (other, 2)):
        captures.make("lossy", path, 100, seed=seed)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("name", ["dialogues", "slow", "lossy"])
def test_time_never_goes_back(name: str, rounds: dict[str, Path]) -> None:
    times = _times(rounds[name])
    assert times == sorted(times)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_ip_checksums_are_right(rounds: dict[str, Path]) -> None:
    shown = _output("tcpdump", "-nn", "-v", "-r", str(rounds["dialogues"]), "-c", "5000", "ip and (tcp or udp)")
    assert shown.count("proto ") == 5000
    assert ", bad cksum" not in shown


def test_no_flow_is_in_two_copies(rounds: dict[str, Path], tmp_path: Path) -> None:
    def again(path: Path) -> int:
        clients = [(record.client, record.proxy) for record in records(path)]
        return len(clients) - len(set(clients))

    alone = [save(tmp_path / name, original, original.octets) for name, original in ORIGINALS.items()]
    assert again(rounds["dialogues"]) == 2 * sum(map(again, alone))


def test_mixed_is_public_captures_and_one_packet_in_a_hundred_of_dialogues(
    shared_captures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.pcap"
    conversations = captures.make("mixed", path, 60_000)
    assert 60_000 <= len(_times(path)) < 90_000
    assert 15 < conversations < 80
    assert len(records(path)) == conversations


def _times(path: Path) -> list[float]:
    with path.open("rb") as file:
        return [time for time, _ in dpkt.pcap.Reader(file)]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
