"""Whatever is wrong with the input or the output: one clear line, the right exit status, and all that was decoded."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from tests.capture.samples import Frame, enhanced, interface, pcap, pcapng, section

from .capture import HEADER, capture, connect

COMMAND = [sys.executable, "-m", "socks5sniff", "read", "--format", "jsonl"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
LINES = {
    ExitCode.INPUT: r"socks5sniff: [^\n]*{name}: [^\n]+\n",
    ExitCode.DAMAGED: r"socks5sniff: [^\n]*{name}: [^\n]+ \(byte offset \d+, frame \d+\)\n",
}
"""What is on stderr, and nothing else."""

needs_posix = pytest.mark.skipif(os.name != "posix", reason="descriptors, signals and users are POSIX")


def records(octets: bytes) -> list[tuple[int, bytes]]:
    """Offset and octets of each record of a pcap file, headers included."""
    found = []
    at = len(HEADER)
    while at < len(octets):
        size = 16 + int(struct.unpack_from("<I", octets, at + 8)[0])
        found.append((at, octets[at : at + size]))
        at += size
    return found


def frames(octets: bytes) -> list[Frame]:
    """The frames of a pcap file."""
    found = []
    for _, record in records(octets):
        seconds, microseconds = struct.unpack_from("<II", record)
        found.append(Frame(seconds * 1_000_000_000 + microseconds * 1000, record[16:]))
    return found


THREE = capture(3)
"""Three conversations, one after the other, of ten frames each."""
THREE_NG = pcapng(frames(THREE))


class Result:
    """What a run of `read --format jsonl` gave."""

    def __init__(self, status: int, out: str, err: str, name: str) -> None:
        self.status = status
        self.err = err
        self.conversations = [json.loads(line) for line in out.splitlines()]
        if status in (ExitCode.INPUT, ExitCode.DAMAGED):
            assert re.fullmatch(LINES[ExitCode(status)].format(name=re.escape(name)), err), err
        else:
            assert err == ""

    @property
    def place(self) -> tuple[int, int]:
        """Byte offset and frame that the line names."""
        found = re.search(r"\(byte offset (\d+), frame (\d+)\)", self.err)
        assert found, self.err
        return int(found[1]), int(found[2])


Read = Callable[[str, bytes], Result]


@pytest.fixture
def read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Read:
    def read(name: str, octets: bytes) -> Result:
        path = tmp_path / name
        path.write_bytes(octets)
        status = main(["read", "--format", "jsonl", str(path)])
        said = capsys.readouterr()
        return Result(status, said.out, said.err, name)

    return read


def changed(octets: bytes, at: int, new: bytes) -> bytes:
    return octets[:at] + new + octets[at + len(new) :]


# -- what is no capture ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "empty"),
        (b"\xd4", "1 octet"),
        (b"GET / HTTP/1.1\r\n", "looks like text"),
        (b"\x7fELF\2\1\1", "a program"),
        (bytes(range(128, 228)), "begins with 80 81 82 83"),
        (gzip.compress(b"just text", mtime=0), "gzip of something that looks like text"),
        (gzip.compress(b"", mtime=0), "gzip of something that has only 0 octets"),
        (
            gzip.compress(bz2.compress(THREE), mtime=0),
            "gzip of something that looks like bzip2 data; decompress it first",
        ),
    ],
)
def test_what_is_no_capture(read: Read, octets: bytes, said: str) -> None:
    result = read("x.pcap", octets)
    assert (result.status, result.conversations) == (ExitCode.INPUT, [])
    assert said in result.err


@pytest.mark.parametrize(
    ("name", "said"), [("missing.pcap", "no such file"), (".", "a directory without a file in it")]
)
def test_what_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str) -> None:
    assert main(["read", str(tmp_path / name)]) == ExitCode.INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"socks5sniff: {tmp_path / name}: {err.rpartition(': ')[2]}"
    assert said in err


@needs_posix
def test_no_permission(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As another user, where this one may read everything."""
    path = tmp_path / "secret.pcap"
    path.write_bytes(THREE)
    assert main(["read", str(path)]) == ExitCode.OK
    capfd.readouterr()
    path.chmod(0)
    child = os.fork()
    if not child:
        if os.geteuid() == 0:
            os.setuid(65534)
        status = main(["read", str(path)])
        sys.stderr.flush()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ExitCode.INPUT
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"socks5sniff: {path}: no permission to read it\n")


def test_all_that_is_wrong_with_several_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The good ones are read, each fault is named, and the first gives the status."""
    (tmp_path / "good.pcap").write_bytes(THREE)
    (tmp_path / "cut.pcap").write_bytes(THREE[:-1])
    names = [str(tmp_path / name) for name in ("good.pcap", "missing.pcap", "cut.pcap")]
    assert main(["read", "--format", "jsonl", *names]) == ExitCode.INPUT
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err.count("\n") == 1
    assert "missing.pcap: no such file; " in err
    assert "cut.pcap: truncated" in err


# -- truncated ------------------------------------------------------------------------------------------------------

ONE = HEADER + b"".join(connect(1, 50_000, closed=False))
"""One conversation of seven frames."""
ONE_NG = pcapng(frames(ONE))


def ends_of_records(octets: bytes) -> list[int]:
    """Where each whole record (or block, or the file header) of a capture ends, 0 first."""
    if octets.startswith(HEADER):
        return [0, len(HEADER), *(at + len(record) for at, record in records(octets))]
    ends = [0]
    while ends[-1] < len(octets):
        ends.append(ends[-1] + int(struct.unpack_from("<I", octets, ends[-1] + 4)[0]))
    return ends


@pytest.mark.parametrize("octets", [ONE, ONE_NG], ids=["pcap", "pcapng"])
def test_truncated_at_every_offset(read: Read, octets: bytes) -> None:
    """Whole records are read; what is left of the next one is named with its place."""
    ends = ends_of_records(octets)
    without_frames = len(ends) - 1 - 7
    for size in range(len(octets)):
        result = read("x.pcap", octets[:size])
        whole = max(end for end in ends if end <= size)
        seen = max(ends.index(whole) - without_frames, 0)
        if size < 4:
            assert result.status == ExitCode.INPUT
        elif size == whole:
            assert result.status == ExitCode.OK
        else:
            assert (result.status, result.place) == (ExitCode.DAMAGED, (whole, seen + 1))
        assert len(result.conversations) == (seen >= 4), "the greeting is in frame 4"


def lz4(octets: bytes) -> bytes:
    return bytes(pytest.importorskip("lz4.frame").compress(octets))


def zstd(octets: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").compress(octets))


PACKERS = [gzip.compress, bz2.compress, lzma.compress, zstd, lz4]


@pytest.mark.parametrize("pack", PACKERS, ids=["gzip", "bzip2", "xz", "zstd", "lz4"])
def test_compressed_and_truncated_at_every_offset(read: Read, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(THREE)
    assert len(read("x", packed).conversations) == 3
    for size in range(6, len(packed), 5):
        assert read("x", packed[:size]).status == ExitCode.DAMAGED


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_a_truncated_compressed_capture_gives_what_is_there(read: Read, pack: Callable[[bytes], bytes]) -> None:
    """Only the check at its end is missing."""
    assert len(read("x", pack(THREE)[:-1]).conversations) == 3


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_corrupt_compressed_data(read: Read, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(THREE)
    for at in range(10, len(packed), 5):
        result = read("x", changed(packed, at, bytes([packed[at] ^ 0x55])))
        assert result.status in (ExitCode.OK, ExitCode.INPUT, ExitCode.DAMAGED)


def test_a_gzip_checksum_that_is_wrong_comes_after_the_capture(read: Read) -> None:
    packed = gzip.compress(THREE, mtime=0)
    result = read("x", changed(packed, len(packed) - 8, bytes(4)))
    assert result.status == ExitCode.DAMAGED
    assert result.place == (len(THREE), 31)
    assert len(result.conversations) == 3


# -- lengths and numbers that lie -----------------------------------------------------------------------------------

FRAME_21 = records(THREE)[20][0]
"""Where the record of frame 21 starts, with which the third conversation begins."""
BLOCK_21 = ends_of_records(THREE_NG)[22]


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (changed(THREE, FRAME_21 + 8, b"\xff\xff\xff\xff"), "a frame that claims 4,294,967,295 octets"),
        (changed(THREE, FRAME_21 + 8, struct.pack("<I", 1 << 20)), "a record of 1,048,592"),
        (changed(THREE_NG, BLOCK_21 + 4, b"\xff\xff\xff\xff"), "a block that claims 4,294,967,296 octets"),
        (changed(THREE_NG, BLOCK_21 + 4, b"\xfc\xff\xff\xff"), "a block that claims 4,294,967,292 octets"),
        (changed(THREE_NG, BLOCK_21 + 4, bytes(4)), "a block that claims 0 octets"),
        (changed(THREE_NG, BLOCK_21 + 4, struct.pack("<I", 28)), "in a block of 28"),
        (changed(THREE_NG, BLOCK_21 + 20, b"\xf0\xff\xff\xff"), "a frame of 4,294,967,280 octets"),
        (changed(THREE_NG, BLOCK_21 + 8, struct.pack("<I", 7)), "of interface 7, of which there is no description"),
    ],
)
def test_a_length_that_lies_ends_the_reading_there(read: Read, octets: bytes, said: str) -> None:
    result = read("x.pcap", octets)
    assert result.status == ExitCode.DAMAGED
    assert said in result.err
    assert result.place == (FRAME_21 if octets.startswith(HEADER) else BLOCK_21, 21)
    assert len(result.conversations) == 2


@pytest.mark.parametrize("seconds", [0, 1_000_000_000, 0xFFFFFFFF])
def test_a_clock_that_jumps_is_no_fault(read: Read, seconds: int) -> None:
    result = read("x.pcap", changed(THREE, FRAME_21, struct.pack("<I", seconds)))
    assert result.status == ExitCode.OK
    assert [record["outcome"] for record in result.conversations] == ["succeeded", "succeeded", "rejected"]
    assert all(record["duration"] >= 0 for record in result.conversations)


def test_a_link_type_that_nobody_knows(read: Read) -> None:
    """It is said, not passed over as if the capture held nothing."""
    result = read("x.pcap", pcap(frames(THREE), link=39_321))
    assert (result.status, result.conversations) == (ExitCode.INPUT, [])
    assert "link type 39321 is not known" in result.err
    assert "frame 1" in result.err


def test_a_link_type_that_nobody_reads_is_called_by_its_name(read: Read) -> None:
    assert "link type 189 (USB_LINUX) is not known" in read("x.pcap", pcap(frames(THREE), link=189)).err


def test_what_a_directory_holds_is_read_and_the_rest_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "one").write_bytes(THREE)
    (tmp_path / "ring" / "notes.txt").write_text("what was captured when")
    (tmp_path / "ring" / "next").touch()
    for name in (tmp_path, tmp_path / "ring" / "o*", f"@{tmp_path / 'list'}"):
        (tmp_path / "list").write_text(f"{tmp_path / 'ring'}\n")
        assert main(["read", "--format", "jsonl", str(name)]) == ExitCode.OK
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 3
        empty = f"socks5sniff: {tmp_path / 'ring' / 'next'}: empty, there is nothing in it\n"
        told = [empty] if "*" not in str(name) else []
        assert [line for line in err.splitlines(keepends=True) if "not a pcap" not in line] == told
        assert ("notes.txt: not a pcap or pcapng capture" in err) == bool(told)


def test_of_many_inputs_that_are_none_some_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pcap").write_bytes(THREE)
    for number in range(15):
        (tmp_path / f"{number:02}.pcap").touch()
    assert main(["read", str(tmp_path)]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out.count("empty, there is nothing in it") == 10
    assert out.endswith("09.pcap: empty, there is nothing in it\nand 5 more inputs like these\n")
    assert err == ""
    assert main(["stats", str(tmp_path)]) == ExitCode.OK
    assert capsys.readouterr().err.endswith("socks5sniff: and 5 more inputs like these\n")
    assert main(["bypass", str(tmp_path)]) == ExitCode.OK
    assert capsys.readouterr().err.endswith("socks5sniff: and 5 more inputs like these\n")


def test_a_page_names_inputs_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(THREE)
    (tmp_path / "y.pcap").touch()
    page = tmp_path / "page.html"
    files = [str(tmp_path / name) for name in ("x.pcap", "y.pcap")]
    assert main(["read", *files, "--format", "html", "-o", str(page)]) == ExitCode.OK
    assert "y.pcap: empty, there is nothing in it" in re.sub("<script.*", "", page.read_text(), flags=re.DOTALL)


def test_a_damaged_file_ends_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Conversations of the files beside it are all there, also those after its damage."""
    for place, (name, cut) in enumerate([("a", 0), ("b", 7), ("c", 0)]):
        octets = capture(3)
        moved = HEADER + b"".join(
            struct.pack("<I", struct.unpack_from("<I", record)[0] + 60 * place) + record[4:]
            for _, record in records(octets)
        )
        (tmp_path / name).write_bytes(moved[: len(moved) - cut])
    assert main(["read", "--format", "jsonl", *(str(tmp_path / name) for name in "abc")]) == ExitCode.DAMAGED
    out, err = capsys.readouterr()
    found = [Path(json.loads(line)["capture"]).name for line in out.splitlines()]
    assert found == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert err.count("\n") == 1
    assert f"{tmp_path / 'b'}: truncated" in err


def test_a_link_type_that_nobody_knows_beside_others(read: Read) -> None:
    talk = frames(THREE)
    octets = section() + interface() + interface(39_321) + b"".join(enhanced(frame) for frame in talk[:20])
    octets += enhanced(talk[20], 1) + b"".join(enhanced(frame) for frame in talk[20:])
    result = read("x.pcap", octets)
    assert len(result.conversations) == 3
    assert result.status == ExitCode.INPUT
    assert "frame 21" in result.err


# -- signals, pipes and descriptors ---------------------------------------------------------------------------------


@needs_posix
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream(tmp_path: Path, closed: int) -> None:
    """Whoever started the command has closed a descriptor, as `>&-` does."""
    path = tmp_path / "x.pcap"
    path.write_bytes(THREE)
    name = "-" if closed == 0 else str(path)
    done = subprocess.run(
        [*COMMAND, name],
        capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False, preexec_fn=lambda: os.close(closed),
    )  # fmt: skip
    expected = {
        0: (ExitCode.INPUT, 0, "socks5sniff: -: there is no standard input\n"),
        1: (ExitCode.OUTPUT, 0, "socks5sniff: standard output: it is closed\n"),
        2: (ExitCode.OK, 3, ""),
    }
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == expected[closed]


@needs_posix
def test_a_complaint_does_not_go_to_the_report(tmp_path: Path) -> None:
    """Where standard error is closed nobody hears it."""
    done = subprocess.run(
        [*COMMAND, str(tmp_path / "missing")],
        stdout=subprocess.PIPE, timeout=60, env=ENVIRONMENT, check=False, preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (ExitCode.INPUT, b"")


@needs_posix
def test_standard_input_is_not_overwritten_either(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(THREE)
    with path.open("rb") as stdin:
        done = subprocess.run(
            [*COMMAND, "-", "-o", str(path)], stdin=stdin, capture_output=True, timeout=60, env=ENVIRONMENT, check=False
        )
    assert done.returncode == ExitCode.USAGE
    assert path.read_bytes() == THREE


@needs_posix
def test_ctrl_c_while_a_file_is_read(tmp_path: Path) -> None:
    """A named pipe that stays open stands for a file that takes long."""
    path = tmp_path / "x.pcap"
    os.mkfifo(path)
    with subprocess.Popen(
        [*COMMAND, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        with path.open("wb") as pipe:
            pipe.write(THREE)
            pipe.flush()
            assert process.stdout is not None
            assert process.stderr is not None
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            printed = process.stdout.read()
        assert process.stderr.read() == b""
        assert process.wait(60) == ExitCode.INTERRUPTED
    assert len(printed.splitlines()) == 3
