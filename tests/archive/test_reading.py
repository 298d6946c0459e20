"""`--jobs` and `--cluster` print what one process prints, whatever becomes of files and workers."""

from __future__ import annotations

import os
import pickle
import random
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from functools import partial
from io import StringIO
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pytest

from socks5sniff.analysis import read
from socks5sniff.analysis.watch import IGNORED
from socks5sniff.archive import flow, plan
from socks5sniff.archive.flow import Workers
from socks5sniff.archive.messages import Order, Settings
from socks5sniff.archive.piece import Result, Task, analyse
from socks5sniff.archive.plan import planned
from socks5sniff.archive.processes import Processes
from socks5sniff.archive.reading import ArchiveReading
from socks5sniff.archive.thinning import WHOLE
from socks5sniff.errors import DamagedInputError, InputError, Socks5sniffError, VersionError
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Options, open_sink, printing
from socks5sniff.sinks.sink import PRINTED
from tests.benchmarks import captures

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
TWO = partial(Processes, 2)


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 conversations, a few of them open at any time."""
    path = tmp_path_factory.mktemp("archive") / "churn.pcap"
    captures.write("churn", path, 2_000)
    return path


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LEAST", 200_000)


def printed(batches: Callable[[], Sequence[Batch]], form: str = "jsonl") -> tuple[str, str]:
    """What is printed, and the fault at the end."""
    out, fault = StringIO(), ""
    sink = open_sink(form, out, Options())
    try:
        for batch in batches():
            sink.records(batch)
    except Socks5sniffError as error:
        fault = f"{type(error).__name__}: {error}"
    return out.getvalue(), fault


def same(names: Sequence[str], workers: Callable[[], Workers] = TWO) -> ArchiveReading:
    """A reading by several workers, which must be that of one."""
    one, several = read(names), ArchiveReading(names, workers, 2, printer=printing("jsonl"))
    assert printed(several.batches) == printed(one.batches)
    counts = ("packets", "conversations", "skipped", "evicted")
    for name in (*counts, "attempts", "attempt_counts", "unknown_links", "notes"):
        assert getattr(several, name) == getattr(one, name), name
    return several


def records_of(path: Path) -> list[bytes]:
    """The packet records of a pcap file."""
    octets = path.read_bytes()
    at, records = 24, []
    while at < len(octets):
        size = 16 + int.from_bytes(octets[at + 8 : at + 12], "little")
        records.append(octets[at : at + size])
        at += size
    return records


def split(path: Path, folder: Path, count: int) -> list[str]:
    """A pcap file in so many files that follow each other."""
    octets = path.read_bytes()
    found, at, begin = [], 24, 24
    for number in range(count):
        until = len(octets) * (number + 1) // count
        while at < until:
            at += 16 + int.from_bytes(octets[at + 8 : at + 12], "little")
        found.append(folder / f"{number:03d}.pcap")
        found[-1].write_bytes(octets[:24] + octets[begin:at])
        begin = at
    return [*map(str, found)]


def test_one_file_in_pieces(churn: Path) -> None:
    assert same([str(churn)]).conversations == 2_000


class Counted(Processes):
    """Counts the pieces that are analysed, or are to be, and not finished."""

    held = most = 0

    def analyse(self, number: int, task: Task) -> Future[Result]:
        self.held += 1
        self.most = max(self.most, self.held)
        return super().analyse(number, task)

    def ask(self, number: int, method: str, *arguments: object) -> Future[object]:
        self.held -= method == "finish"
        return super().ask(number, method, *arguments)


@pytest.mark.parametrize(("look", "most"), [(1, 5), (8, 9)])
def test_few_pieces_are_held_however_much_comes_at_once(
    churn: Path, monkeypatch: pytest.MonkeyPatch, look: int, most: int
) -> None:
    """All of it lies within the time that a connection's last packets are waited for."""
    monkeypatch.setattr(plan, "FRAMES", 1_000)
    monkeypatch.setattr(flow, "LOOK", look)
    workers = Counted(2)
    assert same([str(churn)], lambda: workers).conversations == 2_000
    assert len(planned([str(churn)], 2, False, [], print)) > 20
    assert most - 1 <= workers.most <= most


@pytest.mark.parametrize("form", [*PRINTED, "zeek"])
def test_every_format_of_lines(form: str, churn: Path) -> None:
    """Of some the lines are made by the workers, but not those of conversations inside others."""
    for name in (str(churn), str(CAPTURES / "chain-of-three.pcapng")):
        several = ArchiveReading([name], TWO, 2, printer=printing(form))
        assert printed(several.batches, form) == printed(read([name]).batches, form)


def test_a_pcapng_file_in_pieces(churn: Path, tmp_path: Path) -> None:
    from socks5sniff.capture.merge import open_captures
    from socks5sniff.capture.writer import PcapngWriter

    path = tmp_path / "churn.pcapng"
    with PcapngWriter(path.open("wb")) as writer:
        for number, batch in enumerate(open_captures([str(churn)])):
            # Another interface in the middle: what lies behind it needs to know of it.
            writer.add_interfaces(batch.interfaces)
            batch.interface = batch.interface + number
            writer._from_batch = {each: each for each in range(number + 1)}
            writer.write_batch(batch)
    assert same([str(path)]).conversations == 2_000


def test_many_files(churn: Path, tmp_path: Path) -> None:
    names = split(churn, tmp_path, 13)
    random.Random(1).shuffle(names)
    assert same(names).conversations == 2_000


def test_files_that_overlap_are_merged(churn: Path, tmp_path: Path) -> None:
    """Two interfaces' rings: every other packet lies in another file."""
    octets, records = churn.read_bytes(), records_of(churn)
    names = []
    for number, (begin, step) in enumerate(((0, 2), (1, 2), (15_000, 1))):
        chosen = records[begin:15_000:step] if number < 2 else records[begin:]
        half = len(chosen) // 2
        for part, some in enumerate((chosen[:half], chosen[half:])):
            names.append(str(tmp_path / f"{number}-{part}.pcap"))
            Path(names[-1]).write_bytes(octets[:24] + b"".join(some))
    assert same(names).conversations == 2_000


def test_compressed_files(churn: Path, tmp_path: Path) -> None:
    import gzip

    names = split(churn, tmp_path, 5)
    for name in names:
        Path(name + ".gz").write_bytes(gzip.compress(Path(name).read_bytes(), 1))
    assert same([f"{name}.gz" for name in names]).conversations == 2_000


def test_nothing_but_empty_files(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{number}.pcap") for number in range(2)]
    for name in names:
        Path(name).touch()
    with pytest.raises(InputError, match="empty"):
        same(names)


def test_damaged_and_empty_files(churn: Path, tmp_path: Path) -> None:
    names = split(churn, tmp_path, 6)
    octets = Path(names[2]).read_bytes()
    Path(names[2]).write_bytes(octets[: len(octets) // 2])
    Path(names[4]).write_bytes(b"")
    same(names)


def test_a_damaged_file_in_pieces(churn: Path, tmp_path: Path) -> None:
    octets = bytearray(churn.read_bytes())
    at = 24
    while at < len(octets) // 2:
        at += 16 + int.from_bytes(octets[at + 8 : at + 12], "little")
    octets[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    path = tmp_path / "damaged.pcap"
    path.write_bytes(octets)
    same([str(path)])


@pytest.mark.parametrize("growing", [False, True])
def test_a_file_that_ends_within_a_record(churn: Path, tmp_path: Path, growing: bool) -> None:
    """It is damaged, unless somebody is writing it."""
    path = tmp_path / "growing.pcap"
    path.write_bytes(churn.read_bytes()[:-7])
    with path.open("ab") if growing else nullcontext():
        several = same([str(path)])
    assert bool(several.notes) is growing


def test_records_as_objects(churn: Path) -> None:
    """For filters, and formats whose lines workers do not make."""
    names = [str(churn)]
    assert printed(ArchiveReading(names, TWO, 2).batches) == printed(read(names).batches)


def test_a_worker_that_is_killed_is_replaced(churn: Path) -> None:
    found: list[Processes] = []

    def start() -> Processes:
        found.append(Processes(2))
        return found[0]

    reading = ArchiveReading([str(churn)], start, 2)
    expected = printed(read([str(churn)]).batches)
    original = reading._now.sequel.take_stretch
    killed: list[int] = []

    def take(*arguments: object) -> object:
        if reading.packets > 10_000 and not killed:
            process = found[0]._workers[0].process
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.1)
        return original(*arguments)

    reading._now.sequel.take_stretch = take  # type: ignore[assignment,method-assign]
    assert printed(reading.batches) == expected
    assert killed
    kinds = {type(worker.process).__name__ for worker in found[0]._workers}
    assert "SpawnProcess" in kinds, "nothing is forked beside the threads that listen"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_all_workers_are_forked_before_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = threading.active_count(), []
    monkeypatch.setattr("socks5sniff.archive.processes.threading.active_count", lambda: 1)
    start = ForkProcess.start

    def noted(process: ForkProcess) -> None:
        found.append(len(threading.enumerate()))
        start(process)

    monkeypatch.setattr(ForkProcess, "start", noted)
    Processes(3).close()
    assert found == [before] * 3


def test_workers_that_keep_dying_end_the_reading(churn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks5sniff.archive.processes._DEATHS", 0)
    monkeypatch.setattr("socks5sniff.archive.processes.analyse", lambda *_: os._exit(9))
    monkeypatch.setattr("socks5sniff.archive.processes.threading.active_count", lambda: 1)  # so that it is forked
    with pytest.raises(Socks5sniffError, match="keep ending"):
        [*ArchiveReading([str(churn)], partial(Processes, 2), 2).batches()]


def test_a_worker_of_another_version(churn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "Task", partial(Task, version="0.0.0"))
    with pytest.raises(VersionError, match="install the same version"):
        [*ArchiveReading([str(churn)], partial(Processes, 2), 2).batches()]


def test_a_file_that_vanishes(churn: Path, tmp_path: Path) -> None:
    names = split(churn, tmp_path, 4)
    reading = ArchiveReading(names, partial(Processes, 2), 2)
    os.unlink(names[3])
    with pytest.raises((InputError, DamagedInputError), match=r"003\.pcap"):
        [*reading.batches()]


def test_a_cluster_of_processes_also_where_the_port_of_a_dashboard_is_taken(churn: Path) -> None:
    from socks5sniff.archive.cluster import Cluster

    with socket.socket() as taken, warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(OSError):  # somebody has it already
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        cluster = Cluster("local", 2)
        reading = same([str(churn)], lambda: cluster)
    assert reading.conversations == 2_000
    assert sum(reading.workers.values()) == churn.stat().st_size
    assert 1 <= len(reading.workers) <= 2


def test_a_cluster_knows_how_much_a_stretch_is(churn: Path) -> None:
    """Else Dask takes it for next to nothing, and sends it from one worker to another for each question."""
    sizeof = pytest.importorskip("dask.sizeof").sizeof
    for piece in planned([str(churn)], 2, False, [], lambda _: None):
        for each in (piece, piece._replace(slice=None)):
            stretch, _ = analyse(Task(each, Settings()))
            assert each.octets <= sizeof((stretch, None)) < 2 * each.octets + 4_000_000


def test_a_cluster_may_send_a_stretch_elsewhere(churn: Path) -> None:
    """What it has read goes along, and is asked there."""
    here, result = analyse(Task(planned([str(churn)], 2, False, [], lambda _: None)[0], Settings()))
    there = pickle.loads(pickle.dumps(here))
    ends = np.flatnonzero(result.outline.kind != IGNORED)
    wants = np.full(len(ends), WHOLE, np.uint8)
    assert there.packets(ends, wants).segments.octets.tobytes() == here.packets(ends, wants).segments.octets.tobytes()
    streams = np.arange(len(result.outline.kind))
    order = Order(0, streams, np.empty(0, np.intp), frozenset(), 0, 1 << 62)
    assert there.finish(order).finished.places == here.finish(order).finished.places


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    from socks5sniff.archive import cluster

    monkeypatch.setattr(cluster, "WAIT", 1)
    with pytest.raises(InputError, match=r"--cluster tcp://127\.0\.0\.1:1: "):
        cluster.Cluster("tcp://127.0.0.1:1")
