"""Reading one capture file: formats, times, interfaces, and everything that can be wrong with a file."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.capture import open_captures
from socks5sniff.capture.batch import Interface
from socks5sniff.capture.chain import RECORD_LIMIT
from socks5sniff.capture.pcapng import PcapngDecoder
from socks5sniff.capture.reader import CaptureReader
from socks5sniff.capture.source import Source
from socks5sniff.errors import DamagedInputError, InputError

from .samples import (
    SECOND,
    START,
    Frame,
    block,
    enhanced,
    frames,
    full,
    interface,
    old_packet,
    option,
    pcap,
    pcapng,
    plain,
    read,
    section,
    simple,
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a file of these octets."""

    def make(octets: bytes, name: str = "x.cap") -> Path:
        path = tmp_path / name
        path.write_bytes(octets)
        return path

    return make


class TestPcap:
    @pytest.mark.parametrize("patched", [False, True])
    @pytest.mark.parametrize("nano", [False, True])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_byte_orders_resolutions_and_the_patched_header(
        self, write: Write, order: str, nano: bool, patched: bool
    ) -> None:
        content = frames(3000, step=1_000_001 if nano else 1_000_000)
        rows, error = read(write(pcap(content, order, nano, patched=patched and not nano)))
        assert error is None
        assert plain(rows) == full(content)
        assert [row.number for row in rows] == list(range(1, 3001))

    def test_length_on_the_wire_is_never_less_than_captured(self, write: Write) -> None:
        content = [Frame(START, b"abc", 1500), Frame(START, b"abc", 2)]
        assert [row.length for row in read(write(pcap(content)))[0]] == [1500, 3]

    @pytest.mark.parametrize(
        ("field", "link_type"), [(1, 1), (12, 101), (14, 101), (113, 113), (0x14000001, 1), (0x24000069, 105)]
    )
    def test_link_type_without_the_frame_check_sequence_bits(self, write: Write, field: int, link_type: int) -> None:
        (row,), error = read(write(pcap(frames(1), link=field)))
        assert (row.link_type, row.interface, error) == (link_type, "", None)

    def test_a_file_without_frames(self, write: Write) -> None:
        assert read(write(pcap([]))) == ([], None)

    def test_time_may_go_backwards(self, write: Write) -> None:
        content = [Frame(START - row * SECOND, b"x") for row in range(500)]
        rows, error = read(write(pcap(content)))
        assert (plain(rows), error) == (full(content), None)

    def test_names_of_the_capture(self, write: Write) -> None:
        path = write(pcap(frames(1)))
        assert read(path)[0][0].capture == str(path)


class TestPcapng:
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_enhanced_packet_blocks(self, write: Write, order: str) -> None:
        content = frames(3000)
        rows, error = read(write(pcapng(content, order)))
        assert (plain(rows), error) == (full(content), None)

    def test_sections_of_both_byte_orders_with_interfaces_of_their_own(self, write: Write) -> None:
        content = frames(600)
        octets = b""
        for part in range(6):
            order = "<>>"[part % 3]
            octets += section(order, length=-1 if part % 2 else 4242)
            octets += interface(1 + part, order, options=option(2, f"if{part}".encode(), order))
            octets += b"".join(enhanced(frame, 0, order) for frame in content[part * 100 : part * 100 + 100])
        rows, error = read(write(octets))
        assert (plain(rows), error) == (full(content), None)
        assert [(row.link_type, row.interface) for row in rows[::100]] == [(1 + p, f"if{p}") for p in range(6)]

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_interfaces_each_with_link_type_name_resolution_and_offset(self, write: Write, order: str) -> None:
        octets = section(order)
        octets += interface(1, order, options=option(2, b"eth0", order) + option(0, b"", order))
        octets += interface(101, order, options=option(9, b"\x09", order))
        octets += interface(113, order, options=option(9, b"\x8a", order) + option(2, b"any", order))
        octets += interface(12, order, options=option(14, struct.pack(order + "q", 1_000), order))
        octets += enhanced(Frame(0, b"a"), 0, order, 1_700_000_000_123_456)
        octets += enhanced(Frame(0, b"b"), 1, order, 1_700_000_000_123_456_789)
        octets += enhanced(Frame(0, b"c"), 2, order, (1_700_000_000 << 10) + 512)
        octets += enhanced(Frame(0, b"d"), 3, order, 5_000_000)
        rows, error = read(write(octets))
        assert error is None
        assert [(row.octets, row.time, row.link_type, row.interface) for row in rows] == [
            (b"a", START + 123_456_000, 1, "eth0"),
            (b"b", START + 123_456_789, 101, ""),
            (b"c", START + SECOND // 2, 113, "any"),
            (b"d", 1_005 * SECOND, 101, ""),
        ]

    @pytest.mark.parametrize("resolution", [*range(30), 127, *range(0x80, 0xC4), 0xFF])
    def test_every_time_resolution(self, write: Write, resolution: int) -> None:
        exponent = resolution & 0x7F
        unit = 2**exponent if resolution & 0x80 else 10**exponent
        ticks = min(1_234_567_891 * unit + unit // 3, 2**64 - 1)
        octets = section() + interface(options=option(9, bytes([resolution])))
        (row,), error = read(write(octets + enhanced(Frame(0, b""), ticks=ticks)))
        assert error is None
        assert abs(row.time - ticks * SECOND // unit) <= 1

    def test_times_out_of_range_are_held_and_do_not_wrap(self, write: Write) -> None:
        octets = section() + interface(options=option(9, b"\0") + option(14, struct.pack("<q", 2**62)))
        (row,), error = read(write(octets + enhanced(Frame(0, b""), ticks=2**64 - 1)))
        assert error is None
        assert row.time > 0

    def test_simple_packet_blocks_have_the_first_interface_and_no_time(self, write: Write) -> None:
        octets = section() + interface(113, snaplen=4, options=option(2, b"any"))
        octets += simple(Frame(0, b"abcd", 60)) + simple(Frame(0, b"abc")) + simple(Frame(0, b""))
        rows, error = read(write(octets))
        assert error is None
        assert [(row.octets, row.length, row.time, row.link_type) for row in rows] == [
            (b"abcd", 60, 0, 113),
            (b"abc", 3, 0, 113),
            (b"", 0, 0, 113),
        ]

    @pytest.mark.parametrize(("snaplen", "kept"), [(0, b"abcdefgh"), (3, b"abc"), (8, b"abcdefgh"), (100, b"abcdefgh")])
    def test_a_simple_packet_has_what_the_block_and_the_snap_length_allow(
        self, write: Write, snaplen: int, kept: bytes
    ) -> None:
        """Each of the three limits alone: the length on the wire, the interface's snap length, and the block's size."""
        octets = section() + interface(snaplen=snaplen) + simple(Frame(0, kept, 60)) + simple(Frame(0, kept))
        rows, error = read(write(octets))
        assert error is None
        assert [(row.octets, row.length) for row in rows] == [(kept, 60), (kept, len(kept))]

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_obsolete_packet_blocks(self, write: Write, order: str) -> None:
        content = frames(300)
        octets = section(order) + interface(1, order) + interface(101, order)
        octets += b"".join(old_packet(frame, row % 2, order) for row, frame in enumerate(content))
        rows, error = read(write(octets))
        assert (plain(rows), error) == (full(content), None)
        assert [row.link_type for row in rows] == [1, 101] * 150

    def test_unknown_and_uninteresting_blocks_are_skipped(self, write: Write) -> None:
        content = frames(400)
        others = (4, 5, 9, 10, 0xBAD, 0x40000BAD, 0x7FFFFFFF)
        octets = section() + interface()
        for row, frame in enumerate(content):
            octets += block(others[row % len(others)], bytes(row)) + enhanced(frame, options=option(1, b"a comment"))
        rows, error = read(write(octets))
        assert (plain(rows), error) == (full(content), None)

    def test_interfaces_described_between_frames(self, write: Write) -> None:
        octets = section()
        for number in range(40):
            octets += interface(200 + number) + enhanced(Frame(START, bytes([number])), number) * 3
        rows, error = read(write(octets))
        assert error is None
        assert [(row.link_type, row.octets) for row in rows[::3]] == [(200 + n, bytes([n])) for n in range(40)]

    def test_captures_joined_with_cat_share_their_interfaces(self, write: Write) -> None:
        path = write(pcapng(frames(1)) * 500)
        last = None
        for batch in open_captures([str(path)]):
            last = batch
        assert last is not None
        assert last.interfaces == [Interface(str(path), "", 1)]

    @pytest.mark.parametrize("region", [100, 333, 4096, 100_000])
    def test_the_size_of_the_reads_does_not_matter(self, write: Write, region: int) -> None:
        content = frames(900)
        octets = b"".join(pcapng(content[at : at + 100], "<>"[at // 100 % 2]) for at in range(0, 900, 100))
        got = []
        for batch in CaptureReader(Source(str(write(octets))), [], region=region).batches():
            got += [batch.frame(row) for row in range(len(batch))]
        assert got == [frame.octets for frame in content]

    @pytest.mark.parametrize("cut", range(1, 29))
    def test_a_section_header_cut_at_the_end_of_a_read(self, write: Write, cut: int) -> None:
        """The next section has the other byte order, which only its header tells."""
        content = frames(4, largest=30)
        first = pcapng(content)
        path = write(first + pcapng(content, ">"))
        got = []
        for batch in CaptureReader(Source(str(path)), [], region=len(first) + cut).batches():
            got += [batch.frame(row) for row in range(len(batch))]
        assert got == [frame.octets for frame in content] * 2


class TestDamage:
    """What is before a fault is given, then one error tells where the fault is."""

    def fault(self, path: Path, whole: int) -> DamagedInputError:
        rows, error = read(path)
        assert len(rows) == whole
        assert isinstance(error, DamagedInputError)
        assert error.name == str(path)
        assert error.frame == whole + 1
        assert "\n" not in str(error)
        return error

    @pytest.mark.parametrize(("make", "head"), [(pcap, 24), (pcapng, 28)])
    def test_cut_at_every_octet(self, write: Write, make: Callable[[list[Frame]], bytes], head: int) -> None:
        content = frames(12, largest=30)
        octets = make(content)
        edges = [len(make(content[:count])) for count in range(len(content) + 1)]
        sound = {*edges, head} if make is pcapng else set(edges)
        for cut in range(len(octets)):
            rows, error = read(write(octets[:cut]))
            whole = sum(edge <= cut for edge in edges[1:])
            assert plain(rows) == full(content[:whole])
            if cut in sound:
                assert error is None
            elif cut < 4:
                assert isinstance(error, InputError)
            else:
                assert isinstance(error, DamagedInputError)
                assert "truncated" in str(error)
                assert error.frame == whole + 1
                assert error.offset == max((edge for edge in sound if edge <= cut), default=0)

    @pytest.mark.parametrize("size", [RECORD_LIMIT + 1, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_a_pcap_frame_that_claims_too_much(self, write: Write, size: int) -> None:
        octets = pcap(frames(100))
        error = self.fault(write(octets + struct.pack("<IIII", 1, 2, size, size) + bytes(500)), 100)
        assert error.offset == len(octets)
        assert f"{size:,} octets" in str(error)

    @pytest.mark.parametrize("size", [0, 4, 11, RECORD_LIMIT + 4, 0x80000000, 0xFFFFFFFF])
    def test_a_pcapng_block_of_impossible_length(self, write: Write, size: int) -> None:
        octets = pcapng(frames(100))
        error = self.fault(write(octets + struct.pack("<II", 6, size) + bytes(500)), 100)
        assert error.offset == len(octets)

    def test_two_lengths_that_differ(self, write: Write) -> None:
        octets = pcapng(frames(100))
        bad = bytearray(enhanced(Frame(START, b"xyz")))
        bad[-4] += 4
        assert self.fault(write(octets + bad + enhanced(Frame(START, b""))), 100).offset == len(octets)

    def test_a_frame_longer_than_its_block(self, write: Write) -> None:
        octets = pcapng(frames(100))
        bad = bytearray(enhanced(Frame(START, b"xyz")))
        bad[20] = 9
        assert self.fault(write(octets + bad), 100).offset == len(octets)

    def test_a_frame_of_an_interface_without_description(self, write: Write) -> None:
        octets = pcapng(frames(100))
        error = self.fault(write(octets + enhanced(Frame(START, b"x"), 1) + interface()), 100)
        assert "interface 1" in str(error)

    def test_a_new_section_forgets_the_interfaces(self, write: Write) -> None:
        self.fault(write(pcapng(frames(100)) + section() + enhanced(Frame(START, b"x"))), 100)

    def test_a_simple_packet_without_any_interface(self, write: Write) -> None:
        self.fault(write(section() + simple(Frame(0, b"x"))), 0)

    def test_a_section_without_byte_order_magic(self, write: Write) -> None:
        bad = bytearray(section())
        bad[8:12] = b"oops"
        self.fault(write(pcapng(frames(100)) + bad), 100)
        self.fault(write(bytes(bad)), 0)

    @pytest.mark.parametrize("version", [0, 2, 9])
    def test_unknown_versions(self, write: Write, version: int) -> None:
        new = bytearray(section())
        new[12] = version
        self.fault(write(bytes(new)), 0)
        old = bytearray(pcap(frames(3)))
        old[4] = version + 1 if version == 2 else version or 1
        self.fault(write(bytes(old)), 0)

    def test_more_interfaces_than_are_counted(self, write: Write) -> None:
        error = self.fault(write(section() + interface() * 65_537), 0)
        assert "65,536 interfaces" in str(error)

    def test_an_interface_description_cut_short(self, write: Write) -> None:
        self.fault(write(section() + block(1, bytes(4))), 0)

    def test_options_that_lie_about_their_length(self, write: Write) -> None:
        octets = section() + interface(113, options=struct.pack("<HH", 2, 60000) + b"eth0")
        (row,), error = read(write(octets + enhanced(Frame(START, b"x"))))
        assert (row.interface, row.link_type, error) == ("", 113, None)

    @given(st.binary(max_size=600), st.sampled_from([b"", pcap([]), pcap([], ">"), pcapng([]), pcapng([], ">")]))
    @settings(max_examples=300, deadline=None)
    def test_any_octets_give_frames_or_one_of_our_errors(
        self, tmp_path_factory: pytest.TempPathFactory, octets: bytes, head: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any.cap"
        path.write_bytes(head + octets)
        for row in read(path)[0]:
            assert len(row.octets) <= row.length

    @given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
    @settings(max_examples=200, deadline=None)
    def test_a_capture_with_octets_changed(
        self, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], new: bool
    ) -> None:
        octets = bytearray(pcapng(frames(80)) if new else pcap(frames(80)))
        for place, value in changes:
            octets[place % len(octets)] = value
        path = tmp_path_factory.getbasetemp() / "changed.cap"
        path.write_bytes(octets)
        for row in read(path)[0]:
            assert len(row.octets) <= row.length

    @pytest.mark.parametrize(
        "tail",
        [
            struct.pack("<IIII", 1, 2, RECORD_LIMIT, RECORD_LIMIT) + bytes(100),
            struct.pack("<IIII", 1, 2, 0xFFFFFFF0, 0) + bytes(100),
        ],
    )
    def test_memory_stays_bounded_whatever_a_length_says(self, write: Write, tail: bytes) -> None:
        path = write(pcap([]) + tail)
        tracemalloc.start()
        try:
            self.fault(path, 0)
            assert tracemalloc.get_traced_memory()[1] < RECORD_LIMIT + (4 << 20)
        finally:
            tracemalloc.stop()

    def test_a_block_as_large_as_the_limit_is_read(self, write: Write) -> None:
        large = Frame(START, bytes(RECORD_LIMIT - 64))
        content = [Frame(START, b"before"), large, Frame(START, b"after")]
        for octets in (pcap(content), pcapng(content)):
            rows, error = read(write(octets))
            assert (plain(rows), error) == (full(content), None)


class TestNotACapture:
    def message(self, path: Path | str) -> str:
        rows, error = read(path)
        assert rows == []
        assert isinstance(error, InputError)
        assert str(error).startswith(f"{path}: ")
        return str(error)

    def test_missing(self, tmp_path: Path) -> None:
        assert "no such file" in self.message(tmp_path / "nothing")

    def test_directory(self, tmp_path: Path) -> None:
        assert "is a directory" in self.message(tmp_path)

    def test_empty(self, write: Write) -> None:
        assert "empty" in self.message(write(b""))

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, write: Write) -> None:
        path = write(pcap([]))
        path.chmod(0)
        assert "no permission" in self.message(path)

    def test_no_permission_as_the_operating_system_tells_it(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> None:
            raise PermissionError(13, "Permission denied", name)

        path = write(pcap([]))
        monkeypatch.setattr("socks5sniff.capture.source.io.FileIO", refuse)
        assert "no permission" in self.message(path)

    def test_a_name_that_no_file_can_have(self) -> None:
        assert "cannot be opened" in self.message("a\0b")

    @pytest.mark.parametrize(
        ("octets", "what"),
        [
            (b"12 packets captured\n", "looks like text"),
            (b"snoop\0\0\0\0\0\0\2", "snoop capture"),
            (b"PK\x03\x04" + bytes(30), "zip archive"),
            (b"\x7fELF" + bytes(30), "a program"),
            (bytes(257) + b"ustar" + bytes(250), "tar archive"),
            (b"\x00\x01\x02\x03\x04", "begins with 00 01 02 03"),
            (b"\xd4\xc3", "only 2 octets"),
        ],
    )
    def test_says_what_it_looks_like(self, write: Write, octets: bytes, what: str) -> None:
        message = self.message(write(octets))
        assert "not a pcap or pcapng capture" in message
        assert what in message


class TestAgainstOthers:
    """Files of other programs, and what other readers read in them."""

    def theirs(self, path: Path) -> list[tuple[int, int]]:
        run = subprocess.run(
            ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = []
        for line in run.stdout.splitlines():
            time, length = line.split("\t")
            seconds, fraction = time.split(".")
            rows.append((int(seconds) * SECOND + int(fraction.ljust(9, "0")), int(length)))
        return rows

    @pytest.mark.parametrize("kind", ["pcap", "nsecpcap", "modpcap", "pcapng"])
    def test_what_editcap_writes(self, write: Write, tmp_path: Path, kind: str) -> None:
        if shutil.which("editcap") is None:
            pytest.skip("editcap (Debian: wireshark-common) is not installed")
        content = frames(300, largest=1500)
        made = tmp_path / f"made.{kind}"
        subprocess.run(["editcap", "-F", kind, str(write(pcap(content))), str(made)], check=True, capture_output=True)
        rows, error = read(made)
        assert (plain(rows), error) == (full(content), None)

    def test_what_mergecap_joins(self, tmp_path: Path) -> None:
        if shutil.which("mergecap") is None or shutil.which("tshark") is None:
            pytest.skip("mergecap and tshark (Debian: tshark) are not installed")
        names = []
        for part in range(3):
            names.append(tmp_path / f"{part}.pcap")
            names[-1].write_bytes(pcap(frames(200, seed=part, start=START + part * 300_000), link=(1, 113, 101)[part]))
        joined = tmp_path / "joined.pcapng"
        subprocess.run(["mergecap", "-w", str(joined), *map(str, names)], check=True, capture_output=True)
        rows, error = read(joined)
        assert error is None
        assert [(row.time, row.length) for row in rows] == self.theirs(joined)
        assert {row.link_type for row in rows} == {1, 113, 101}

    def test_what_tcpdump_writes(self, write: Write, tmp_path: Path) -> None:
        if shutil.which("tcpdump") is None:
            pytest.skip("tcpdump is not installed")
        content = frames(300)
        made = tmp_path / "made.pcap"
        run = subprocess.run(["tcpdump", "-r", str(write(pcap(content, ">"))), "-w", str(made)], capture_output=True)
        if run.returncode:
            pytest.skip("tcpdump may not read this folder")
        assert plain(read(made)[0]) == full(content)

    def test_public_captures_as_dpkt_reads_them(self, shared_captures: Path) -> None:
        paths = sorted(path for path in shared_captures.glob("*/*.pcap*") if path.stat().st_size < 60_000)
        assert paths
        for path in paths[::4]:
            if path.name.startswith("fuzz"):
                continue
            with path.open("rb") as file:
                theirs = [bytes(octets) for _, octets in dpkt.pcap.UniversalReader(file)]
            rows, error = read(path)
            assert ([row.octets for row in rows], error) == (theirs, None), path.name


def test_interfaces_of_a_decoder_that_shares_its_list() -> None:
    shared = [Interface("first", "", 1)]
    octets = bytearray(pcapng(frames(2)) + bytes(64))
    decoder = PcapngDecoder("second", shared)
    (batch,) = decoder.batches(octets, np.frombuffer(octets, np.uint8), 0, len(octets) - 64)
    assert batch.interface.tolist() == [1, 1]
    assert shared[1] == Interface("second", "", 1)
