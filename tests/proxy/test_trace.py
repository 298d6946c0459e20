"""The trace: packets that a sniffer would have seen, which other programs read without complaint."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import dpkt
import pytest

from socks5sniff.errors import OutputError
from socks5sniff.lab.recorder import pcapng
from socks5sniff.lab.scene import ECHO, Scene
from socks5sniff.proxy.capture_file import CaptureFile
from socks5sniff.proxy.packets import ACK, FIN, SYN, Packet, RawFrame, Renderer, TcpSegment, UdpDatagram
from socks5sniff.proxy.trace import Trace

from .harness import HOST, mirror, on_scene, run, running, serving

CLIENT, SERVER = ("192.0.2.10", 40000), ("192.0.2.1", 1080)
CLIENT6, SERVER6 = ("2001:db8::10", 40000), ("2001:db8::1", 1080)


def told(
    *events: tuple[str, int, bytes], ends: tuple[tuple[str, int], tuple[str, int]] = (CLIENT, SERVER)
) -> list[Packet]:
    packets: list[Packet] = []
    flow = Trace(packets.append, lambda: 1_000_000_000).tcp(*ends)
    for what, side, octets in events:
        if what == "data":
            flow.data(side, octets)
        elif what == "fin":
            flow.fin(side)
        else:
            flow.reset(side)
    return packets


def segments(packets: list[Packet]) -> list[TcpSegment]:
    return [packet for packet in packets if isinstance(packet, TcpSegment)]


def streams(packets: list[Packet]) -> tuple[bytes, bytes]:
    """What each side sent, by sequence numbers alone."""
    found = []
    for side in (0, 1):
        own = [each for each in segments(packets) if each.sender == side]
        start = own[0].sequence + 1
        octets = bytearray()
        for each in own[1:]:
            assert (each.sequence - start) & 0xFFFFFFFF == len(octets)
            octets += each.payload
            if each.flags & FIN:
                break
        found.append(bytes(octets))
    return found[0], found[1]


class TestSegments:
    def test_a_connection_begins_with_the_three_way_handshake(self) -> None:
        first = segments(told())
        assert [each.flags for each in first] == [SYN, SYN | ACK, ACK]
        assert first[2].acknowledgment == first[1].sequence + 1

    def test_octets_are_cut_at_the_mss_and_acknowledged(self) -> None:
        packets = told(("data", 0, bytes(4000)), ("data", 1, b"answer"))
        assert [len(each.payload) for each in segments(packets)[3:]] == [1460, 1460, 1080, 0, 6, 0]
        assert streams(packets) == (bytes(4000), b"answer")

    def test_ipv6_has_room_for_twenty_octets_less(self) -> None:
        packets = told(("data", 0, bytes(1500)), ends=(CLIENT6, SERVER6))
        assert [len(each.payload) for each in segments(packets)[3:5]] == [1440, 60]

    def test_the_end_takes_a_sequence_number(self) -> None:
        packets = segments(told(("fin", 0, b""), ("fin", 1, b"")))
        assert packets[3].flags == FIN | ACK
        assert packets[4].acknowledgment == packets[3].sequence + 1

    def test_nothing_comes_after_the_end(self) -> None:
        packets = told(("fin", 0, b""), ("data", 0, b"late"), ("fin", 0, b""))
        assert len(packets) == 5
        assert len(told(("reset", 1, b""), ("data", 0, b"late"), ("reset", 0, b""))) == 4

    def test_sequence_numbers_wrap_around(self) -> None:
        packets: list[Packet] = []
        trace = Trace(packets.append, lambda: 0)
        trace.initial = [(0xFFFFFFFF, 0xFFFFFFF0)]
        flow = trace.tcp(CLIENT, SERVER)
        flow.data(0, b"0123456789")
        flow.data(1, bytes(40))
        assert segments(packets)[3].sequence == 0
        assert streams(packets) == (b"0123456789", bytes(40))

    def test_times_increase(self) -> None:
        times = [packet.time for packet in told(("data", 0, bytes(9000)))]
        assert times == sorted(set(times))


class TestFrames:
    @pytest.mark.parametrize("ends", [(CLIENT, SERVER), (CLIENT6, SERVER6)])
    def test_lengths_and_checksums_are_right(self, ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
        renderer = Renderer()
        packets: list[Packet] = told(("data", 0, b"odd"), ("data", 1, bytes(range(256))), ("reset", 0, b""), ends=ends)
        packets += [UdpDatagram(0, ends[0], ends[1], octets) for octets in (b"", b"x", bytes(1000))]
        for packet in packets:
            ip = dpkt.ethernet.Ethernet(renderer.frame(packet)).data
            given = ip.data.sum
            transport = ip.data
            transport.sum = 0
            if isinstance(ip, dpkt.ip.IP):
                header = ip.sum
                ip.sum = 0
            rebuilt = dpkt.ethernet.Ethernet(
                bytes(dpkt.ethernet.Ethernet(data=ip, type=0x0800 if ip.v == 4 else 0x86DD))
            ).data
            if isinstance(ip, dpkt.ip.IP):
                assert rebuilt.sum == header
                assert rebuilt.data.sum == given
            assert isinstance(packet, (TcpSegment, UdpDatagram))
            assert bytes(transport.data) == packet.payload
            assert given != 0

    def test_a_ready_frame_stays_as_it_is(self) -> None:
        assert Renderer().frame(RawFrame(0, b"octets")) == b"octets"

    def test_loopback_has_zero_addresses_like_linux(self) -> None:
        frame = Renderer().frame(UdpDatagram(0, ("127.0.0.1", 1), ("127.0.0.1", 2), b""))
        assert frame[:12] == bytes(12)

    @pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
    def test_wireshark_has_nothing_to_warn_of(self, tmp_path: Path) -> None:
        packets = told(("data", 0, bytes(100_000)), ("data", 1, bytes(3_000_000)), ("fin", 1, b""), ("fin", 0, b""))
        packets += told(
            ("data", 1, b"server first"),
            ("fin", 0, b""),
            ("data", 1, b"half"),
            ("fin", 1, b""),
            ends=(CLIENT6, SERVER6),
        )
        path = tmp_path / "trace.pcapng"
        path.write_bytes(pcapng(packets))
        checks = [option for layer in ("tcp", "ip", "udp") for option in ("-o", f"{layer}.check_checksum:TRUE")]
        command = ["tshark", "-r", str(path), *checks, "--disable-protocol", "socks", "-q", "-z", "expert,warn"]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert not printed.strip()


class TestProxy:
    def test_both_legs_are_captured(self) -> None:
        async def play(scene: Scene) -> list[Packet]:
            await scene.echo()
            await scene.proxy()
            tunnel = await scene.client().connect(*ECHO)
            tunnel.write(b"through")
            await tunnel.read_exactly(7)
            await tunnel.close()
            await scene.settle()
            return scene.packets

        packets = on_scene(play)
        client, upstream = ([each for each in segments(packets) if each.flow == flow] for flow in (0, 1))
        assert streams(list(client))[0].endswith(b"through")
        assert streams(list(upstream)) == (b"through", b"through")
        assert upstream[0].destination == ECHO

    def test_datagrams_are_captured_on_both_sides(self) -> None:
        async def play(scene: Scene) -> list[bytes]:
            await scene.udp_server(ECHO)
            await scene.proxy()
            async with await scene.client().associate() as association:
                association.send(b"ping", *ECHO)
                await association.receive()
            return [each.payload for each in scene.packets if isinstance(each, UdpDatagram)]

        header = b"\0\0\0\x01" + socket.inet_aton(ECHO[0]) + b"\x00\x07"
        assert on_scene(play) == [header + b"ping", b"ping", b"ping", header + b"ping"]

    def test_a_real_transfer_is_in_the_file_octet_for_octet(self, tmp_path: Path) -> None:
        path = tmp_path / "real.pcapng"
        octets = bytes(range(256)) * 4000

        async def main() -> None:
            with CaptureFile(str(path)) as file:
                async with serving(mirror) as port, running(trace=Trace(file)) as proxy:
                    tunnel = await proxy.client().connect(HOST, port)
                    tunnel.write(octets)
                    tunnel.write_eof()
                    assert await tunnel.read_all() == octets
                    await tunnel.close()
                    await asyncio.sleep(0.05)

        run(main())
        sent: dict[int, bytearray] = {}
        with path.open("rb") as file:
            for _, frame in dpkt.pcapng.Reader(file):
                segment = dpkt.ethernet.Ethernet(frame).data.data
                sent.setdefault(segment.sport, bytearray()).extend(segment.data)
        assert [bytes(each).endswith(octets) for each in sent.values()] == [True] * 4

    def test_the_file_is_the_users_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "private.pcapng"
        CaptureFile(str(path)).close()
        assert path.stat().st_mode & 0o077 == 0

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows only has no modes")
    def test_also_one_that_was_there_before_and_a_device_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "old.pcapng"
        path.touch()
        path.chmod(0o644)
        CaptureFile(str(path)).close()
        assert path.stat().st_mode & 0o777 == 0o600
        before = Path("/dev/null").stat().st_mode
        CaptureFile("/dev/null").close()
        assert Path("/dev/null").stat().st_mode == before

    def test_a_file_that_cannot_be_made_is_an_error_of_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="cannot be written"):
            CaptureFile(str(tmp_path / "no" / "such" / "folder"))

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="Windows only has no /dev/full")
    def test_a_full_disk_ends_the_capture_and_not_the_proxy(self) -> None:
        failures: list[OutputError] = []
        file = CaptureFile("/dev/full", failures.append)
        for packet in told(("data", 0, bytes(100_000)), ("data", 1, bytes(100_000))):
            file(packet)
        file.flush()
        file(UdpDatagram(0, CLIENT, SERVER, b""))
        assert len(failures) == 1
