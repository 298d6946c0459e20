"""Our Lua and our Python agree on every frame and field of the captures of known truth, and of public ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from socks5sniff.dissector.verify import verify
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


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_lua_and_python_agree(path: Path) -> None:
    require_tshark()
    found = verify(str(path)).differences
    if path.stem in LATER:
        assert found, f"take {path.stem} out of LATER: both agree on {LATER[path.stem]}"
    else:
        assert found == []


@pytest.mark.usefixtures("shared_captures")
@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_lua_and_python_agree_on_public_captures(path: Path) -> None:
    require_tshark()
    found = verify(str(path))
    assert found.conversations > 0
    assert found.differences == []
