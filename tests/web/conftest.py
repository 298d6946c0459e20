"""One Chromium for all tests of pages, and the page's scripts without a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from socks5sniff.record import Conversation
from socks5sniff.report import Report
from socks5sniff.report.page import SCRIPTS, asset, plotter

from .chromium import Browser, Tab, program

ABOUT = {"inputs": ["office.pcapng"], "command": ["read", "office.pcapng"], "packets": 1234, "skipped": 5, "found": 9}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if program() is None:
        pytest.skip("chromium not installed")
    with Browser() as opened:
        yield opened


@pytest.fixture
def tab(browser: Browser) -> Tab:
    found = browser.tab()
    found.size(1440, 1000)
    return found


@pytest.fixture(scope="session")
def scripts(browser: Browser) -> Tab:
    """A blank page that has every name of the page's scripts: `Where`, `Columns`, …"""
    found = browser.tab()
    sources = [asset(name) for name in SCRIPTS if name != "page.js"]
    found.evaluate("\n".join([plotter(), *sources, "0"]))
    return found


@pytest.fixture
def report(tmp_path: Path, tab: Tab) -> Callable[..., Tab]:
    """Write a report about conversations and open it."""

    def opened(conversations: Iterable[Conversation], max_rows: int = 200_000, **about: Any) -> Tab:
        made = Report(max_rows)
        for conversation in conversations:
            made.add(conversation)
        path = tmp_path / "report.html"
        path.write_text("".join(made.write({**ABOUT, **about})), encoding="utf-8")
        tab.open(path)
        tab.ready()
        return tab

    return opened
