"""`python -m tests.web.pictures`: the pictures in the manual, taken anew; needs Chromium and Pillow.

Look at them before they are committed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from socks5sniff.report import Report

from ..report.made_up import conversations
from .chromium import Browser, Tab
from .conftest import ABOUT

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "socks5sniff" / "manual" / "pictures"
CHAIN = ROOT / "captures" / "chain-of-three.pcapng"
OFFICE = {
    **ABOUT,
    "command": ["read", "office.pcapng", "--format", "html", "-o", "report.html"],
    "packets": 104_231,
    "skipped": 12,
}
COLOURS = 64
"""Of a picture, so that it stays small."""


def opened(browser: Browser, page: Path, width: int, height: int, dark: bool = False) -> Tab:
    """A tab that shows the page."""
    tab = browser.tab()
    tab.size(width, height)
    tab.dark(dark)
    tab.open(page)
    tab.ready()
    return tab


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        office, chain = Path(folder, "office.html"), Path(folder, "chain.html")
        report = Report()
        for conversation in conversations(4000):
            report.add(conversation)
        office.write_text("".join(report.write(OFFICE)), encoding="utf-8")
        command = (sys.executable, "-m", "socks5sniff", "read", str(CHAIN), "--format", "html", "-o", str(chain))
        subprocess.run(command, check=True)
        opened(browser, office, 1280, 880).screenshot(FOLDER / "report.png")
        narrow = opened(browser, office, 390, 760)
        narrow.search("outcome == rejected")
        narrow.wait("document.querySelector('.note').textContent.includes('372')")
        narrow.evaluate("document.querySelector('#search').closest('section').scrollIntoView()")
        narrow.evaluate("window.scrollBy(0, -75)")
        browser.listen(1)
        narrow.screenshot(FOLDER / "report-narrow.png")
        ladder = opened(browser, chain, 1100, 560, dark=True)
        ladder.evaluate("location.hash = '#1'")
        browser.listen(1)
        ladder.screenshot(FOLDER / "report-ladder.png")
    pictures = import_module("PIL.Image")
    for path in sorted(FOLDER.glob("*.png")):
        pictures.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size:,} octets")


if __name__ == "__main__":
    main()
