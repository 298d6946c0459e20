"""Handshakes in segments of one octet, in order and shuffled, show what they show in one piece."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

from .cut import cut
from .run import layers

CAPTURES = sorted((ROOT / "captures").glob("*.pcapng"))

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

IN_ORDER = ("-2", "-o", "tcp.reassemble_out_of_order:TRUE", "-o", "tcp.try_heuristic_first:TRUE")
ABOUT_SEGMENTS = {"split-frame", "pipelined-frames"}
LINKS = {"socks5.response_in", "socks5.response_to", "socks5.request_in", "socks5.time", "socks5.stream"}
Facts = dict[tuple[int | None, str], list[tuple[dict[str, list[str]], set[str]]]]


CUT = [path for path in CAPTURES if path.stem not in UNCUT]


@pytest.mark.parametrize(
    ("path", "shuffle"),
    # A run of tshark takes a second: every other capture is shuffled, unless EVERY_CAPTURE is set.
    [
        pytest.param(path, shuffle, id=f"{path.stem}-{'cut' if shuffle is None else 'shuffled'}")
        for number, path in enumerate(CUT)
        for shuffle in (None, 7)
        if shuffle is None or number % 2 == 0 or "EVERY_CAPTURE" in os.environ
    ],
)
def test_one_octet_segments_give_the_same_fields(path: Path, shuffle: int | None, tmp_path: Path) -> None:
    """Each handshake cut into one-octet segments shows what it showed in one piece; shuffled too."""
    pieces = cut(path, shuffle).write(tmp_path / "cut.pcap")
    assert _facts(pieces) == _right(path)


@cache
def _right(path: Path) -> Facts:
    return _facts(path)


def _facts(path: Path) -> Facts:
    """Per stream and depth the handshake's frames: fields and anomalies, without what the cutting itself changes."""
    facts = defaultdict(list)
    for layer in layers(path, *IN_ORDER):
        if layer["type"] in ("tunnel", "extra", "opaque", "lost", "udp", ""):
            continue
        fields = {
            name: values
            for name, values in layer.fields.items()
            if name.startswith("socks5.") and name not in LINKS and "anomaly" not in name
        }
        facts[layer.stream, layer["depth"]].append((fields, set(layer.anomalies) - ABOUT_SEGMENTS))
    return dict(facts)
