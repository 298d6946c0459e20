"""Captures of other protocols: no Lua error, and no SOCKS where there is none."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .run import tshark

CONVERSATIONS = {
    "socks.pcap": 4,
    "shadowsocks.pcap": 1,
    "tls_heur__shadowsocks-tcp.pcapng": 1,
    "tls_heur__trojan-tcp-tls.pcapng": 1,
    "tls_heur__vmess-tcp-tls.pcapng": 1,
    "tls_heur__vmess-tcp.pcapng": 1,
    "tls_heur__vmess-websocket.pcapng": 1,
}


@pytest.mark.timeout(600)
def test_ndpi_captures(shared_captures: Path, tmp_path: Path) -> None:
    """Ten conversations in 541 files, of which those that have none are taken in part, unless EVERY_CAPTURE is set.

    One tshark each prints the summary, with any Lua error, and our table.
    """
    every = sorted(path for path in (shared_captures / "ndpi").iterdir() if path.suffix in (".pcap", ".pcapng"))
    assert len(every) == 541
    step = 1 if "EVERY_CAPTURE" in os.environ else 3
    files = [path for number, path in enumerate(every) if number % step == 0 or path.name in CONVERSATIONS]

    def conversations(index_and_path: tuple[int, Path]) -> tuple[str, int, list[str]]:
        index, path = index_and_path
        folder = tmp_path / str(index)
        folder.mkdir()
        link = folder / path.name
        link.symlink_to(path)
        # -Y on everything of ours: fields are built, so that an error in showing them is an error here.
        shown = tshark(link, "-Y", "socks5 || _ws.lua.error", "-z", "socks5,conversations")
        packets, _, table = shown.partition("Id ")
        total = re.search(r"^(\d+) conversations$", table, re.MULTILINE)
        assert total is not None
        return path.name, int(total[1]), packets.splitlines()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(conversations, enumerate(files)))
    assert {name: count for name, count, _ in found if count} == CONVERSATIONS
    assert [name for name, count, packets in found if packets and not count] == []
