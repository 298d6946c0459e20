"""In whatever a packet is packed: what it carries is overwritten, and its addresses are, or there is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from socks5sniff.capture.writer import PcapngWriter
from socks5sniff.sanitize import Options, sanitize
from socks5sniff.sanitize.links import UnwritableError
from tests.packets.layouts import LAYOUTS
from tests.traffic import connection, six

from . import wire
from .test_copies import SHORT

KEY = bytes(range(32))
CLIENT, PROXY = "100.77.66.55", "99.88.77.66"
UNWRITABLE = (
    "FireWire", "Fibre Channel", "exported packet", "exported frame", "IP over InfiniBand", "netfilter log",
    "packet filter log",
)  # fmt: skip


def write(path: Path, names: list[str], version: int) -> list[str]:
    """A capture with a conversation in each of these layouts; the layout of each frame."""
    links = sorted({LAYOUTS[name][0] for name in names})
    of: list[str] = []
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        for link in links:
            writer.add_interface("", link)
        for number, name in enumerate(names):
            packets = connection(SHORT[:6], client=(CLIENT, 20000 + number), proxy=(PROXY, 1080))
            for packet in six(packets) if version == 6 else packets:
                link, build = LAYOUTS[name]
                frame = build(version, wire.right(packet.frame())[14:])
                writer.write(frame, packet.time, interface=links.index(link))
                of.append(name)
    return of


@pytest.mark.parametrize("version", [4, 6])
def test_passwords(version: int, tmp_path: Path) -> None:
    """A password of two octets is found by its place alone; but for it, only two octets of a checksum change."""
    source, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    layouts = write(source, [*LAYOUTS], version)
    sanitize(str(source), str(out), Options(key=KEY))
    wrong = []
    for name, before, after in zip(layouts, wire.read(source), wire.read(out), strict=True):
        expected = before.octets.replace(b"\x01u\x02pq", b"\x01u\x02xx")
        changed = sum(one != other for one, other in zip(expected, after.octets, strict=True))
        if changed > 4 or b"\x02pq" in after.octets:
            wrong.append((name, changed))
    assert wrong == []


@pytest.mark.parametrize("version", [4, 6])
def test_addresses(version: int, tmp_path: Path) -> None:
    source, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    layouts = write(source, [name for name in LAYOUTS if name not in UNWRITABLE], version)
    sanitize(str(source), str(out), Options(addresses=True, key=KEY))
    hosts = bytes((100, 77, 66, 55)), bytes((99, 88, 77, 66))
    wrong = {
        name
        for name, frame in zip(layouts, wire.read(out), strict=True)
        if any(host in frame.octets for host in hosts)
    }
    assert wrong == set()


@pytest.mark.parametrize("name", UNWRITABLE)
def test_addresses_in_other_forms(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    write(source, [name], 4)
    with pytest.raises(UnwritableError, match=r"^frame 1: .*leave out --addresses"):
        sanitize(str(source), str(out), Options(addresses=True, key=KEY))
    assert not out.exists()
