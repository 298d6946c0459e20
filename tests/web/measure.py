"""`python -m tests.web.measure`: how large reports are, and how fast in Chromium."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from socks5sniff.report import Report

from ..report.made_up import conversations
from .chromium import Browser, Tab
from .conftest import ABOUT

EXPRESSIONS = (
    'destination.host contains "example1"',
    "timing.request > 0.0005 and outcome == succeeded",
    "cdn42",
    'start > "2026-06-21T00:00:30"',
)


def search_time(tab: Tab, words: str) -> float:
    """Milliseconds from the last key to the table of the rows that match."""
    tab.evaluate(
        "window.begin = performance.now(), window.took = 0, new MutationObserver((_, seen) => { seen.disconnect();"
        " window.took = performance.now() - window.begin; })"
        ".observe(document.querySelector('.note'), { childList: true, subtree: true })"
    )
    tab.search(words)
    return tab.wait("window.took")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        for count in (20_000, 100_000):
            made, path = Report(), Path(folder) / f"{count}.html"
            for conversation in conversations(count):
                made.add(conversation)
            begin = time.monotonic()
            path.write_text("".join(made.write(ABOUT)), encoding="utf-8")
            written = time.monotonic() - begin
            times = []
            for _ in range(5):
                tab = browser.tab()
                tab.size(1440, 900)
                begin = time.monotonic()
                tab.open(path)
                tab.ready()
                times.append(time.monotonic() - begin)
            browser.listen(1)
            searches = [search_time(tab, words) for words in EXPRESSIONS]
            tab.call("HeapProfiler.collectGarbage")
            heap = tab.call("Runtime.getHeapUsage")
            octets = heap["usedSize"] + heap.get("backingStorageSize", 0)
            print(f"{count:,} conversations: {path.stat().st_size / 1e6:.2f} MB, written in {written:.1f} s;")
            median, load = statistics.median(times), os.getloadavg()[0]
            print(f"  ready in {median:.2f} s ({min(times):.2f} to {max(times):.2f}), heap {octets / 1e6:.0f} MB")
            print(f"  searches {', '.join(f'{each:.0f} ms' for each in searches)}; load of the machine {load:.1f}")


if __name__ == "__main__":
    main()
