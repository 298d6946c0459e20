"""Relayed datagrams of live associations."""

from __future__ import annotations

from pathlib import Path

from .payloads import dns_answer, dns_query
from .run import Layer, layers, rows
from .scenario import CLIENT_ADDRESS, PROXY_ADDRESS, Capture, Tcp, datagram, request, udp_header

RELAY = 42424
CLIENT_PORT = 49900
SERVER = "198.51.100.53"


def associate(capture: Capture, bound: str = PROXY_ADDRESS, asked: tuple[str, int] = ("0.0.0.0", 0)) -> Tcp:
    granted = b"\x05\x00\x00" + request(bound, RELAY)[3:]
    return Tcp(capture).play([(0, b"\x05\x01\x00"), (1, b"\x05\x00"), (0, request(*asked, 3)), (1, granted)])


def out(
    capture: Capture, payload: bytes, client: str = CLIENT_ADDRESS, port: int = CLIENT_PORT, relay: str = PROXY_ADDRESS
) -> None:
    capture.add(datagram((client, port), (relay, RELAY), payload))


def back(capture: Capture, payload: bytes, port: int = CLIENT_PORT, relay: str = PROXY_ADDRESS) -> None:
    capture.add(datagram((relay, RELAY), (CLIENT_ADDRESS, port), payload))


def relayed(path: Path, *options: str) -> list[Layer]:
    return [layer for layer in layers(path, *options) if layer.stream is None]


def test_dns_inside_shows_as_dns(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture)
    out(capture, udp_header(SERVER, 53) + dns_query())
    back(capture, udp_header(SERVER, 53) + dns_answer(b"\xc6\x33\x64\x50"))
    path = capture.write(tmp_path / "udp.pcap")
    assert rows(path, "dns", "socks5.udp.host", "socks5.udp.port", "socks5.sender", "dns.qry.name", "dns.a") == [
        [SERVER, "53", "client", "www.example.test", ""],
        [SERVER, "53", "proxy", "www.example.test", "198.51.100.80"],
    ]
    assert rows(path, "dns && socks5.destination.host", "socks5.destination.host") == [[SERVER]] * 2


def test_any_client_port_and_names(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture)
    for port in (49900, 50123, 60001):
        out(capture, udp_header("dns.example.test", 9999) + b"data", port=port)
    seen = relayed(capture.write(tmp_path / "udp.pcap"))
    assert [layer["udp.domain"] for layer in seen] == ["dns.example.test"] * 3


def test_an_unspecified_address_is_the_proxys(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture, bound="0.0.0.0")
    out(capture, udp_header(SERVER, 53) + dns_query())
    path = capture.write(tmp_path / "udp.pcap")
    assert len(relayed(path)) == 1
    assert rows(path, "socks5.reply.code", "socks5.anomaly") == [["bound-unspecified"]]


def test_a_relay_on_another_address(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture, bound="203.0.113.99")
    out(capture, udp_header(SERVER, 53) + dns_query(), relay="203.0.113.99")
    back(capture, udp_header(SERVER, 53) + dns_query(), relay="203.0.113.99")
    out(capture, udp_header(SERVER, 53) + dns_query())  # to the proxy's own address: not this relay
    assert [layer.frame for layer in relayed(capture.write(tmp_path / "udp.pcap"))] == [8, 9]


def test_ipv6(tmp_path: Path) -> None:
    capture = Capture()
    granted = b"\x05\x00\x00" + request("::", RELAY)[3:]
    tcp = Tcp(capture, client="2001:db8::10", proxy="2001:db8::1")
    tcp.play([(0, b"\x05\x01\x00"), (1, b"\x05\x00"), (0, request("::", 0, 3)), (1, granted)])
    out(capture, udp_header("2001:db8::53", 53) + dns_query(), client="2001:db8::10", relay="2001:db8::1")
    seen = relayed(capture.write(tmp_path / "udp.pcap"))
    assert [layer["udp.ipv6"] for layer in seen] == ["2001:db8::53"]


def test_fragments_are_put_together(tmp_path: Path) -> None:
    query = dns_query()
    capture = Capture()
    associate(capture)
    out(capture, udp_header(SERVER, 53, 1) + query[:10])
    out(capture, udp_header(SERVER, 53, 2) + query[10:20])
    out(capture, udp_header(SERVER, 53, 0x83) + query[20:])
    path = capture.write(tmp_path / "udp.pcap")
    for options in ((), ("-2",)):
        seen = relayed(path, *options)
        assert [layer["udp.fragment"] for layer in seen] == ["0x01", "0x02", "0x83"]
        assert [layer["udp.fragment.last"] for layer in seen] == ["0", "0", "1"]
        assert [layer.anomalies for layer in seen] == [["udp-fragmented"], [], []]
        assert rows(path, "dns", "frame.number", "dns.qry.name", options=options) == [["10", "www.example.test"]]


def test_fragments_that_do_not_fit_together(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture)
    for fragment in (1, 3, 0x84, 2, 0x82):
        out(capture, udp_header(SERVER, 53, fragment) + dns_query()[:9])
    path = capture.write(tmp_path / "udp.pcap")
    assert rows(path, "dns", "frame.number") == []
    assert len(relayed(path)) == 5


def test_a_stranger_is_pointed_out(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture)
    out(capture, udp_header(SERVER, 53) + dns_query(), client="192.0.2.66")
    path = capture.write(tmp_path / "udp.pcap")
    assert [layer.anomalies for layer in relayed(path)] == [["udp-unassociated"]]
    assert rows(path, "dns", "frame.number") == []


def test_other_datagrams_are_left_alone(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture)
    capture.add(datagram((CLIENT_ADDRESS, 49901), ("192.0.2.77", RELAY), udp_header(SERVER, 53) + dns_query()))
    capture.add(datagram((CLIENT_ADDRESS, 49901), (PROXY_ADDRESS, 42425), udp_header(SERVER, 53) + dns_query()))
    assert relayed(capture.write(tmp_path / "udp.pcap")) == []


def test_a_header_that_is_odd(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture)
    out(capture, b"\x00\x07" + (udp_header(SERVER, 53) + dns_query())[2:])
    out(capture, b"\0\0\0\x09" + bytes(20))
    out(capture, b"\0\0\0\x01\xc6")
    seen = relayed(capture.write(tmp_path / "udp.pcap"))
    assert [layer.anomalies for layer in seen] == [["reserved-nonzero"], ["unknown-address-type"]]
    assert seen[0]["udp.reserved"] == "0x0007"


def test_the_request_that_names_the_target(tmp_path: Path) -> None:
    capture = Capture()
    associate(capture, asked=(SERVER, 53))
    out(capture, udp_header(SERVER, 53) + dns_query())
    path = capture.write(tmp_path / "udp.pcap")
    assert rows(path, "socks5.command", "socks5.anomaly") == [["associate-names-target"]]
    assert len(relayed(path)) == 1
