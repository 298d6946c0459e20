"""Handshakes in segments of one octet, in order and shuffled, show what they show in one piece."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT

from .cut import cut, whole
from .run import layers
from .scenario import Capture
from .test_captures import ALONE, LATER

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

HANDSHAKE = "socks5.type < 8 || socks5.type == 13"
IN_ORDER = ("-2", "-o", "tcp.reassemble_out_of_order:TRUE", "-o", "tcp.try_heuristic_first:TRUE")
ABOUT_SEGMENTS = {"split-frame", "pipelined-frames"}
LINKS = {"socks5.response_in", "socks5.response_to", "socks5.request_in", "socks5.time", "socks5.stream"}
Facts = dict[tuple[int | None, str], list[tuple[dict[str, list[str]], set[str]]]]


pytestmark = pytest.mark.timeout(300)
CUT = sorted((path for path in CAPTURES if path.stem not in UNCUT), key=lambda path: path.stem not in ALONE)
"""What cannot come behind others comes first."""

WAYS: dict[str, Callable[[Path], Iterable[tuple[int, bytes]]]] = {
    "whole": whole,
    "cut": cut,
    "shuffled": lambda path: cut(path, 7),
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[Path, Facts]]:
    """What each capture shows, by the way its octets come. All are one file: starting tshark takes longest."""
    folder = tmp_path_factory.mktemp("cut")
    return {way: _facts(folder / f"{way}.pcap", made) for way, made in WAYS.items()}


@pytest.mark.parametrize("way", ["cut", "shuffled"])
@pytest.mark.parametrize("path", CUT, ids=lambda path: path.stem)
def test_one_octet_segments_give_the_same_fields(path: Path, way: str, shown: dict[str, dict[Path, Facts]]) -> None:
    """Each handshake cut into one-octet segments shows what it showed in one piece; shuffled too."""
    assert shown[way].get(path, {}) == shown["whole"].get(path, {})


def test_the_captures_show_handshakes(shown: dict[str, dict[Path, Facts]]) -> None:
    """What is compared is something: every capture in whose truth somebody asks for something shows it."""
    for path in CUT:
        truth = json.loads(path.with_suffix(".json").read_text())
        if any(conversation.get("command") for conversation in truth["conversations"]) and path.stem not in LATER:
            assert shown["whole"].get(path), path.stem


def _facts(file: Path, way: Callable[[Path], Iterable[tuple[int, bytes]]]) -> dict[Path, Facts]:
    """By capture, stream and depth the handshake's frames: fields and anomalies, without what the cutting changes."""
    capture, last = Capture(), []
    for path in CUT:
        capture.packets += way(path)
        last.append(len(capture.packets))
    found: dict[Path, Facts] = defaultdict(lambda: defaultdict(list))
    for layer in layers(capture.write(file), *IN_ORDER, filter_=HANDSHAKE):
        if layer["type"] in ("tunnel", "extra", "opaque", "lost", "udp", ""):
            continue
        fields = {
            name: values
            for name, values in layer.fields.items()
            if name.startswith("socks5.") and name not in LINKS and "anomaly" not in name
        }
        path = CUT[bisect_left(last, layer.frame)]
        found[path][layer.stream, layer["depth"]].append((fields, set(layer.anomalies) - ABOUT_SEGMENTS))
    return found
