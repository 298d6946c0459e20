"""Our Lua and our Python agree on every frame and field of the captures of known truth, and of public ones."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from socks5sniff.dissector.verify import verify
from tests.conftest import ROOT

from .cut import cut
from .run import Layer, layers, require_tshark

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

UNCUT = {
    "ip-fragments": "its packets are pieces of IP packets, which have no TCP header to copy",
    "tcp-conflict": "two versions of one octet",
    "tcp-overlap": "overlapping segments; which piece comes first is part of what it tests",
    "tcp-lost-request": "a gap is as long as what is lost",
    "tcp-midstream": "without a SYN, the first segment seen says where the stream begins",
    "tcp-midstream-late": "likewise, and the request's first three octets alone would be a greeting",
}
"""Captures about TCP itself, which cutting would make into something else."""
UNCUT |= dict.fromkeys(
    ("address-type-unknown", "auth-unasked", "data-before-reply", "not-socks-four"),
    "what fits no state is read as far as its segment goes",
)
UNCUT |= {
    path.stem: "Lua finds a PROXY header only where a segment begins with it"
    for path in CAPTURES
    if path.stem.startswith("proxy-header-")
}

LATER = {
    "udp-answer-no-header": "where heuristics come first, Wireshark's DNS takes an answer without a header",
    "udp-fragments-unfinished": "that nothing followed a fragment is known at the end only",
    "socks4a-no-name-7777": "a SOCKS4A request without its name, on a port that nobody named",
    "udp-bound-private": "a relay that BND does not name",
}
"""What the two do not agree on yet, by capture; a test that agrees fails until it is taken out."""

IN_ORDER = ("-2", "-o", "tcp.reassemble_out_of_order:TRUE", "-o", "tcp.try_heuristic_first:TRUE")
ABOUT_SEGMENTS = {"split-frame", "pipelined-frames"}
LINKS = {"socks5.response_in", "socks5.response_to", "socks5.request_in", "socks5.time", "socks5.stream"}


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


@pytest.mark.parametrize("shuffle", [None, 7], ids=["cut", "shuffled"])
@pytest.mark.parametrize("path", [path for path in CAPTURES if path.stem not in UNCUT], ids=lambda path: path.stem)
def test_one_octet_segments_give_the_same_fields(path: Path, shuffle: int | None, tmp_path: Path) -> None:
    """Each handshake cut into one-octet segments shows what it showed in one piece; shuffled too."""
    pieces = cut(path, shuffle).write(tmp_path / "cut.pcap")
    found, right = _facts(layers(pieces, *IN_ORDER)), _facts(layers(path, *IN_ORDER))
    assert found == right


def _facts(seen: list[Layer]) -> dict[tuple[int | None, str], list[tuple[dict[str, list[str]], set[str]]]]:
    """Per stream and depth the handshake's frames: fields and anomalies, without what the cutting itself changes."""
    facts = defaultdict(list)
    for layer in seen:
        if layer["type"] in ("tunnel", "extra", "opaque", "lost", "udp", ""):
            continue
        fields = {
            name: values
            for name, values in layer.fields.items()
            if name.startswith("socks5.") and name not in LINKS and "anomaly" not in name
        }
        facts[layer.stream, layer["depth"]].append((fields, set(layer.anomalies) - ABOUT_SEGMENTS))
    return dict(facts)
