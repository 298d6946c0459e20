"""Apple's process blocks: which process a frame belongs to."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from socks5sniff.capture import open_captures

from .samples import START, Frame, block, enhanced, interface, option, pcapng, section


def process(pid: int, name: str, order: str = "<") -> bytes:
    """A process information block."""
    return block(0x80000001, struct.pack(order + "I", pid) + option(2, name.encode(), order) + option(0, b""), order)


def frame(
    octets: bytes,
    index: int | None = None,
    *,
    direction: int = 0,
    order: str = "<",
    second: int = 0,
    extra: bytes = b"",
) -> bytes:
    """A packet block of the process block with this number."""
    options = extra
    if index is not None:
        options += option(0x8001, struct.pack(order + "I", index), order)
    if direction:
        options += option(2, struct.pack(order + "I", direction), order)
    return enhanced(
        Frame(START + second * 1_000_000_000, octets), order=order, options=options + option(0, b"") * bool(options)
    )


def named(*paths: Path) -> list[tuple[bytes, int, str] | tuple[bytes, None]]:
    """Each frame's octets and process: pid (negative where it received the frame) and name."""
    found: list[tuple[bytes, int, str] | tuple[bytes, None]] = []
    for batch in open_captures([str(path) for path in paths]):
        for row in range(len(batch)):
            number = 0 if batch.process is None else int(batch.process[row])
            if not number:
                found.append((batch.frame(row), None))
                continue
            pid, name = batch.processes[abs(number)]
            found.append((batch.frame(row), pid if number > 0 else -pid, name))
    return found


@pytest.mark.parametrize("order", ["<", ">"])
def test_frames_name_their_process(tmp_path: Path, order: str) -> None:
    path = tmp_path / "mac.pcapng"
    comment = option(1, b"a remark", order)
    path.write_bytes(
        section(order)
        + interface(order=order)
        + process(501, "curl", order)
        + frame(b"a", 0, direction=2, order=order)
        + frame(b"ab", None, order=order)
        + process(77, "sockd", order)
        + frame(b"abc", 1, direction=1, order=order, extra=comment)
        + frame(b"abcd", 0, direction=1, order=order)
        + frame(b"abcde", 0, order=order)
        + frame(b"abcdef", 2, order=order)
    )
    assert named(path) == [
        (b"a", 501, "curl"),
        (b"ab", None),
        (b"abc", -77, "sockd"),
        (b"abcd", -501, "curl"),
        (b"abcde", 501, "curl"),
        (b"abcdef", None),
    ]


def test_each_section_counts_its_own_processes(tmp_path: Path) -> None:
    first = section() + interface() + process(1, "one") + process(2, "two") + frame(b"a", 1)
    second = section(">") + interface(order=">") + process(3, "three", ">") + frame(b"b", 0, order=">")
    third = section() + interface() + frame(b"c", 0) + process(2, "two") + frame(b"d", 0)
    path = tmp_path / "sections.pcapng"
    path.write_bytes(first + second + third + third)
    assert [found[1:] for found in named(path)] == [(2, "two"), (3, "three"), (None,), (2, "two"), (None,), (2, "two")]


def test_captures_with_and_without_processes_are_merged(tmp_path: Path) -> None:
    one, two, plain = tmp_path / "one.pcapng", tmp_path / "two.pcapng", tmp_path / "plain.pcapng"
    one.write_bytes(section() + interface() + process(1, "one") + frame(b"a", 0) + frame(b"b", 0, second=3))
    two.write_bytes(section() + interface() + process(2, "two") + frame(b"c", 0, second=1) + frame(b"d", 0, second=4))
    plain.write_bytes(pcapng([Frame(START + second * 1_000_000_000, b"plain") for second in (2, 5)]))
    assert named(one, two, plain) == [
        (b"a", 1, "one"),
        (b"c", 2, "two"),
        (b"plain", None),
        (b"b", 1, "one"),
        (b"d", 2, "two"),
        (b"plain", None),
    ]


def test_a_capture_without_processes_has_no_column(tmp_path: Path) -> None:
    path = tmp_path / "plain.pcapng"
    path.write_bytes(pcapng([Frame(START, b"plain")]))
    (batch,) = open_captures([str(path)])
    assert batch.process is None


@pytest.mark.parametrize(
    "odd",
    [
        block(0x80000001, b""),
        block(0x80000001, b"\1\0\0\0" + option(2, b"x" * 40)[:10]),
        block(0x80000001, struct.pack("<i", -1) + option(2, b"\xff\xfe\0more")),
    ],
)
def test_odd_process_blocks_do_no_harm(tmp_path: Path, odd: bytes) -> None:
    path = tmp_path / "odd.pcapng"
    path.write_bytes(section() + interface() + odd + process(5, "five") + frame(b"a", 1) + frame(b"b", 0xFFFFFFFF))
    assert named(path) == [(b"a", 5, "five"), (b"b", None)]


def test_a_flood_of_processes_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "flood.pcapng"
    blocks = b"".join(process(pid, "p") for pid in range(70_000))
    path.write_bytes(section() + interface() + blocks + frame(b"a", 3) + frame(b"b", 69_000))
    (batch,) = open_captures([str(path)])
    assert len(batch.processes) == 65_536
    assert named(path) == [(b"a", 3, "p"), (b"b", None)]


def test_scapy_reads_the_same(tmp_path: Path) -> None:
    from scapy.utils import RawPcapNgReader

    path = tmp_path / "mac.pcapng"
    path.write_bytes(
        section() + interface() + process(501, "curl") + process(77, "sockd") + frame(b"a", 1) + frame(b"b", 0)
    )
    theirs = []
    with RawPcapNgReader(str(path)) as reader:
        for octets, metadata in reader:
            information = getattr(metadata, "process_information", None)
            if not information:
                pytest.skip("not installed: a scapy that knows process blocks")
            theirs.append((octets, information["proc"]["id"], information["proc"]["name"]))
    assert theirs == named(path)
