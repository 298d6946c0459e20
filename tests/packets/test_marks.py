"""What is noted of a frame beside its addresses: its network, its process, its datagram's identification; and what is
said of frames that could not be read."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct

import numpy as np
import pytest

from socks5sniff.capture.batch import Process
from socks5sniff.packets import PacketReader
from socks5sniff.packets.link_names import LINK_NAMES
from socks5sniff.packets.marks import VLAN, VNI, Networks

from .layouts import LAYOUTS, around, behind, bits, in_gre, in_udp, one_bit_changed, pktap, tagged
from .samples import batch_of, ethernet, ipv4, ipv6, tcp, udp
from .test_layouts import packet


def networks_of(*frames: bytes) -> list[str]:
    """The name of each frame's network."""
    reader = PacketReader()
    segments, _ = reader.read(batch_of(frames))
    return [reader.networks[number] for number in segments.network.tolist()]


def vlan(*numbers: int, inner: bytes = around(4, ipv4(6, tcp()))) -> bytes:
    """A frame with tags; the outermost first."""
    tags = b"".join(struct.pack(">HH", 0x8100, number) for number in numbers)
    return inner[:12] + tags + inner[12:]


def overlay(vni: int, outer: tuple[int, ...] = ()) -> bytes:
    """A frame in a VXLAN."""
    header = struct.pack(">II", 0x08000000, vni << 8)
    return vlan(*outer, inner=in_udp(4789, header)(4, around(4, ipv4(6, tcp()))))


def test_a_frame_without_tags_is_in_no_network() -> None:
    assert networks_of(around(4, ipv4(6, tcp()))) == [""]


def test_tags_name_the_network() -> None:
    assert networks_of(vlan(10), vlan(), vlan(20), vlan(10)) == ["vlan 10", "", "vlan 20", "vlan 10"]


def test_the_priority_bits_are_no_part_of_it_and_number_0_is_none() -> None:
    assert networks_of(vlan(0xE00A), vlan(0x6000), vlan(0)) == ["vlan 10", "", ""]


def test_stacked_tags_are_a_network_of_their_own() -> None:
    assert networks_of(vlan(100, 10), vlan(200, 10), vlan(10)) == ["vlan 100, vlan 10", "vlan 200, vlan 10", "vlan 10"]


def test_an_overlay_is_the_same_network_whatever_carries_it() -> None:
    frames = [overlay(5001), overlay(5002), overlay(5001, (10,)), overlay(5001, (20,))]
    assert networks_of(*frames) == ["vni 5001", "vni 5002", "vni 5001", "vni 5001"]


def test_tags_within_an_overlay_are_told_apart() -> None:
    frame = in_udp(4789, bytes.fromhex("0800000000002a00"))(4, vlan(30))
    assert networks_of(frame) == ["vni 42, vlan 30"]


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("VXLAN", "vni 42"),
        ("Geneve", "vni 0"),
        ("NVGRE", "gre key 1280256"),
        ("LISP", "instance 1"),
        ("backbone bridging", "i-sid 0"),
        ("QinQ of old", "vlan 5, vlan 5"),
        ("SLL and VLAN", "vlan 5"),
        ("GRE with key and sequence number", ""),  # each direction may have its key
        ("GTP", ""),  # each direction has its identifier
        ("VN-Tag", ""),
        ("E-Tag", ""),
    ],
)
def test_what_names_a_network(name: str, network: str) -> None:
    link, build = LAYOUTS[name]
    reader = PacketReader()
    segments, datagrams = reader.read(batch_of([build(4, packet(4, 6, tcp())), build(4, packet(4, 17, udp()))], link))
    assert [reader.networks[number] for number in segments.network.tolist()] == [network]
    assert [reader.networks[number] for number in datagrams.network.tolist()] == [network]


@pytest.mark.parametrize(("flags", "before"), [(0x2000, 0), (0xA000, 4), (0x3000, 0), (0xB000, 4)])
def test_the_key_of_bridged_frames_names_their_network(flags: int, before: int) -> None:
    """It lies behind the checksum and before the sequence number, where they are there."""
    fields = bytes(before) + b"\1\2\3\4" + bytes(4 * (flags & 0x1000 != 0))
    assert networks_of(in_gre(flags, 0x6558, fields, whole=True)(4, ipv4(6, tcp()))) == [f"gre key {0x01020304}"]


NAMING = {
    "VLAN": "116-127", "QinQ": "116-127 148-159", "QinQ of old": "116-127 148-159",
    "three tags": "116-127 148-159 180-191", "SLL and VLAN": "132-143", "backbone bridging": "120-143",
    "ERSPAN type II": "340-351", "ERSPAN type III": "340-351", "NVGRE": "304-335",
    "VXLAN": "368-391", "VXLAN with next protocol": "368-391", "Geneve": "368-391", "LISP": "340 368-391",
    "LISP without an instance": "340",
    **{f"tag {tag}": "116-127" for tag in ("8200", "9100", "9200", "9300")},
}  # fmt: skip
"""The bits that say which network a frame of each layout is in; of LISP one says whether any does."""


def test_only_the_bits_of_a_networks_number_name_it() -> None:
    reader, whole = PacketReader(), [(name, link, build(4, ipv4(6, tcp()))) for name, (link, build) in LAYOUTS.items()]
    changed = [(name, link, octets) for name, _, link, octets in one_bit_changed()]
    segments, _ = reader.read(batch_of([octets for *_, octets in whole + changed], [n for _, n, _ in whole + changed]))
    networks = dict(zip(segments.frame.tolist(), segments.network.tolist(), strict=True))
    plain = {name: networks[number] for number, (name, *_) in enumerate(whole, 1)}
    found: dict[str, list[int]] = {}
    for number, (name, bit, *_) in enumerate(one_bit_changed(), len(whole) + 1):
        if networks.get(number, plain[name]) != plain[name]:
            found.setdefault(name, []).append(bit)
    assert {name: bits(numbers) for name, numbers in found.items()} == NAMING


def test_a_mirrored_frame_was_in_the_vlan_that_the_mirror_says() -> None:
    build = in_gre(0x1000, 0x88BE, bytes(4) + bytes.fromhex("100a0001 00000001"), whole=True)
    assert networks_of(build(4, ipv4(6, tcp()))) == ["vlan 10"]


def test_fragments_of_two_networks_are_not_put_together() -> None:
    pieces = [ipv4(6, tcp(b"x" * 28)[:24], fragment=0x2000), ipv4(6, tcp(b"x" * 28)[24:], fragment=3)]
    frames = [vlan(10, inner=around(4, pieces[0])), vlan(20, inner=around(4, pieces[1]))]
    assert networks_of(*frames) == []
    frames.append(vlan(10, inner=around(4, pieces[1])))
    assert networks_of(*frames) == ["vlan 10"]


def test_numbers_of_networks_stay_over_batches() -> None:
    reader = PacketReader()
    first, _ = reader.read(batch_of([vlan(10), vlan(20)]))
    second, _ = reader.read(batch_of([vlan(20), vlan(30)]))
    assert first.network.tolist()[1] == second.network.tolist()[0]
    assert reader.networks == ["", "vlan 10", "vlan 20", "vlan 30"]


def test_networks_without_end_are_not_kept_without_end() -> None:
    networks = Networks()
    outer = np.zeros(70_000, np.int32)
    numbers = networks.within(outer, VNI, np.arange(70_000))
    assert len(networks.names) == 65_536
    assert numbers.max() == 65_535
    assert (numbers[65_535:] == 0).all()
    assert networks.within(numbers[:1], VLAN, np.array([7])).tolist() == [0]


def test_datagrams_have_the_identification_of_their_packet() -> None:
    frames = [
        ipv4(17, udp(), identification=7),
        ipv4(6, tcp(), identification=8),
        ipv4(17, udp(), identification=65535),
        ipv6(17, udp()),
        ipv4(4, ipv4(17, udp(), identification=9), identification=10),
        ipv4(41, ipv6(17, udp()), identification=11),
    ]
    _, datagrams = PacketReader().read(batch_of(frames, 101))
    assert datagrams.ident.tolist() == [7, 65535, -1, 9, -1]


def test_an_ipv6_datagram_has_not_the_identification_of_what_carries_it() -> None:
    frames = [in_udp(4789, bytes.fromhex("0800000000002a00"))(4, around(6, ipv6(17, udp()))), ipv6(17, udp())]
    _, datagrams = PacketReader().read(batch_of(frames, [1, 101]))
    assert datagrams.ident.tolist() == [-1, -1]


def test_a_datagram_of_fragments_has_their_identification() -> None:
    whole = udp(b"x" * 40)
    frames = [
        ipv4(17, whole[:24], fragment=0x2000, identification=77),
        ipv4(17, whole[24:], fragment=3, identification=77),
    ]
    _, datagrams = PacketReader().read(batch_of(frames, 101))
    assert datagrams.ident.tolist() == [77]


def test_pktap_names_the_process_at_either_end() -> None:
    ip = ipv4(6, tcp())
    frames = [
        pktap(1, around, pid=4242, name=b"curl", flags=2)(4, ip),
        pktap(1, around, pid=77, name=b"sockd", flags=1)(4, ip),
        pktap(1, around, pid=4242, name=b"curl", flags=1)(4, ip),
        pktap(1, around, pid=0, name=b"", flags=2)(4, ip),
        pktap(1, around, pid=0xFFFFFFFF, name=b"\xff" * 20, flags=2)(4, ip),
        pktap(1, around, pid=4242, name=b"curl", flags=2)(4, ip),
    ]
    reader = PacketReader()
    segments, datagrams = reader.read(batch_of(frames, 258))
    assert segments.process is not None
    assert segments.process.tolist() == [1, -2, -1, 0, 3, 1]
    assert reader.processes[1:] == [Process(4242, "curl"), Process(77, "sockd"), Process(0, "\ufffd" * 20)]
    assert datagrams.process is not None
    assert len(datagrams.process) == 0


def test_processes_of_the_file_itself_are_named() -> None:
    batch = batch_of([ipv4(6, tcp()), ipv4(1, bytes(8)), ipv4(17, udp())], 101)
    batch.process = np.array([2, 1, -1], np.int32)
    batch.processes = [Process(0, ""), Process(5, "ssh"), Process(6, "curl")]
    reader = PacketReader()
    segments, datagrams = reader.read(batch)
    assert segments.process is not None
    assert datagrams.process is not None
    assert [reader.processes[number] for number in segments.process.tolist()] == [Process(6, "curl")]
    assert [reader.processes[-number] for number in datagrams.process.tolist()] == [Process(5, "ssh")]


def test_no_process_costs_no_column() -> None:
    segments, datagrams = PacketReader().read(batch_of([ipv4(6, tcp())], 101))
    assert segments.process is None
    assert datagrams.process is None


def test_what_could_have_held_tcp_is_named() -> None:
    ip = ipv4(6, tcp(b"hello"))
    frames = [
        *[ethernet(0x9999, bytes(60))] * 3,
        ethernet(0x9998, bytes(60)),
        behind(0x88E5, "0c0000000001")(4, ip + bytes(16)),
        ethernet(0x0800, ipv4(50, bytes(40))),
        ethernet(0x0800, ipv4(6, b"")[:10]),
        ethernet(0x0800, ipv4(17, udp(b"x", length=3))),
        ethernet(0x0806, bytes(28)),
        ethernet(0x0800, ipv4(1, bytes(8))),
    ]
    lengths = [len(frame) for frame in frames]
    lengths[6] = 100
    reader = PacketReader()
    reader.read(batch_of(frames, lengths=lengths))
    reader.read(batch_of([bytes(40)] * 2, [147, 65000]))
    assert reader.not_understood == {
        "EtherType 0x9999": 3,
        "EtherType 0x9998": 1,
        "EtherType 0x88e5 (MACsec, encrypted)": 1,
        "IP protocol 50 (ESP, encrypted)": 1,
        "link type 147 (USER0)": 1,
        "link type 65000": 1,
        "headers that the capture cut off": 1,
        "malformed headers": 1,
    }
    assert reader.skipped.total == sum(reader.not_understood.values()) + 2


@pytest.mark.parametrize(("control", "later"), [("0000", False), ("f0ff", False), ("0100", True), ("ff00", True)])
def test_a_later_fragment_of_ieee_802_11_has_a_number(control: str, later: bool) -> None:
    """In the lowest four bits; those of the sequence number tell nothing."""
    reader = PacketReader()
    reader.read(batch_of([bytes.fromhex("0802 0000") + bytes(18) + bytes.fromhex(control) + b"\x77" * 20], 105))
    assert reader.not_understood == ({"fragments of IEEE 802.11 frames": 1} if later else {})


def test_an_unknown_link_type_is_called_what_the_registry_calls_it() -> None:
    reader = PacketReader()
    reader.read(batch_of([bytes(40)] * 3, [189, 299, 189]))
    assert [(link.link_type, link.name, link.frame) for link in reader.unknown_links] == [
        (189, "USB_LINUX", 1),
        (299, "", 2),
    ]


NOT_LIBPCAPS = {
    1: "ETHERNET", 3: "AX25", 6: "IEEE802_5", 7: "ARCNET_BSD", 50: "PPP_HDLC", 100: "ATM_RFC1483", 101: "RAW",
    106: "ATM_CLIP", 118: "CISCO_IOS", 119: "IEEE802_11_PRISM", 127: "IEEE802_11_RADIOTAP",
    **{147 + number: f"USER{number}" for number in range(16)}, 163: "IEEE802_11_AVS", 195: "IEEE802_15_4_WITHFCS",
    203: "LAPD", 204: "PPP_WITH_DIR", 205: "C_HDLC_WITH_DIR", 206: "FRELAY_WITH_DIR", 207: "LAPB_WITH_DIR",
    210: "FLEXRAY", 211: "MOST", 212: "LIN", 213: "X2E_SERIAL", 214: "X2E_XORAYA", 252: "WIRESHARK_UPPER_PDU",
    270: "LORATAP", 277: "ZWAVE_TAP", 290: "ETW",
}  # fmt: skip
"""What libpcap 1.10.3 calls otherwise than the registry, or not at all."""
PRIVATE = {11, 12, 15, 16, 19}
"""Numbers of libpcap that stand in no file: there they are others."""


@pytest.mark.skipif(ctypes.util.find_library("pcap") is None, reason="libpcap is not here")
def test_link_types_are_called_what_libpcap_calls_them() -> None:
    name = ctypes.CDLL(ctypes.util.find_library("pcap")).pcap_datalink_val_to_name
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    known = {number: name(number) for number in {*range(max(LINK_NAMES) + 1)} - PRIVATE}
    assert {number: text.decode() for number, text in known.items() if text} | NOT_LIBPCAPS == LINK_NAMES


def test_a_private_link_type_that_is_not_pktap_is_named() -> None:
    reader = PacketReader()
    reader.read(batch_of([bytes(120), b"\x6c\0\0\0\1\0\0\0", tagged()(4, ipv4(6, tcp(bytes(90))))], 149))
    assert reader.not_understood == {"link type 149 (USER2)": 3}


def test_an_exported_pdu_without_headers_is_named() -> None:
    frames = [struct.pack(">HH", 12, len(name)) + name + bytes(4) + b"data" for name in (b"http", b"\x1b[31m", b"")]
    reader = PacketReader()
    reader.read(batch_of(frames, 252))
    assert reader.not_understood == {"exported PDU of ?": 2, "exported PDU of http": 1}


def test_names_without_end_are_counted_together() -> None:
    names = [f"made-up-{number}".encode() for number in range(1500)]
    frames = [struct.pack(">HH", 12, len(name)) + name + bytes(4) + b"data" for name in names]
    reader = PacketReader()
    reader.read(batch_of(frames, 252))
    assert len(reader.not_understood) == 1025
    assert reader.not_understood["other kinds"] == 1500 - 1024


def test_an_exported_segment_has_the_addresses_of_its_tags() -> None:
    tags = [(12, b"tcp\0"), (20, bytes((192, 0, 2, 1))), (21, bytes((198, 51, 100, 2))), (0, b"")]
    frame = b"".join(struct.pack(">HH", tag, len(value)) + value for tag, value in tags) + tcp(b"hello")
    reader = PacketReader()
    segments, _ = reader.read(batch_of([frame], 252))
    ends = segments.source.tolist() + segments.destination.tolist()
    assert [reader.addresses.endpoint_address(end) for end in ends] == ["192.0.2.1", "198.51.100.2"]
    assert segments.length.tolist() == [5]
