"""Tunnels as tshark's `follow` and tcpflow have them, less the handshakes: the same octets, by their SHA-256."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from socks5sniff.payload import Tunnel
from socks5sniff.record import Endpoint

from .looking import CAPTURES, Looked

OTHERWISE = {
    "tcp-conflict": "of two copies that differ tcpflow keeps the later one",
    "tcp-midstream-late": "the stream begins in the middle",
    "tcp-midstream": "the stream begins in the middle",
    "tcp-port-reuse": "tcpflow's file has the name of both connections",
    "reset-text": "the text of an RST is none of the stream",
}
"""Captures that other programs read otherwise, and why."""
TSHARK_OTHERWISE = {"tcp-reordered": "tshark tells of missing octets that come later"}
PLAIN = [path for path in CAPTURES if path.stem not in OTHERWISE]


@pytest.fixture(scope="module")
def looked() -> Looked:
    return Looked([str(path) for path in PLAIN])


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them in one file, for the other programs: its TCP streams have the numbers that ours have."""
    if shutil.which("mergecap") is None:
        pytest.skip("mergecap is not here")
    path = tmp_path_factory.mktemp("merged") / "all.pcapng"
    subprocess.run(["mergecap", "-w", str(path), *map(str, PLAIN)], check=True)
    return path


def wanted(looked: Looked) -> list[tuple[int, Tunnel]]:
    """Tunnels of connections' own, of which nothing is missing."""
    found = [
        (place, tunnel)
        for place, tunnel in enumerate(looked.tunnels)
        if tunnel.carries and not tunnel.enclosed and tunnel.conversation.parent is None and tunnel.missing == ([], [])
    ]
    assert len(found) > 60
    return found


def check(looked: Looked, place: int, tunnel: Tunnel, streams: tuple[bytes, bytes]) -> None:
    """The whole streams end with the tunnel, and begin with the frames of the handshake."""
    for direction, (sender, whole) in enumerate(zip(("client", "proxy"), streams, strict=True)):
        conversation = tunnel.conversation
        handshake = sum(frame.length for frame in conversation.frames if frame.sender == sender)
        header = conversation.proxy_header
        if sender == "client" and header is not None:
            handshake += header.length
        ours = hashlib.sha256(looked.octets(place, direction)).hexdigest()
        assert ours == hashlib.sha256(whole[handshake:]).hexdigest(), (conversation.client, sender)


def test_tshark_follows_the_same_octets(looked: Looked, merged: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not here")
    chosen = wanted(looked)
    # Its SOCKS dissector invents streams: connections are named by their endpoints.
    command = ["tshark", "-n", "--disable-protocol", "socks", "-q", "-r", str(merged)]
    for _, tunnel in chosen:
        command += ["-z", f"follow,tcp,raw,{_shown(tunnel.conversation.client)},{_shown(tunnel.conversation.proxy)}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = re.findall(r"Node 0: (\S+)\nNode 1: (\S+)\n([0-9a-f\t\n]*)=", output)
    streams = {frozenset((node, other)): (node, lines.splitlines()) for node, other, lines in told}
    for place, tunnel in chosen:
        if Path(tunnel.conversation.capture).stem in TSHARK_OTHERWISE:
            continue
        client, proxy = _shown(tunnel.conversation.client), _shown(tunnel.conversation.proxy)
        node, lines = streams[frozenset((client, proxy))]
        sides = [
            bytes.fromhex("".join(line for line in lines if line.startswith("\t") is turned))
            for turned in (False, True)
        ]
        if node != client:
            sides.reverse()
        check(looked, place, tunnel, (sides[0], sides[1]))


def test_tcpflow_writes_the_same_octets(looked: Looked, merged: Path, tmp_path: Path) -> None:
    if shutil.which("tcpflow") is None:
        pytest.skip("tcpflow is not here")
    subprocess.run(["tcpflow", "-r", str(merged), "-o", str(tmp_path)], check=True, capture_output=True)
    for place, tunnel in wanted(looked):
        c = tunnel.conversation
        ends = [_end(end.address, end.port) for end in (c.client, c.proxy)]
        paths = [tmp_path / f"{one}-{other}" for one, other in (ends, ends[::-1])]
        check(looked, place, tunnel, tuple(path.read_bytes() if path.exists() else b"" for path in paths))  # type: ignore[arg-type]


def _shown(end: Endpoint) -> str:
    """An endpoint as tshark writes it."""
    return f"[{end.address}]:{end.port}" if ":" in end.address else f"{end.address}:{end.port}"


def _end(address: str, port: int) -> str:
    """An endpoint in the name of a file."""
    if ":" in address:
        return f"{address}.{port:05}"
    return ".".join(f"{int(part):03}" for part in address.split(".")) + f".{port:05}"
