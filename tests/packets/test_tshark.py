"""Every layout as tshark and tcpdump read it: the programs that people check a capture with."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from socks5sniff.packets.kinds import ETHERTYPES, Kind
from tests.capture.samples import START, Frame, enhanced, interface, pcap, section

from .layouts import LAYOUTS, TEREDO, bits, in_udp, one_bit_changed
from .samples import batch_of, ipv6, read, tcp, udp
from .test_layouts import packet

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not here")
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not here")

TCPDUMP = ["SLIP", "multilink frame relay", "PPP of pppd", "Broadcom tag", "DSA", "EDSA"]
"""Layouts that tcpdump reads and tshark 4.0 does not."""

NEITHER = {
    "MPLS without Ethernet",
    "IEEE 802.11, decrypted",
    "tag 8200",
    "tag 9200",
    "tag 9300",
    "Broadcom tag in front",
    "CAPWAP, IEEE 802.11 as it is",
    "classical IP with LLC",
    "Cisco HDLC with direction",
    "Ethernet with preamble",
    "frame relay with direction",
    "netANALYZER",
    "netANALYZER with preamble",
}
"""Layouts that neither reads, or only after having been told to."""

FIELDS = ["frame.number", "frame.protocols", "ip.src", "ipv6.src"]
FIELDS += ["tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.len", "udp.srcport"]


def built() -> list[tuple[str, int, bytes]]:
    """Name, link type and octets of a frame for each layout, IP version and protocol."""
    frames = [
        (name, link, build(version, packet(version, protocol, tcp(b"hello") if protocol == 6 else udp(b"question"))))
        for name, (link, build) in LAYOUTS.items()
        for version in (4, 6)
        for protocol in (6, 17)
    ]
    for name, header in TEREDO.items():
        frames += [(name, 1, in_udp(3544, header)(6, ipv6(6, tcp(b"hello"))))]
    return frames


def tshark(path: Path) -> dict[int, tuple[str, ...]]:
    """The innermost TCP and UDP headers by frame."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [part for field in FIELDS for part in ("-e", field)]
    found = {}
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        frame, protocols, v4, v6, *rest = (value.split(",")[-1] for value in line.split("|"))
        if "40000" in rest:
            versions = [protocol for protocol in protocols.split(":") if protocol in ("ip", "ipv6")]
            inner = v4 if versions[-1] == "ip" else v6
            found[int(frame)] = (inner, *(rest[:4] if rest[0] else ("", "", "", "", rest[4])))
    return found


@needs_tshark
def test_every_layout_is_what_tshark_says(tmp_path: Path) -> None:
    frames = built()
    links = sorted({link for _, link, _ in frames})
    path = tmp_path / "layouts.pcapng"
    described = b"".join(map(interface, links))
    path.write_bytes(
        section()
        + described
        + b"".join(enhanced(Frame(START, octets), links.index(link)) for _, link, octets in frames)
    )
    theirs = tshark(path)
    segments, datagrams, reader = read(batch_of([octets for *_, octets in frames], [link for _, link, _ in frames]))
    assert reader.skipped.total == 0
    ours = {
        row.frame: (row.source[0], "40000", str(row.destination[1]), str(row.sequence), str(row.length))
        for row in segments
    } | {row.frame: (row.source[0], "", "", "", "", "40000") for row in datagrams}
    unread = {name for number, (name, *_) in enumerate(frames, 1) if number not in theirs}
    # Which numbers of AF_INET6 it knows depends on the link type.
    unread = {name for name in unread if ", AF " not in name}
    assert unread == NEITHER | set(TCPDUMP)
    assert {number: ours[number][: len(row)] for number, row in theirs.items()} == {
        number: row[: len(ours[number])] for number, row in theirs.items()
    }


@needs_tshark
def test_what_is_known_to_carry_nothing_of_ours_is_known_to_tshark() -> None:
    """It has a dissector for each of those EtherTypes, but for MOP and a switch vendor's discovery."""
    told = subprocess.run(["tshark", "-G", "decodes"], capture_output=True, text=True, check=True).stdout
    theirs = {int(line.split("\t")[1]) for line in told.splitlines() if line.startswith("ethertype\t")}
    known = set(np.flatnonzero(ETHERTYPES.kinds == Kind.OTHER).tolist())
    assert known - theirs == {0x6002, 0x8999}
    assert {0x0806, 0x8035, 0x888E, 0x88CC} <= known


ONE_BIT = Path(__file__).with_name("one_bit.json")
"""Where tshark and we differ about a frame of which one bit was changed, by layout: the bits after which only one of
the two (`ours`, `tshark`) reads the segment that is in it.

That is where the length of a UDP tunnel lies (the IP header's counts here), where a mark decides that tshark does not
look at (HDLC's address, the flags of VXLAN, what PPP and TZSP carry), a dissector of tshark guesses something else, and
all of a layout that tshark 4.0 does not read. Other versions guess otherwise.
"""


@needs_tshark
def test_one_bit_of_a_header_means_what_tshark_says(tmp_path: Path) -> None:
    """For each bit: whether the segment is still there."""
    version = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    if " 4.0." not in version:
        pytest.skip(f"the table of differences is that of tshark 4.0, this is {version}")
    frames = one_bit_changed()
    links = sorted({link for _, _, link, _ in frames})
    path = tmp_path / "bits.pcapng"
    written = [enhanced(Frame(START, octets), links.index(link)) for *_, link, octets in frames]
    path.write_bytes(section() + b"".join([*map(interface, links), *written]))
    command = ["tshark", "-n", "-r", str(path), "-o", "tcp.analyze_sequence_numbers:FALSE", "-Y", "tcp.len==5"]
    command += ["-T", "fields", "-e", "frame.number", "-e", "tcp.srcport", "-e", "tcp.dstport"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    theirs = {int(line.split("\t")[0]) for line in said if line.endswith("1080") and "40000\t" in line}
    segments, _, _ = read(batch_of([octets for *_, octets in frames], [link for *_, link, _ in frames]))
    ours = {
        row.frame for row in segments if (row.source[1], row.destination[1], row.payload) == (40000, 1080, b"hello")
    }
    found: dict[str, dict[str, str]] = {}
    for who, only in (("ours", ours - theirs), ("tshark", theirs - ours)):
        for name, places in groupby(sorted(only), lambda number: frames[number - 1][0]):
            found.setdefault(name, {})[who] = bits(frames[number - 1][1] for number in places)
    assert found == json.loads(ONE_BIT.read_text(encoding="utf-8"))


@needs_tcpdump
@pytest.mark.parametrize("name", TCPDUMP)
def test_a_layout_is_what_tcpdump_says(tmp_path: Path, name: str) -> None:
    link, build = LAYOUTS[name]
    path = tmp_path / "layout.pcap"
    path.write_bytes(pcap([Frame(START, build(4, packet(4, 6, tcp(b"hello"))))], link=link))
    command = ["tcpdump", "-nn", "-r", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "192.0.2.1.40000 > 198.51.100.2.1080" in said
    assert "length 5" in said
