"""Captures whose packets lie out of order: of several queues of a network card, or of both directions of a mirror."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from socks5sniff.analysis import read
from socks5sniff.record import Conversation
from tests.archive.test_reading import records_of
from tests.benchmarks import captures

CONVERSATIONS = 300


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations whose packets follow each other every 0.2 milliseconds."""
    path = tmp_path_factory.mktemp("disorder") / "churn.pcap"
    captures.write("churn", path, CONVERSATIONS)
    return path


def disordered(path: Path, folder: Path, milliseconds: float) -> Path:
    """The same packets with their times, each as late in the file as if it had come so much later at most."""
    order = random.Random(7)
    octets = path.read_bytes()
    late = []
    for record in records_of(path):
        seconds, micros = (int.from_bytes(record[at : at + 4], "little") for at in (0, 4))
        late.append((seconds + micros / 1e6 + order.uniform(0, milliseconds / 1e3), record))
    found = folder / "disordered.pcap"
    found.write_bytes(octets[:24] + b"".join(record for _, record in sorted(late)))
    return found


def told(conversation: Conversation) -> tuple[object, ...]:
    """What does not depend on where in the file packets lie."""
    c = conversation
    asked = c.method, c.username, c.command, c.destination
    return c.client, c.proxy, c.outcome, *asked, c.bound, c.reply, c.bytes, c.packets


@pytest.mark.parametrize("milliseconds", [0.1, 0.5, 2])
def test_conversations_are_those_of_the_packets_in_order(churn: Path, tmp_path: Path, milliseconds: float) -> None:
    """A SYN may lie behind what its side said next, and an answer before its question."""
    found = {c.client: c for c in read([str(disordered(churn, tmp_path, milliseconds))])}
    expected = {c.client: c for c in read([str(churn)])}
    assert len(expected) == CONVERSATIONS
    assert {client: told(c) for client, c in found.items()} == {client: told(c) for client, c in expected.items()}
    noted = [anomaly.code for c in found.values() for anomaly in c.anomalies if anomaly.code != "cleartext-credentials"]
    assert not noted
