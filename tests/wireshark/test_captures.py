"""Our Lua and our Python agree on every frame and field of the captures of known truth, and of public ones."""

from __future__ import annotations

import os
import subprocess
from bisect import bisect_left
from itertools import accumulate, pairwise
from operator import itemgetter
from pathlib import Path

import dpkt
import pytest

from socks5sniff.dissector.verify import Difference, verify
from tests.conftest import ROOT

from .run import require_tshark

CAPTURES = sorted((ROOT / "captures").glob("*.pcapng"))
SHARED = ROOT.parent / "shared" / "captures"
PUBLIC = sorted((SHARED / "zeek").glob("*.pcap")) + [
    SHARED / "ndpi" / name
    for name in (
        "socks.pcap",
        "shadowsocks.pcap",
        "tls_heur__shadowsocks-tcp.pcapng",
        "tls_heur__trojan-tcp-tls.pcapng",
        "tls_heur__vmess-tcp-tls.pcapng",
        "tls_heur__vmess-tcp.pcapng",
        "tls_heur__vmess-websocket.pcapng",
    )
]

LATER = {
    "udp-answer-no-header": "where heuristics come first, Wireshark's DNS takes an answer without a header",
    "udp-fragments-unfinished": "that nothing followed a fragment is known at the end only",
    "socks4a-no-name-7777": "a SOCKS4A request without its name, on a port that nobody named",
    "udp-bound-private": "a relay that BND does not name",
}
"""What the two do not agree on yet, by capture; a test that agrees fails until it is taken out."""

ALONE = {"optimistic-all": "behind a capture with HTTP, HTTP's heuristic takes the frame of greeting, request and GET"}
"""What is not merged with others: of its heuristics Wireshark asks that first which was right last."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[Difference]]:
    """The differences in each capture. All are one file, for starting tshark takes longer than to read them all.

    No two have the same endpoints, and none begins before another's end.
    """
    require_tshark()
    merged = {path: _times(path) for path in CAPTURES if path.stem not in ALONE}
    merged = dict(sorted(merged.items(), key=itemgetter(1)))
    assert all(one[-1] < other[0] for one, other in pairwise(merged.values()))
    whole = tmp_path_factory.mktemp("merged") / "whole.pcapng"
    subprocess.run(["mergecap", "-a", "-w", str(whole), *map(str, merged)], check=True)
    last = list(accumulate(map(len, merged.values())))
    found: dict[Path, list[Difference]] = {path: [] for path in merged}
    for difference in verify(str(whole)).differences:
        found[[*merged][bisect_left(last, difference.frame)]].append(difference)
    return found


def _times(path: Path) -> list[float]:
    with path.open("rb") as file:
        return [time for time, _ in dpkt.pcapng.Reader(file)]


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_lua_and_python_agree(path: Path, found: dict[Path, list[Difference]]) -> None:
    """With EVERY_CAPTURE each capture is read by itself."""
    alone = path.stem in ALONE or "EVERY_CAPTURE" in os.environ
    differences = verify(str(path)).differences if alone else found[path]
    if path.stem in LATER:
        assert differences, f"take {path.stem} out of LATER: both agree on {LATER[path.stem]}"
    else:
        assert differences == []


@pytest.mark.usefixtures("shared_captures")
@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_lua_and_python_agree_on_public_captures(path: Path) -> None:
    require_tshark()
    found = verify(str(path))
    assert found.conversations > 0
    assert found.differences == []
