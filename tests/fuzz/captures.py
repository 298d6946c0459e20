"""The levels of packet and file: octets of frames, and octets of capture files, changed; read by the commands."""

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

from socks5sniff.analysis import Analyser
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from tests.capture import samples
from tests.packets.layouts import LAYOUTS
from tests.packets.samples import batch_of, ipv4, ipv6
from tests.traffic import START

from . import outputs
from .connections import STEP, frames_of, lines, same
from .mutation import mutated
from .scripts import of_messages, of_octets

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.0
"""CPU time that a file under 1 MB may take."""
STATUSES = {*map(int, ExitCode)} - {ExitCode.FAILED, ExitCode.INTERRUPTED, ExitCode.BROKEN_PIPE, ExitCode.MATCHED}

# -- packets --------------------------------------------------------------------------------------------------------

ETHERNET_HEADER = 14


Frames = list[tuple[int, bytes, int]]
"""Link type, octets and length on the wire of each frame."""


def of_frames(chance: Random) -> Frames:
    """A dialogue's packets in some layout of headers, of which a few are changed from the link layer on."""
    script = of_messages(chance)
    link, build = LAYOUTS[chance.choice([*LAYOUTS])]
    whole: Frames = []
    for _, octets in frames_of([script], first=chance.randrange(1 << 12)):
        octets = build(script.version, octets[ETHERNET_HEADER:])
        if chance.randrange(3) == 0:
            octets = mutated(octets, chance)
        beyond = 0 if chance.randrange(8) else chance.choice((1, 40, 3000))
        whole.append((chance.choice((1, 0, 101, 113, 276)) if chance.randrange(40) == 0 else link, octets, len(octets) + beyond))
    if chance.randrange(6) == 0:
        whole += _fragments(chance)
    return whole


def _fragments(chance: Random) -> Frames:
    """A datagram in IP fragments that overlap, lack, or come twice."""
    payload = chance.randbytes(64)
    pieces: Frames = []
    for _ in range(chance.randint(1, 6)):
        at, more = chance.randrange(0, 64, 8), chance.randrange(2)
        part = payload[at : at + chance.choice((8, 16, 24))]
        if chance.randrange(2):
            packet = bytearray(ipv4(17, part))
            packet[6:8] = (more << 13 | at >> 3).to_bytes(2, "big")
            pieces.append((101, bytes(packet), len(packet)))
        else:
            header = b"\x11\0" + (at | more).to_bytes(2, "big") + b"\0\0\0\7"
            packet = bytearray(ipv6(44, header + part))
            pieces.append((101, bytes(packet), len(packet)))
    return pieces


def check_frames(inputs: Sequence[Frames], seed: str) -> None:
    """All invariants, of these inputs one behind the other in one capture; frames are accounted for."""
    chance = Random(seed)
    frames = [frame for each in inputs for frame in each]
    if not frames:
        return
    links, octets, lengths = ([frame[column] for frame in frames] for column in range(3))
    times = [START + row * STEP for row in range(len(frames))]
    whole = batch_of(octets, links, lengths=lengths, times=times)
    analyser = Analyser(udp_frames=True)
    found = [*analyser.take(whole), *analyser.finish()]
    counted = analyser.reader.skipped.total
    assert 0 <= counted <= len(frames)
    again = Analyser(udp_frames=True)
    parts = []
    for batch in _parts(whole, chance):
        parts += again.take(batch)
    same(lines(found), lines([*parts, *again.finish()]), "other batches")
    assert again.reader.skipped.total == counted, "other batches: frames skipped"
    outputs.check(found, [])


def _parts(batch: FrameBatch, chance: Random) -> list[FrameBatch]:
    """The same frames in batches of other sizes."""
    begin, found = 0, []
    while begin < len(batch):
        end = begin + chance.choice((1, 2, 7, 30, 400))
        columns = (batch.offset, batch.captured, batch.length, batch.time)
        number, interface = batch.first_number + begin, batch.interface[begin:end]
        found.append(FrameBatch(batch.octets, *(column[begin:end] for column in columns), number, interface, batch.interfaces))
        begin = end
    return found


# -- files ----------------------------------------------------------------------------------------------------------


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


def of_files(chance: Random) -> bytes:
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
    options = chance.choice((b"", samples.option(9, bytes([chance.choice((3, 6, 9, 0x8A, 0x3F))]), order), samples.option(2, b"\x1b[2J\n", order)))
    parts = [samples.section(order), samples.interface(order=order, options=options)]
    for frame in content:
        kind = chance.randrange(12)
        if kind == 0:
            parts.append(samples.block(chance.choice((0x0BAD, 4, 5, 10, 0x80000001)), chance.randbytes(chance.choice((0, 4, 24))), order))
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
    ("read", "--time", "local", "--columns", "all"),
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


def check_file(octets: bytes, seed: str) -> None:
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
            assert again[:3] == (status, out, error) or "html" in command, f"{told}: another output the second time"
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
