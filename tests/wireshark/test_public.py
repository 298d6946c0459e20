"""Captures of other protocols: no Lua error, and no SOCKS where there is none."""

from __future__ import annotations

import os
import re
import subprocess
from bisect import bisect_left
from itertools import accumulate
from pathlib import Path

import pytest

from .run import require_tshark, tshark

CONVERSATIONS = {
    "socks.pcap": 4,
    "shadowsocks.pcap": 1,
    "tls_heur__shadowsocks-tcp.pcapng": 1,
    "tls_heur__trojan-tcp-tls.pcapng": 1,
    "tls_heur__vmess-tcp-tls.pcapng": 1,
    "tls_heur__vmess-tcp.pcapng": 1,
    "tls_heur__vmess-websocket.pcapng": 1,
}
CUT_SHORT = "fuzz-2021-10-13.pcap"
"""Cannot be merged with others."""
TOGETHER = 40
"""Captures that one tshark reads, as one file: it takes longer to start than to read one of them."""


@pytest.mark.timeout(900)
def test_ndpi_captures(shared_captures: Path, tmp_path: Path) -> None:
    """Ten conversations in 541 files; with EVERY_CAPTURE each is read by itself."""
    require_tshark()
    every = sorted(path for path in (shared_captures / "ndpi").iterdir() if path.suffix in (".pcap", ".pcapng"))
    assert len(every) == 541
    together = 1 if "EVERY_CAPTURE" in os.environ else TOGETHER
    whole = [path for path in every if path.name != CUT_SHORT]
    groups = [whole[first : first + together] for first in range(0, len(whole), together)]
    for files in [[shared_captures / "ndpi" / CUT_SHORT], *groups]:
        names, conversations = _socks(files, tmp_path / "merged.pcapng")
        expected = {path.name for path in files} & CONVERSATIONS.keys()
        assert names == expected
        assert conversations == sum(CONVERSATIONS[name] for name in expected)


def _socks(files: list[Path], merged: Path) -> tuple[set[str], int]:
    """Which files have SOCKS in them, and how many conversations they have together."""
    if len(files) > 1:
        subprocess.run(["mergecap", "-a", "-w", str(merged), *map(str, files)], check=True)
    else:
        merged = merged.with_name(files[0].name)
        merged.symlink_to(files[0])
    counted = subprocess.run(["capinfos", "-TrcM", *map(str, files)], capture_output=True, text=True, check=False)
    last = list(accumulate(int(line.split("\t")[1]) for line in counted.stdout.splitlines()))
    assert len(last) == len(files)
    # -Y on everything of ours: fields are built, so that an error in showing them is an error here.
    shown = ("-Y", "socks5 || _ws.lua.error", "-T", "fields", "-e", "frame.number")
    packets, _, table = tshark(merged, *shown, "-z", "socks5,conversations").partition("Id ")
    total = re.search(r"^(\d+) conversations$", table, re.MULTILINE)
    assert total is not None
    return {files[bisect_left(last, int(number))].name for number in packets.split()}, int(total[1])
