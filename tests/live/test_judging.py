"""`live` with `--where`, `--fail-if` and `--quiet`: a test of what goes over the wire right now."""

from __future__ import annotations

import re
import time

from .lab import HTTP_PORT, PROXY_PORT, LiveLab, without_capture
from .test_capture import lab

__all__ = ["lab"]

PROXY = f"127.0.0.1:{PROXY_PORT}"


def two_conversations(lab: LiveLab) -> None:
    """One that succeeds, and one that is refused."""
    curl = ("curl", "-sS", "-m", "10", "-o", "page", "-x", f"socks5h://{PROXY}")
    lab.run(*curl, f"http://127.0.0.1:{HTTP_PORT}/")
    lab.run(*curl, "http://127.0.0.1:9/", status=97)
    time.sleep(0.3)


def test_an_expression_chooses_what_is_shown(lab: LiveLab) -> None:
    live = lab.live("--format", "jsonl", "-Y", "reply.code == 5 and destination.port == 9")
    two_conversations(lab)
    assert live.stop() == 0
    assert [record["outcome"] for record in without_capture(live.records)] == ["rejected"]


def test_a_match_ends_with_status_9(lab: LiveLab) -> None:
    live = lab.live("--fail-if", "outcome == rejected")
    two_conversations(lab)
    assert live.stop() == 9
    assert "1 conversation matches --fail-if 'outcome == rejected': 2" in live.said
    assert "rejected: connection refused" in live.out.read_text()


def test_no_match_is_success(lab: LiveLab) -> None:
    live = lab.live("--fail-if", "outcome == malformed")
    two_conversations(lab)
    assert live.stop() == 0


def test_quiet_says_only_what_matched(lab: LiveLab) -> None:
    live = lab.live("--quiet", "--fail-if", "reply != 0", "--count", "2", wait=False)
    deadline = time.monotonic() + 10
    while live.process.poll() is None and time.monotonic() < deadline:
        two_conversations(lab)
    assert live.status() == 9
    assert live.out.read_text() == ""
    assert re.match(r"socks5sniff: \d+ conversations? match(es)? --fail-if .reply != 0.: \d", live.said)
    assert live.said.count("\n") == 1


def test_a_mistake_is_told_before_anything_is_captured(lab: LiveLab) -> None:
    live = lab.live("-Y", "reply.cod == 5", wait=False)
    assert live.status() == 2
    assert "at character 1, there is no key 'reply.cod'" in live.said
