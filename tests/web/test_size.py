"""How large a report is, and what it costs a browser."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from socks5sniff.report import Report

from ..report.made_up import conversations
from .chromium import Tab
from .conftest import ABOUT

SIZES = [(20_000, 2), (100_000, 10)]
"""Conversations, and megabytes at most. The larger one takes most of a minute."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("count", "megabytes"), SIZES if "EVERY_CAPTURE" in os.environ else SIZES[:1])
def test_a_large_report_stays_small_and_light(tab: Tab, tmp_path: Path, count: int, megabytes: float) -> None:
    """Times are bounded loosely here, for machines with other work to do; `python -m tests.web.measure` tells them."""
    made = Report()
    for conversation in conversations(count):
        made.add(conversation)
    path = tmp_path / "report.html"
    path.write_text("".join(made.write(ABOUT)), encoding="utf-8")
    assert path.stat().st_size <= megabytes * 1_000_000
    begin = time.monotonic()
    tab.open(path)
    tab.ready()
    assert time.monotonic() - begin < 60
    tab.call("HeapProfiler.collectGarbage")
    heap = tab.call("Runtime.getHeapUsage")
    assert heap["usedSize"] + heap.get("backingStorageSize", 0) < 150_000_000
    assert tab.evaluate("document.querySelectorAll('.body .row').length") < 80
