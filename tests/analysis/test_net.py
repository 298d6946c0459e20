"""Nothing depends on where a batch ends, on forms, or on the analyser staying in one process.

Every capture is read in batches of 1, 3 and 64 frames, cut into files, with each dialogue judged by itself, with forms
from the second dialogue on, and with the analyser put away and taken out again between any two batches; the lines must
be the same, ids and order included.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.capture.batch import FrameBatch
from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.writer import PcapngWriter
from socks5sniff.errors import Socks5sniffError
from socks5sniff.sinks import Options
from socks5sniff.sinks.json_lines import JsonLinesSink

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CAPTURES = sorted((ROOT / "captures").glob("*.pcap*"))
REPORTED = sorted((SHARED / "reports").glob("*.pcap")) + sorted((SHARED / "captures" / "zeek").glob("*.pcap"))


def whole(path: Path) -> list[FrameBatch]:
    """A capture's frames, so that they outlive their batch."""
    batches = []
    try:
        for batch in open_captures([str(path)]):
            batch.octets = batch.octets.copy()
            batch.interfaces = list(batch.interfaces)
            batches.append(batch)
    except Socks5sniffError:
        pass
    return batches


def cut(batches: list[FrameBatch], size: int) -> Iterator[FrameBatch]:
    """The same frames, so many in a batch."""
    for batch in batches:
        for begin in range(0, len(batch), size):
            rows = np.arange(begin, min(begin + size, len(batch)))
            yield FrameBatch(
                batch.octets,
                batch.offset[rows],
                batch.captured[rows],
                batch.length[rows],
                batch.time[rows],
                batch.first_number + begin,
                batch.interface[rows],
                batch.interfaces,
                None if batch.process is None else batch.process[rows],
                batch.processes,
            )


def lines(batches: Iterator[FrameBatch] | list[FrameBatch], put_away: bool = False) -> list[str]:
    """What `jsonl` prints of frames."""
    out = StringIO()
    sink = JsonLinesSink(out, Options())
    analyser = Analyser(udp_frames=True)
    for batch in batches:
        for records in analyser.take(batch):
            sink.records(records)
        if put_away:
            analyser = pickle.loads(pickle.dumps(analyser))
    for records in analyser.finish():
        sink.records(records)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("path", CAPTURES + REPORTED, ids=lambda path: path.name)
def test_any_batches_forms_or_none_and_state_as_values(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = whole(path)
    expected = lines(frames)
    for size in (1, 3, 64):
        if sum(map(len, frames)) / size < 2000:
            assert lines(cut(frames, size)) == expected, f"batches of {size}"
    assert lines(cut(frames, 16), put_away=True) == expected, "put away between batches"
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    assert lines(frames) == expected, "each dialogue by itself"
    monkeypatch.setattr(handshakes, "FEW", 0)
    assert lines(frames) == expected, "forms"


@pytest.mark.parametrize(
    ("path", "every"),
    [
        pytest.param(path, every, id=f"{path.name}-{every}")
        for number, path in enumerate(CAPTURES + REPORTED)
        for place, every in enumerate((1, 2, 7))
        if number % 3 == place or os.environ.get("EVERY_CAPTURE")
    ],
)
def test_files_cut_at_every_kth_packet_are_one_capture(path: Path, every: int, tmp_path: Path) -> None:
    """What rotation makes of a capture: the same records, but for the file that they name."""
    frames = whole(path)
    times = np.concatenate([batch.time for batch in frames]) if frames else np.empty(0)
    if (np.diff(times) < 0).any():
        return  # files are merged by time, so these packets would come in another order
    expected = without_captures(lines(frames))
    if len(times) <= 200 * every:
        assert without_captures(lines(open_captures(rotated(cut(frames, every), tmp_path)))) == expected


def rotated(batches: Iterator[FrameBatch], folder: Path) -> list[str]:
    """A file for each batch."""
    files = []
    for number, batch in enumerate(batches):
        files.append(str(folder / f"{number:05}.pcapng"))
        with PcapngWriter(Path(files[-1]).open("wb")) as writer:
            writer.add_interfaces(batch.interfaces)
            writer.write_batch(batch)
    return files


def without_captures(printed: list[str]) -> list[dict[str, Any]]:
    return [{key: value for key, value in json.loads(line).items() if key != "capture"} for line in printed]


def test_all_captures_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms that one capture taught serve the others."""
    frames = [batch for path in CAPTURES for batch in whole(path)]
    monkeypatch.setattr(handshakes, "FEW", 0)
    expected = lines(frames)
    assert lines(cut(frames, 50)) == expected
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    assert lines(frames) == expected
