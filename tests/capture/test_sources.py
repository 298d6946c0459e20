"""Pipes, standard input and compressed captures give the same frames as the plain file, as soon as they are there."""

from __future__ import annotations

import builtins
import bz2
import gzip
import importlib
import io
import lzma
import os
import queue
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.capture import open_captures
from socks5sniff.errors import DamagedInputError, InputError, MissingError, NotACaptureError

from .samples import Frame, frames, full, pcap, pcapng, plain, read

CONTENT = frames(3000)
PLAIN = pcap(CONTENT)


def zstd(octets: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(octets))


def lz4(octets: bytes) -> bytes:
    return bytes(pytest.importorskip("lz4.frame").compress(octets, content_checksum=True))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "lz4": lz4,
}


def test_zstd_blocks_of_one_octet_again_and_again(tmp_path: Path) -> None:
    """They are four octets long, whatever they stand for."""
    content = [Frame(1_700_000_000_000_000_000 + number * 1_000, bytes(250_000), 250_000) for number in range(4)]
    path = tmp_path / "zeros.zst"
    path.write_bytes(zstd(pcap(content)))
    assert plain(read(str(path))[0]) == full(content)


@pytest.fixture(params=COMPRESSIONS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Its name says nothing about what is in it."""
    return tmp_path / "capture"


class TestCompressed:
    def test_the_same_frames(self, kind: str, path: Path) -> None:
        for octets in (PLAIN, pcapng(CONTENT)):
            path.write_bytes(COMPRESSIONS[kind](octets))
            rows, error = read(path)
            assert (plain(rows), error) == (full(CONTENT), None)

    def test_member_after_member(self, kind: str, path: Path) -> None:
        third = len(PLAIN) // 3
        pieces = [PLAIN[:third], b"", PLAIN[third : third + 1], PLAIN[third + 1 :]]
        path.write_bytes(b"".join(COMPRESSIONS[kind](piece) for piece in pieces))
        rows, error = read(path)
        assert (plain(rows), error) == (full(CONTENT), None)

    def test_zeros_after_the_end(self, kind: str, path: Path) -> None:
        path.write_bytes(COMPRESSIONS[kind](PLAIN) + bytes(512))
        assert len(read(path)[0]) == 3000
        assert read(path)[1] is None

    def test_other_octets_after_the_end(self, kind: str, path: Path) -> None:
        path.write_bytes(COMPRESSIONS[kind](PLAIN) + b"something else")
        rows, error = read(path)
        assert len(rows) == 3000
        assert isinstance(error, DamagedInputError)

    def test_cut_anywhere(self, kind: str, path: Path) -> None:
        content = frames(40, largest=60)
        octets = COMPRESSIONS[kind](pcap(content))
        for cut in range(1, len(octets), 7):
            path.write_bytes(octets[:cut])
            rows, error = read(path)
            assert plain(rows) == full(content)[: len(rows)]
            assert isinstance(error, DamagedInputError) or (cut < 6 and isinstance(error, InputError))

    def test_all_that_was_compressed_before_a_cut_is_given(self, path: Path) -> None:
        packer = lzma.LZMACompressor()
        half = packer.compress(PLAIN) + packer.flush()
        path.write_bytes(half[:-30])
        assert len(read(path)[0]) == 3000

    def test_octets_changed(self, kind: str, path: Path) -> None:
        octets = COMPRESSIONS[kind](PLAIN)
        places = range(20, len(octets), len(octets) // 20)
        faults = 0
        for place in places:
            changed = bytearray(octets)
            changed[place] ^= 0x55
            path.write_bytes(changed)
            faults += read(path)[1] is not None
        assert faults >= len(places) - 1

    def test_what_is_compressed_is_no_capture(self, kind: str, path: Path) -> None:
        path.write_bytes(COMPRESSIONS[kind](b"just some text\n" * 9))
        error = read(path)[1]
        assert type(error) is NotACaptureError
        assert f"{kind} of something that looks like text" in str(error)

    def test_a_bomb_takes_no_memory(self, kind: str, path: Path) -> None:
        path.write_bytes(COMPRESSIONS[kind](pcap([]) + bytes(50_000_000)))
        code = (
            "import sys\n"
            "from socks5sniff.capture import open_captures\n"
            "frames = sum(len(batch) for batch in open_captures([sys.argv[1]]))\n"
            "peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
            "print(frames, *peak)\n"
        )
        if not sys.platform.startswith("linux"):
            pytest.skip("peak memory is read from /proc")
        run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        count, peak = map(int, run.stdout.split())
        assert count == 50_000_000 // 16
        assert peak < 120_000

    @pytest.mark.parametrize(("needed", "kind"), [("lz4.frame", "lz4"), ("zstandard", "zstd")])
    def test_a_missing_package(self, needed: str, kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if sys.version_info >= (3, 14) and kind == "zstd":
            pytest.skip("zstd is in this Python's standard library")
        path.write_bytes(COMPRESSIONS[kind](PLAIN))
        load = importlib.import_module

        def without(name: str, package: str | None = None) -> ModuleType:
            if name == needed:
                raise ImportError(name)
            return load(name, package)

        monkeypatch.setattr(importlib, "import_module", without)
        error = read(path)[1]
        assert isinstance(error, MissingError)
        assert "pip install 'socks5sniff[compression]'" in str(error)


class Pipe:
    """Standard input made a pipe that the test writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read_end, self._write_end = os.pipe()
        self._open = True
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.FileIO(self.read_end, closefd=False)))

    def write(self, octets: bytes) -> None:
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._write_end, rest) :]

    def close(self) -> None:
        if self._open:
            os.close(self._write_end)
            self._open = False


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    one = Pipe(monkeypatch)
    yield one
    one.close()
    os.close(one.read_end)


def feed(pipe: Pipe, pieces: list[bytes]) -> threading.Thread:
    def run() -> None:
        for piece in pieces:
            pipe.write(piece)
        pipe.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class TestPipe:
    @pytest.mark.parametrize("octets", [PLAIN, pcapng(CONTENT), gzip.compress(PLAIN, mtime=0), lzma.compress(PLAIN)])
    def test_reads_of_any_size(self, pipe: Pipe, octets: bytes) -> None:
        random = np.random.default_rng(3)
        cuts = [0, 1, 2, 5, *sorted(random.integers(6, len(octets), 200).tolist()), len(octets)]
        thread = feed(pipe, [octets[a:b] for a, b in pairwise(cuts)])
        rows, error = read("-")
        thread.join()
        assert (plain(rows), error) == (full(CONTENT), None)
        assert rows[0].capture == "-"

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_frames_come_when_they_are_there(self, pipe: Pipe, pack: Callable[[bytes], bytes]) -> None:
        batches: queue.Queue[int] = queue.Queue()

        def run() -> None:
            with suppress(DamagedInputError):
                for batch in open_captures(["-"]):
                    batches.put(len(batch))

        thread = threading.Thread(target=run)
        thread.start()
        pipe.write(pack(pcap([])))
        for count in (1, 3, 2):
            content = pcap(frames(count))[24:]
            pipe.write(pack(content))
            # One by one they may come, but no later frame is needed for them to come.
            while count:
                count -= batches.get(timeout=5)
            assert count == 0
        pipe.write(pack(pcap(frames(1))[24:] + b"cut"))
        assert batches.get(timeout=5) == 1
        pipe.close()
        thread.join(5)
        assert not thread.is_alive()

    def test_frames_are_not_held_back_by_the_beginning_of_more_compressed_octets(
        self, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("socks5sniff.capture.compression._READ", 16)
        packer = zlib.compressobj(wbits=31)
        first = packer.compress(pcap(frames(5))) + packer.flush(zlib.Z_SYNC_FLUSH)
        second = packer.compress(pcap(frames(5))[24:]) + packer.flush()
        reading = open_captures(["-"])
        pipe.write(first + second[:2])
        late = threading.Timer(5, pipe.close)
        late.start()
        count = 0
        while count < 5:
            count += len(next(reading))
        assert late.is_alive()
        late.cancel()
        pipe.write(second[2:])
        pipe.close()
        assert sum(len(batch) for batch in reading) == 5

    def test_a_pipe_that_never_rests_is_not_held_back(self, pipe: Pipe) -> None:
        stop = threading.Event()
        content = pcap(frames(1))[24:]

        def run() -> None:
            pipe.write(pcap([]))
            while not stop.wait(0.0005):
                pipe.write(content)
            pipe.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            first = next(open_captures(["-"]))
            assert 0 < len(first) < 2000
        finally:
            stop.set()
            thread.join()

    def test_a_pipe_that_does_not_block(self, pipe: Pipe) -> None:
        os.set_blocking(pipe.read_end, False)
        thread = feed(pipe, [PLAIN[:1000], PLAIN[1000:]])
        rows, error = read("-")
        thread.join()
        assert (plain(rows), error) == (full(CONTENT), None)

    def test_nothing_comes(self, pipe: Pipe) -> None:
        pipe.close()
        rows, error = read("-")
        assert rows == []
        assert isinstance(error, InputError)

    def test_a_named_pipe(self, path: Path) -> None:
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(path)
        thread = threading.Thread(target=path.write_bytes, args=(PLAIN,))
        thread.start()
        rows, error = read(path)
        thread.join()
        assert (plain(rows), error) == (full(CONTENT), None)


class TestStandardInput:
    def test_a_file_as_standard_input(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.write_bytes(PLAIN)
        with path.open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert len(read("-")[0]) == 3000

    def test_octets_in_memory_as_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PLAIN)))
        assert len(read("-")[0]) == 3000

    def test_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(PLAIN))
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", stdin)
        assert "terminal" in str(read("-")[1])

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert type(read("-")[1]) is InputError

    def test_twice(self) -> None:
        assert "only once" in str(read("-", "-")[1])


def test_an_input_that_fails_while_it_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.FileIO):
        reads = 0

        def readinto(self, room: object) -> int:  # type: ignore[override]
            self.reads += 1
            if self.reads > 2:
                raise OSError(5, "Input/output error")
            return super().readinto(memoryview(room)[:1000])  # type: ignore[arg-type]

    path.write_bytes(PLAIN)
    monkeypatch.setattr("socks5sniff.capture.source.io.FileIO", Failing)
    rows, error = read(path)
    assert plain(rows) == full(CONTENT)[: len(rows)]
    assert rows
    assert isinstance(error, DamagedInputError)
    assert "Input/output error" in str(error)


def test_an_iterator_that_is_closed_early_closes_its_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(PLAIN)
    opened: list[io.FileIO] = []

    class Noted(io.FileIO):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            opened.append(self)

    monkeypatch.setattr("socks5sniff.capture.source.io.FileIO", Noted)
    reading = open_captures([str(path)])
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert [file.closed for file in opened] == [True]


def test_progress_is_told_in_stored_octets(path: Path) -> None:
    octets = gzip.compress(PLAIN)
    path.write_bytes(octets)
    told: list[tuple[int, int]] = []
    for _ in open_captures([str(path)], progress=lambda consumed, total: told.append((consumed, total))):
        pass
    assert told[-1] == (len(octets), len(octets))
    assert told == sorted(told)


def test_progress_of_a_pipe_has_no_total(pipe: Pipe) -> None:
    thread = feed(pipe, [PLAIN])
    told: list[tuple[int, int]] = []
    for _ in open_captures(["-"], progress=lambda consumed, total: told.append((consumed, total))):
        pass
    thread.join()
    assert told[-1] == (len(PLAIN), 0)


@given(st.binary(min_size=1, max_size=400), st.sampled_from(sorted(COMPRESSIONS)))
@settings(max_examples=200, deadline=None)
def test_any_octets_after_a_compression_s_first_ones(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.packed"
    path.write_bytes(COMPRESSIONS[kind](pcap([Frame(1, b"x")]))[:12] + octets)
    assert read(path)[1] is not None


def test_no_compression_package_is_imported_for_a_plain_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(PLAIN)
    load = builtins.__import__

    def refuse(name: str, *rest: object) -> ModuleType:
        assert name.partition(".")[0] not in {"zstandard", "lz4", "lzma", "bz2"}
        return load(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert len(read(path)[0]) == 3000
