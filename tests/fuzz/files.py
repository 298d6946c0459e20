"""The level of file: octets of capture files, changed, and read by the commands."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from socks5sniff.sinks.columns import NAMES
from tests.capture import samples

from . import outputs
from .connections import frames_of
from .mutation import mutated
from .scripts import of_messages, of_octets

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.0
"""CPU time that a file under 1 MB may take."""
STATUSES = {ExitCode.OK, ExitCode.INPUT, ExitCode.DAMAGED}


def _zstd(octets: bytes) -> bytes:
    import zstandard

    return zstandard.compress(octets)


def _lz4(octets: bytes) -> bytes:
    import lz4.frame

    return bytes(lz4.frame.compress(octets))


COMPRESSIONS: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, bz2.compress, lzma.compress, _zstd, _lz4)


@cache
def _captures() -> list[bytes]:
    """The project's own captures, those that are small."""
    found = [path.read_bytes() for path in sorted((ROOT / "captures").glob("*.pcap*"))]
    return [octets for octets in found if len(octets) < 8_000]


def make(chance: Random) -> bytes:
    """A capture file of any kind with a few octets changed, sometimes compressed before or after that."""
    octets = chance.choice(_captures()) if chance.randrange(2) else _made(chance)
    times = chance.choice((0, 1, 1, 1, 2))
    if chance.randrange(6) == 0:
        compress = chance.choice(COMPRESSIONS)
        return mutated(compress(octets), chance) if times else compress(mutated(octets, chance))
    for _ in range(times):
        octets = mutated(octets, chance)
    return octets


def _made(chance: Random) -> bytes:
    """A file of some dialogues, in a format, byte order, resolution and with blocks drawn."""
    scripts = [chance.choice((of_messages, of_octets))(chance) for _ in range(chance.randint(1, 3))]
    content = [samples.Frame(moment, octets) for moment, octets in frames_of(scripts)]
    order = chance.choice("<>")
    if chance.randrange(3) == 0:
        return samples.pcap(content, order, chance.randrange(2) > 0, patched=chance.randrange(5) == 0)
    resolution = samples.option(9, bytes([chance.choice((3, 6, 9, 0x8A, 0x3F))]), order)
    options = chance.choice((b"", resolution, samples.option(2, b"\x1b[2J\n", order)))
    parts = [samples.section(order), samples.interface(order=order, options=options)]
    for frame in content:
        kind = chance.randrange(12)
        if kind == 0:
            body = chance.randbytes(chance.choice((0, 4, 24)))
            parts.append(samples.block(chance.choice((0x0BAD, 4, 5, 10, 0x80000001)), body, order))
        elif kind == 1:
            parts.append(samples.simple(frame, order))
        elif kind == 2:
            parts.append(samples.old_packet(frame, order=order))
        elif kind == 3 and chance.randrange(8) == 0:
            order = chance.choice("<>")
            parts += [samples.section(order), samples.interface(order=order)]
        parts.append(samples.enhanced(frame, order=order))
    return b"".join(parts)


COMMANDS: tuple[tuple[str, ...], ...] = (
    *(("read", "--format", name) for name in (*outputs.FORMATS, "html") if name != "frames"),
    ("read", "--frames"),
    ("read", "--attempts"),
    ("read", "--format", "csv", "--excel"),
    ("read", "--time", "relative", "--columns", ",".join(NAMES)),
    ("read", "-Y", 'destination.host contains "a" and not anomalies'),
    ("stats",),
    ("stats", "--format", "json"),
    ("explain",),
    ("explain", "--format", "json"),
    ("bypass",),
)
"""Every command that reads files, in every form of output."""


def run(arguments: Sequence[str]) -> tuple[int, str, str, float]:
    """Status, standard output and error, and CPU seconds of a command."""
    before = sys.stdout, sys.stderr
    out, error = (TextIOWrapper(BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    sys.stdout, sys.stderr = out, error
    start = time.process_time()
    try:
        status = main(arguments)
    finally:
        sys.stdout, sys.stderr = before
    spent = time.process_time() - start
    texts = []
    for stream in (out, error):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    return status, texts[0], texts[1], spent


def _timeless(out: str) -> list[str]:
    """Without the two lines in which a Zeek log without traffic has the time of day."""
    return [line for line in out.splitlines() if not line.startswith(("#open\t", "#close\t"))]


def check(octets: bytes, seed: str) -> None:
    """All invariants that are about a command: one drawn, which reads these octets as a file."""
    chance = Random(seed)
    command = chance.choice(COMMANDS)
    with TemporaryDirectory(prefix="fuzz") as folder:
        path = Path(folder, "x.pcap")
        path.write_bytes(octets)
        arguments = [*command, str(path)]
        status, out, error, spent = run(arguments)
        told = f"socks5sniff {' '.join(command)}"
        assert status in STATUSES, f"{told} ends with {status}: {error}"
        assert (error.count("\n") == 1) == (status != ExitCode.OK) or "forgotten early" in error, f"{told}: {error!r}"
        assert error.replace("\n", "").isprintable(), f"{told}: {error!r}"
        _valid(command, out)
        for _ in range(3 if spent > SECONDS else chance.randrange(4) == 0):
            again = run(arguments)
            same = again[0] == status and again[2] == error and _timeless(again[1]) == _timeless(out)
            assert same or "html" in command, f"{told}: another output the second time"
            spent = min(spent, again[3])
        assert spent <= SECONDS, f"{told}: {spent:.2f} s of CPU time"


def _valid(command: tuple[str, ...], out: str) -> None:
    if not out:
        return
    if command[:2] == ("read", "--format") and command[2] in ("csv", "zeek", "json", "jsonl", "accesslog"):
        outputs.FORMATS[command[2]](out, None)
    elif "json" in command:
        json.loads(out)
        assert out.isascii()
    elif "html" in command:
        outputs.page(out)
    else:
        outputs.safe(out)
