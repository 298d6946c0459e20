"""Copies of real dialogues are what their originals are, to our reader and to tshark, alone and all in one capture."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections import Counter
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
OF_ITS_OWN = {"community_id", "capture"}
"""What a record of a copy cannot have in common with the original's."""


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
