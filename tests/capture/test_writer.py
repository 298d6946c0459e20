"""What the writer writes is read back by this package, by dpkt and by Wireshark's programs without complaint."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
from pathlib import Path

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.capture import PcapngWriter, open_captures
from socks5sniff.capture.batch import Interface
from socks5sniff.capture.writer import Direction
from socks5sniff.errors import OutputError

from .samples import START, Frame, frames, full, pcap, plain, read


def tool(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} (Debian: tshark) is not installed")
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    complaints = [line for line in run.stderr.splitlines() if "Running as user" not in line]
    assert complaints == []
    return run.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "written.pcapng"


def write_all(path: Path, content: list[Frame]) -> None:
    with PcapngWriter(path.open("wb")) as writer:
        number = writer.add_interface("lo", 1)
        for frame in content:
            writer.write(frame.octets, frame.time, number, frame.wire)


@given(
    st.lists(st.builds(Frame, st.integers(0, 2**61), st.binary(max_size=70), st.integers(-1, 70)), max_size=20),
    st.text(max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_reading_gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, content: list[Frame], name: str
) -> None:
    content = [frame._replace(length=max(frame.length, len(frame.octets))) for frame in content]
    path = tmp_path_factory.getbasetemp() / "written.pcapng"
    with PcapngWriter(path.open("wb")) as writer:
        number = writer.add_interface(name, 113)
        for frame in content:
            writer.write(frame.octets, frame.time, number, frame.length, comment=name, direction=Direction.INBOUND)
    rows, error = read(path)
    assert (plain(rows), error) == (content, None)
    assert {row.interface for row in rows} <= {name.encode("utf-8", "replace").decode()}


def test_a_batch_is_written_as_its_frames_are(tmp_path: Path) -> None:
    source, one, other = tmp_path / "a.pcap", tmp_path / "b.pcapng", tmp_path / "c.pcapng"
    content = [*frames(2000), Frame(START, b"abc", 9000), Frame(START, b"")]
    source.write_bytes(pcap(content))
    write_all(one, content)
    with PcapngWriter(other.open("wb")) as writer:
        for batch in open_captures([str(source)]):
            writer.write_batch(batch)
    assert plain(read(other)[0]) == full(content)
    assert plain(read(other)[0]) == plain(read(one)[0])
    assert abs(other.stat().st_size - one.stat().st_size) < 20


def test_the_interfaces_of_batches_are_described_once_each(tmp_path: Path) -> None:
    names = []
    for part, link in enumerate((1, 113, 101)):
        names.append(str(tmp_path / f"{part}.pcap"))
        Path(names[-1]).write_bytes(pcap(frames(500, seed=part, start=START + part), link=link))
    joined = tmp_path / "joined.pcapng"
    with PcapngWriter(joined.open("wb")) as writer:
        for batch in open_captures(names):
            writer.write_batch(batch)
    before, after = read(*names)[0], read(joined)[0]
    assert plain(after) == plain(before)
    assert [row.link_type for row in after] == [row.link_type for row in before]
    octets = joined.read_bytes()
    assert len({row.link_type for row in after}) == 3
    if shutil.which("capinfos"):
        assert "Number of interfaces in file: 3" in tool("capinfos", str(joined))
    assert len(octets) % 4 == 0


def test_interfaces_may_be_described_before_anything_comes_from_them(tmp_path: Path) -> None:
    """Where frames are cut as they are captured, each says so."""
    source, path = tmp_path / "a.pcap", tmp_path / "x.pcapng"
    source.write_bytes(pcap(frames(3), link=113))
    with PcapngWriter(path.open("wb")) as writer:
        for batch in open_captures([str(source)]):
            batch.interfaces = [Interface("", "eth0", 1), Interface("", "any", 113)]
            batch.interface[:] = 1
            writer.add_interfaces(batch.interfaces, 96)
            writer.write_batch(batch)
    assert [(row.interface, row.link_type) for row in read(path)[0]] == [("any", 113)] * 3
    octets = path.read_bytes()
    assert octets.count(struct.pack("<HHI", 1, 0, 96)) == octets.count(struct.pack("<HHI", 113, 0, 96)) == 1
    assert octets.index(b"eth0") < octets.index(b"any")


def test_an_empty_batch_writes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "a.pcap"
    source.write_bytes(pcap(frames(1)))
    (batch,) = open_captures([str(source)])
    for column in ("offset", "captured", "length", "time", "interface"):
        setattr(batch, column, getattr(batch, column)[:0])
    file = io.BytesIO()
    writer = PcapngWriter(file)
    size = len(file.getvalue())
    writer.write_batch(batch)
    assert len(file.getvalue()) == size


def test_dpkt_reads_it(path: Path) -> None:
    content = frames(200)
    write_all(path, content)
    with path.open("rb") as file:
        theirs = list(dpkt.pcapng.Reader(file))
    assert [bytes(octets) for _, octets in theirs] == [frame.octets for frame in content]
    assert [round(float(time) * 1e6) for time, _ in theirs] == [frame.time // 1000 for frame in content]


def test_wireshark_reads_it_without_a_warning(path: Path) -> None:
    content = [frame._replace(time=frame.time + row) for row, frame in enumerate(frames(300, largest=1500))]
    with PcapngWriter(path.open("wb"), "socks5sniff test") as writer:
        first = writer.add_interface("lo", 1, 65535)
        second = writer.add_interface("", 101)
        for row, frame in enumerate(content):
            comment = "the first frame: Ω" if row == 0 else ""
            direction = Direction.OUTBOUND if row == 1 else Direction.UNKNOWN
            writer.write(frame.octets, frame.time, (first, second)[row % 2], frame.wire, comment, direction)
        writer.statistics(first, content[-1].time, received=200, dropped=50, since=content[0].time)
        writer.statistics(second, content[-1].time, received=150, dropped=0)
    about = tool("capinfos", str(path))
    for line in (
        r"Number of packets: +300",
        r"Capture application: socks5sniff test",
        r"Number of interfaces in file: 2",
        r"Name = lo",
        r"Capture length = 65535",
        r"Time precision = nanoseconds \(9\)",
        r"Number of stat entries = 1",
    ):
        assert re.search(line, about), line
    columns = ("frame.time_epoch", "frame.len", "frame.comment", "frame.packet_flags_direction", "frame.interface_id")
    fields = [item for column in columns for item in ("-e", column)]
    rows = [line.split("\t") for line in tool("tshark", "-n", "-r", str(path), "-T", "fields", *fields).splitlines()]
    assert [int(row[0].replace(".", "")) for row in rows] == [frame.time for frame in content]
    assert [int(row[1]) for row in rows] == [len(frame.octets) for frame in content]
    assert [rows[0][2], int(rows[1][3], 0)] == ["the first frame: Ω", 2]
    assert [int(row[4]) for row in rows] == [0, 1] * 150


def test_wireshark_takes_names_from_it(path: Path) -> None:
    four, six = bytes((198, 18, 0, 7)), bytes.fromhex("20010db8000000000000000000000007")
    with PcapngWriter(path.open("wb")) as writer:
        writer.add_interface("", 101)
        writer.names({four: "four.example", six: "six\0.example", bytes(4): "\u00fc.example"})
        for head, address in (
            (b"\x45\0\0\x14\0\0\0\0\x40\xfd\0\0" + four, four),
            (b"\x60\0\0\0\0\0\xfd\x40" + six, six),
        ):
            writer.write(head + address, START)
    names = tool("tshark", "-r", str(path), "-N", "n", "-T", "fields", "-e", "ip.src_host", "-e", "ipv6.src_host")
    assert names.split() == ["four.example", "six.example"]


def test_frames_are_there_after_a_flush(path: Path) -> None:
    file = path.open("wb")
    writer = PcapngWriter(file)
    writer.add_interface("lo", 1)
    writer.write(b"abc", START)
    writer.flush()
    assert [row.octets for row in read(path)[0]] == [b"abc"]
    writer.close()
    assert file.closed


def test_an_interface_that_was_not_added(path: Path) -> None:
    with PcapngWriter(path.open("wb")) as writer, pytest.raises(ValueError, match="interface 0"):
        writer.write(b"", START)


def test_comments_longer_than_an_option_holds_are_cut(path: Path) -> None:
    with PcapngWriter(path.open("wb")) as writer:
        writer.add_interface("x" * 70_000, 1)
        writer.write(b"abc", START, comment="é" * 40_000)
    ((row,), error) = read(path)
    assert (row.octets, error) == (b"abc", None)
    assert row.interface.startswith("xxx")


@pytest.mark.parametrize("step", ["header", "interface", "frame", "batch", "statistics", "flush", "close"])
def test_a_file_that_cannot_be_written(step: str, tmp_path: Path) -> None:
    class Full(io.BytesIO):
        name = "there.pcapng"
        full = step == "header"

        def write(self, octets: object) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(octets)  # type: ignore[arg-type]

        def flush(self) -> None:
            self.write(b"")

        def close(self) -> None:
            self.write(b"")

    source = tmp_path / "a.pcap"
    source.write_bytes(pcap(frames(1)))
    (batch,) = open_captures([str(source)])
    file = Full()

    def run() -> None:
        writer = PcapngWriter(file)
        writer.add_interface("", 1)
        file.full = True
        steps = {
            "interface": lambda: writer.add_interface("", 1),
            "frame": lambda: writer.write(b"", 0),
            "batch": lambda: writer.write_batch(batch),
            "statistics": lambda: writer.statistics(0, 0, 0, 0),
            "flush": writer.flush,
            "close": writer.close,
        }
        steps[step]()

    with pytest.raises(OutputError, match=r"there\.pcapng: cannot be written: No space left on device"):
        run()
    file.full = False


def test_batches_of_a_large_frame_count(tmp_path: Path) -> None:
    source, target = tmp_path / "a.pcap", tmp_path / "b.pcapng"
    content = frames(40_000, largest=9)
    source.write_bytes(pcap(content))
    with PcapngWriter(target.open("wb")) as writer:
        for batch in open_captures([str(source)]):
            writer.write_batch(batch)
    times = np.concatenate([batch.time for batch in open_captures([str(target)])])
    assert times.tolist() == [frame.time for frame in content]
