"""curl in front of proxies that refuse, keep silent, and close: what `read`, `stats` and `explain` say of it."""

from __future__ import annotations

import json
import re

import pytest

from socks5sniff.cli import main

from .conftest import Server, need
from .lab import CLOSED_PORT, HTTP_PORT, PROXY, TARGET, Lab

URL = f"http://{TARGET}:{HTTP_PORT}/"


@pytest.fixture(autouse=True, scope="module")
def _programs() -> None:
    need("curl", "ncat")


def test_a_proxy_that_is_not_there_is_refused(web: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with web.capture(CLOSED_PORT) as path:
        for _ in range(2):
            web.run("curl", "-sS", "--socks5", f"{PROXY}:{CLOSED_PORT}", URL, status=7)
    port = ["--port", str(CLOSED_PORT)]
    assert main(["read", str(path), "--attempts", *port]) == 0
    said = capsys.readouterr().out
    assert f"connections to {PROXY}:{CLOSED_PORT} without a conversation: refused 2" in said
    assert len(re.findall(rf"Z  [\d.]+:\d+ > {re.escape(PROXY)}:{CLOSED_PORT}  refused$", said, re.M)) == 2
    assert main(["stats", str(path), "--format", "json", *port]) == 0
    found = json.loads(capsys.readouterr().out)["proxies"][f"{PROXY}:{CLOSED_PORT}"]
    assert found["attempts"] == {"refused": 2}
    assert main(["explain", str(path), *port]) == 0
    assert f"2 connections to {PROXY}:{CLOSED_PORT} refused" in capsys.readouterr().out


def test_a_connection_that_says_nothing_to_a_proxy_that_speaks(
    web: Lab, microsocks: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with web.capture(microsocks.port) as path:
        web.run("ncat", "-z", PROXY, str(microsocks.port))
        web.run("curl", "-sS", "-o", "/dev/null", "--socks5", str(microsocks), URL)
    assert main(["read", str(path)]) == 0
    assert f"connections to {microsocks} without a conversation: closed 1" in capsys.readouterr().out
    assert main(["read", str(path), "--format", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
