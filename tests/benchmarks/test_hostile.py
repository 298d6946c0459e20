"""The captures of the hostile benchmark are captures, and are read to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from socks5sniff.capture import open_captures
from socks5sniff.packets import PacketReader

from .hostile import verdict
from .hostile_captures import KINDS
from .measure import Cost

FRAMES = {"small files": 36, "overlapping files": 120, "options": 1, "packet options": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_capture_is_read(tmp_path: Path, kind: str) -> None:
    n = 12
    reader = PacketReader()
    frames = 0
    for batch in open_captures([str(path) for path in KINDS[kind].make(tmp_path, n)]):
        frames += len(batch)
        reader.read(batch)
    assert frames == FRAMES.get(kind, 200 if kind.endswith("bomb") else n)


def cost(seconds: float, peak: int = 50_000_000) -> Cost:
    return Cost(seconds, seconds, peak, 0)


def test_what_grows_faster_than_its_input_is_named() -> None:
    assert verdict([cost(0.5), cost(1.0), cost(2.0)], 0.2) == "met"
    assert verdict([cost(0.2), cost(0.21), cost(0.3)], 0.2) == "met"
    assert verdict([cost(0.5), cost(1.2), cost(2.0)], 0.2) == "NOT LINEAR (2.4 times)"
    assert verdict([cost(0.5), cost(0.5), cost(0.5, 301_000_000)], 0.2) == "TOO MUCH MEMORY"
