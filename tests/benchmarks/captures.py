"""The captures of the benchmark, made from a seed, with the truth about each SOCKS conversation in them.

- `churn`: 20,000 conversations of 15 packets, no two to the same destination, about three at a time.
- `many`: 5,000 conversations of 50 packets, all open at once.
- `bulk`: two conversations of 200 MB each in frames of 1,500 octets, through HTTP, at the same time.
- `noise`: a million packets of 30,000 flows, 300 of them SOCKS, the rest other protocols over TCP and UDP.
- `midstream`: 30,000 TCP flows of 10 packets on average that began before the capture, none of them SOCKS.
- `dialogues`, `slow`, `lossy` and `mixed`: copies of real dialogues, see the module `dialogues`.

Run as `python -m tests.benchmarks.captures FOLDER [NAME…] [--scale N]` to write them to a folder.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import dialogues, openings, pcap
from .openings import Opening, SocksTruth
from .pcap import ACK, CLIENT, FIN, FLOW, PACKET, PSH, SERVER, SYN, TCP

NAMES = ("churn", "bulk", "noise", "many", "midstream")
"""Made packet by packet."""
EVERY = (*NAMES, *dialogues.NAMES)

_EPOCH = 1_795_000_000
_SECOND = 1_000_000_000
_CLIENTS = 0x0A010000  # 10.1.0.0/16
_PROXY = 0xC0A80701  # 192.168.7.1
_SERVERS = 0xC6120000  # 198.18.0.0/15, set aside for benchmarks
_CLIENT_PORTS = (50000, 4000)  # a range in which Wireshark has registered nothing
_BODY_PAYLOADS = 1024


class Truth(NamedTuple):
    """What a capture says about one SOCKS conversation; octets are those of the tunnel."""

    client: tuple[str, int]
    proxy: tuple[str, int]
    socks: SocksTruth
    sent: int
    received: int
    packets: int
    first_frame: int


class Shape(NamedTuple):
    """How the flows of a capture run."""

    openings: list[Opening]
    packets: NDArray[np.int64]
    """Packets of each flow, the TCP handshake and its end included."""
    spread: float
    """The flows start evenly over so many seconds."""
    gap: float
    """Mean seconds between two packets of a flow."""
    body: tuple[int, int]
    """Octets of a payload after the opening: least and most."""
    from_server: float = 0.6
    """Share of the packets after the opening that the server sends."""
    bare: float = 0.3
    """Share of those packets that are ACKs without octets."""
    missed: NDArray[np.int64] | int = 0
    """So many first packets of each flow were sent before the capture."""


def churn(size: int, rng: random.Random, first: int) -> Shape:
    """`size` short conversations."""
    socks = [openings.socks(rng, first + number) for number in range(size)]
    return Shape(socks, np.full(size, 15), size / 1000, 0.0002, (40, 600))


def many(size: int, rng: random.Random, first: int) -> Shape:
    """`size` conversations that are all open when the last of them starts."""
    socks = [openings.socks(rng, first + number) for number in range(size)]
    return Shape(socks, np.full(size, 50), 1.0, 0.2, (40, 600))


def bulk(size: int, rng: random.Random, first: int) -> Shape:
    """Two conversations of `size` packets each; with 264,000 they carry 200 MB each."""
    socks = [openings.socks(rng, first + number, "http") for number in range(2)]
    return Shape(socks, np.full(2, size), 0.001, 0.00001, (1460, 1460), from_server=0.519, bare=0.0)


def noise(size: int, rng: random.Random, first: int) -> Shape:
    """`size` flows, one in a hundred SOCKS, of 33.3 packets on average."""
    others = rng.choices(list(openings.OTHERS), weights=list(openings.OTHERS.values()), k=size)
    flows = [
        openings.socks(rng, (first + number) // 100) if number % 100 == 50 else other(rng, first + number)
        for number, other in enumerate(others)
    ]
    weights = np.array([0.0 if flow.port == 53 else rng.lognormvariate(0, 1) for flow in flows])
    least = np.array([_least_packets(flow) for flow in flows])
    spare = size * 100 // 3 - int(least.sum())
    counts = least + np.random.default_rng(rng.getrandbits(64)).multinomial(spare, weights / weights.sum())
    return Shape(flows, counts, size / 500, 0.1, (30, 600))


def midstream(size: int, rng: random.Random, first: int) -> Shape:
    """`size` TCP flows whose first packets, one to four after the opening, were before the capture."""
    others = rng.choices([openings.tls, openings.ssh, openings.redis, openings.scrambled], k=size)
    flows = [other(rng, first + number) for number, other in enumerate(others)]
    missed = np.array([_least_packets(flow) - 3 + rng.randrange(1, 5) for flow in flows])
    counts = missed + np.array([rng.randrange(4, 17) for _ in flows])
    return Shape(flows, counts, size / 1000, 0.05, (30, 600), missed=missed)


_SHAPES = {
    "churn": (churn, 20_000),
    "bulk": (bulk, 264_000),
    "noise": (noise, 30_000),
    "many": (many, 5_000),
    "midstream": (midstream, 30_000),
}


def write(name: str, path: Path, size: int | None = None, scale: int = 1, seed: int = 1) -> list[Truth]:
    """Write the capture `name` to `path`; the truth about its SOCKS conversations, in order of their first packets.

    Args:
        size: flows (`bulk`: packets of each of its two flows); that of the benchmark when None.
        scale: how many times as long; `bulk` gets longer conversations, the others the same again and again, one
            after the other and with other names, so that as many are open at once as before.
    """
    shape, default = _SHAPES[name]
    size = size or default
    if name == "bulk":
        size, scale = size * scale, 1
    truth: list[Truth] = []
    frames = 0
    start = _EPOCH * _SECOND
    with path.open("wb") as file:
        file.write(pcap.FILE_HEADER)
        for part in range(scale):
            rng = random.Random(f"{name} {seed} {part}")
            first = part * size
            flows, packets, payloads, found = _lay_out(shape(size, rng, first), rng, first, start, frames)
            for records in pcap.render(flows, packets, payloads):
                file.write(records.data)
            truth += found
            frames += len(packets)
            start = int(packets["time"].max()) + _SECOND
    return truth


def make(name: str, path: Path, size: int | None = None, scale: int = 1, seed: int = 1) -> int:
    """Write any of the captures to `path`; the number of SOCKS conversations in it. See `write`."""
    if name in NAMES:
        return len(write(name, path, size, scale, seed))
    return dialogues.write(name, path, (size or dialogues.SIZES[name]) * scale, seed, _EPOCH * _SECOND)


def _least_packets(opening: Opening) -> int:
    return len(opening.payloads) + (6 if opening.protocol == TCP else 0)


def _lay_out(
    shape: Shape, rng: random.Random, first: int, start: int, frames: int
) -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.uint8], list[Truth]]:
    """Flows, packets (by flow, then by time), payload octets and truth of one shape."""
    draw = np.random.default_rng(rng.getrandbits(64))
    flows = _flows(shape.openings, draw, first)
    counts = shape.packets
    tcp = flows["protocol"] == TCP
    opening_lengths = np.array([len(opening.payloads) for opening in shape.openings])
    quiet = np.array([opening.quiet_client for opening in shape.openings])
    begin = np.cumsum(counts) - counts

    packets = np.zeros(int(counts.sum()), PACKET)
    flow = np.repeat(np.arange(len(flows)), counts)
    packets["flow"] = flow
    position = np.arange(len(packets)) - begin[flow]
    left = counts[flow] - position
    is_tcp = tcp[flow]
    lead = np.where(is_tcp, 3, 0)

    # The opening's payloads, one after the other behind the pool of body payloads.
    sizes = draw.integers(shape.body[0], shape.body[1] + 1, _BODY_PAYLOADS)
    pool = _body(draw, sizes)
    spoken = [payload for opening in shape.openings for payload in opening.payloads]
    spoken_lengths = np.array([len(octets) for _, octets in spoken])
    spoken_rows = np.flatnonzero((position >= lead) & (position < lead + opening_lengths[flow]))
    packets["side"][spoken_rows] = [side for side, _ in spoken]
    packets["length"][spoken_rows] = spoken_lengths
    packets["payload"][spoken_rows] = len(pool) + np.cumsum(spoken_lengths) - spoken_lengths
    payloads = np.frombuffer(pool + b"".join(octets for _, octets in spoken), np.uint8)

    # The rest: body payloads and bare ACKs both ways.
    rest = np.flatnonzero((position >= lead + opening_lengths[flow]) & (left > lead))
    from_server = draw.random(len(rest)) < shape.from_server
    packets["side"][rest] = np.where(from_server, SERVER, CLIENT)
    bare = is_tcp[rest] & ((draw.random(len(rest)) < shape.bare) | (quiet[flow[rest]] & ~from_server))
    chosen = draw.integers(0, _BODY_PAYLOADS, len(rest))
    packets["length"][rest] = np.where(bare, 0, sizes[chosen])
    packets["payload"][rest] = (np.cumsum(sizes) - sizes)[chosen]

    # TCP's own: SYN, SYN/ACK, ACK, …, FIN, FIN, ACK.
    packets["flags"] = np.where(is_tcp, np.where(packets["length"] > 0, PSH | ACK, ACK), 0)
    for rows, side, flags in (
        (is_tcp & (position == 0), CLIENT, SYN),
        (is_tcp & (position == 1), SERVER, SYN | ACK),
        (is_tcp & (left == 3), CLIENT, FIN | ACK),
        (is_tcp & (left == 2), SERVER, FIN | ACK),
    ):
        packets["side"][rows] = side
        packets["flags"][rows] = flags

    gaps = draw.exponential(shape.gap * _SECOND, len(packets)).astype(np.int64) + 1000
    elapsed = np.cumsum(gaps)
    starts = (np.arange(len(flows)) / len(flows) * shape.spread * _SECOND).astype(np.int64)
    packets["time"] = start + starts[flow] + elapsed - elapsed[begin][flow]
    seen = position >= np.broadcast_to(shape.missed, len(flows))[flow]
    return flows, packets[seen], payloads, _truth(shape, flows, packets, position, frames)


def _flows(opened: Sequence[Opening], draw: np.random.Generator, first: int) -> NDArray[np.void]:
    number = np.arange(first, first + len(opened))
    socks = np.array([opening.socks is not None for opening in opened])
    flows = np.zeros(len(opened), FLOW)
    flows["protocol"] = [opening.protocol for opening in opened]
    flows["address"][:, CLIENT] = _CLIENTS + 2 + number % 250
    flows["address"][:, SERVER] = np.where(socks, _PROXY + number % 4, _SERVERS + 1 + number * 7919 % 0x1FFF0)
    flows["port"][:, CLIENT] = _CLIENT_PORTS[0] + number // 250 % _CLIENT_PORTS[1]
    flows["port"][:, SERVER] = [opening.port for opening in opened]
    flows["initial_sequence"] = draw.integers(0, 1 << 32, (len(opened), 2))
    return flows


def _body(draw: np.random.Generator, sizes: NDArray[np.int64]) -> bytes:
    """Payloads of these sizes, each a TLS application data record of random octets."""
    return b"".join(b"\x17\3\3" + int(size - 5).to_bytes(2, "big") + draw.bytes(int(size - 5)) for size in sizes)


def _truth(
    shape: Shape, flows: NDArray[np.void], packets: NDArray[np.void], position: NDArray[np.int64], frames: int
) -> list[Truth]:
    tunnel_from = np.array([opening.handshake + 3 for opening in shape.openings])
    flow = packets["flow"]
    tunnel = np.where(position >= tunnel_from[flow], packets["length"], 0)
    carried = [np.bincount(flow, tunnel * (packets["side"] == side), len(flows)) for side in (CLIENT, SERVER)]
    rank = np.empty(len(packets), np.int64)
    rank[np.argsort(packets["time"], kind="stable")] = np.arange(len(packets))
    first_frames = rank[position == 0] + frames + 1
    truth = [
        Truth(
            _endpoint(flows[row], CLIENT),
            _endpoint(flows[row], SERVER),
            opening.socks,
            int(carried[CLIENT][row]),
            int(carried[SERVER][row]),
            int(shape.packets[row]),
            int(first_frames[row]),
        )
        for row, opening in enumerate(shape.openings)
        if opening.socks is not None
    ]
    return sorted(truth, key=lambda conversation: conversation.first_frame)


def _endpoint(flow: np.void, side: int) -> tuple[str, int]:
    address = int(flow["address"][side])
    return ".".join(str(octet) for octet in address.to_bytes(4, "big")), int(flow["port"][side])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.captures", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(EVERY))
    parser.add_argument("--size", type=int, help="flows (bulk: packets of a flow; copies: conversations)")
    parser.add_argument("--scale", type=int, default=1, help="how many times as long")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not set(arguments.names) <= set(EVERY):
        parser.error(f"the captures are {', '.join(EVERY)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or [name for name in EVERY if dialogues.available(name)]:
        path = arguments.folder / f"{name}.pcap"
        conversations = make(name, path, arguments.size, arguments.scale, arguments.seed)
        made = {"capture": str(path), "octets": path.stat().st_size, "conversations": conversations}
        print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
