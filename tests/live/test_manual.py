"""What the manual's page on live capture shows is what `live` prints when the same happens."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5sniff import manual
from tests.live.lab import LiveLab, need

LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3}Z [+-] ")
SUMMARY = re.compile(r"proxy +conversations|[\d.]+:\d+ +\d+ {2}|socks5sniff: \d+ conversations in")


def masked(text: str) -> list[str]:
    """Lines of conversations and of the summary, without numbers, and without the process, which may not be found."""
    lines = [line for line in text.splitlines() if LINE.match(line) or SUMMARY.match(line)]
    lines = [re.sub(r" [\w.-]+\[\d+\]", "", line) for line in lines]
    lines = [re.sub(r"[\d.]+ m?s\b", "T", line) for line in lines]
    lines = [re.sub(r"closed by (client|proxy)", "closed", line) for line in lines]  # who is first is up to them
    return sorted(" ".join(re.sub(r"\d[\d,.]*", "N", line).split()) for line in lines)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LiveLab]:
    need("curl", "ss", "unshare", "nsenter")
    lab = LiveLab(tmp_path)
    (tmp_path / "index.html").write_bytes(bytes(120_000))
    proxy = (sys.executable, "-m", "socks5sniff", "proxy", "--quiet", "--listen")
    lab.start(*proxy, ":1080")
    lab.start(*proxy, ":1081", "--user", "alice:secret")
    lab.start(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "8000")
    for port in (1080, 1081, 8000):
        lab.wait_for_port(port)
    yield lab
    lab.close()


def shown(words: str) -> str:
    """The example of the page that has these words."""
    return next(body for body in re.findall(r"```console\n(.*?)```", manual.text("live"), re.DOTALL) if words in body)


def test_the_lines_and_the_summary(lab: LiveLab) -> None:
    page = shown(" + ")
    live = lab.live("-w", "socks.pcapng")
    for proxy, url, status in (
        ("socks5h://127.0.0.1:1080", "http://localhost:8000/", 0),
        ("socks5h://alice:secret@127.0.0.1:1081", "http://localhost:8000/", 0),
        ("socks5h://127.0.0.1:1080", "http://localhost:9/", 97),
        ("socks5h://bob:wrong@127.0.0.1:1081", "http://localhost:8000/", 97),
    ):
        lab.run("curl", "-sS", "-m", "10", "-o", "page", "--proxy", proxy, url, status=status)
    live.wait_for("auth-failed, ", in_output=True)
    assert live.stop() == 0
    assert masked(live.out.read_text() + live.said) == masked(page)
    assert re.search(r"^socks5sniff: saved \d+ packets to socks\.pcapng$", live.said, re.MULTILINE)


def test_the_interfaces(lab: LiveLab) -> None:
    page = shown("link type")
    titles, _, *rows = [line.split() for line in lab.sniff("interfaces").splitlines()]
    assert [titles, next(row for row in rows if row[0] == "lo")] == [
        line.split() for line in page.splitlines()[1:] if not line.startswith("-")
    ]
