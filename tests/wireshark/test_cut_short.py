"""Captures that lack octets: by snap length, of one direction, with reassembly off. None may hang tshark."""

from __future__ import annotations

from pathlib import Path

import pytest

from .payloads import HTTP, RDP, SMB, SMTP, SSH, client_hello
from .run import layers, rows, tshark
from .scenario import CHOICE, CLIENT, GRANTED, GREETING, PROXY, REFUSED, Capture, Step, Tcp, opened, request
from .test_handshakes import AUTH_CHOICE, AUTH_GREETING, LOGIN, LOGIN_OK, SCENARIOS

LIMIT = 60
"""Seconds for each tshark. It takes two or three; one that loops takes all, and fails the test."""

LONG_BODY: list[Step] = [
    (CLIENT, b"GET / HTTP/1.1\r\nHost: www.example.test\r\nCookie: " + b"c" * 300 + b"\r\n\r\n"),
    (PROXY, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX: " + b"x" * 300 + b"\r\n\r\n" + bytes(1000)),
    *[(PROXY, bytes(1000))] * 4,
]
TUNNELS = (HTTP, LONG_BODY, SSH, SMTP, RDP, SMB, [(CLIENT, client_hello())])


def all_dialogues(sides: tuple[int, ...] = (CLIENT, PROXY)) -> Capture:
    """Each scenario and each payload, a connection each; of the sides named."""
    capture = Capture()
    dialogues = [scenario.steps for scenario in SCENARIOS.values()] + [opened() + payload for payload in TUNNELS]
    ports = [scenario.port for scenario in SCENARIOS.values()] + [1080] * len(TUNNELS)
    for index, (port, steps) in enumerate(zip(ports, dialogues, strict=True)):
        tcp = Tcp(capture, port, client_port=49800 + index)
        for side, octets in steps:
            packet = tcp.take(side, octets)
            if side in sides:
                capture.add(packet)
    Tcp(capture, 80, client_port=49799).play(LONG_BODY).close()
    return capture


@pytest.mark.parametrize("snap", [42, 50, 60, 64, 70, 80, 96, 128, 160, 200])
def test_any_snap_length(tmp_path: Path, snap: int) -> None:
    path = all_dialogues().write(tmp_path / "cut.pcap", snap)
    assert "SOCKS5" in tshark(path, "-2", "-V", timeout=LIMIT) or snap < 50
    tshark(path, "-q", "-z", "socks5,conversations", timeout=LIMIT)


@pytest.mark.parametrize("options", [(), ("-2",)], ids=["one pass", "two passes"])
def test_without_reassembly(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Frames in pieces are put together all the same: that is ours, not TCP's."""
    path = all_dialogues().write(tmp_path / "all.pcap")
    off = ("-o", "tcp.desegment_tcp_streams:FALSE")
    tshark(path, *options, *off, "-V", timeout=LIMIT)
    kinds = ("greeting", "method-selection", "auth-request", "auth-reply", "request", "reply")
    facts = [(layer.stream, layer["type"], layer["destination.host"]) for layer in layers(path, *options, *off)]
    expected = [(layer.stream, layer["type"], layer["destination.host"]) for layer in layers(path, *options)]
    assert [fact for fact in facts if fact[1] in kinds] == [fact for fact in expected if fact[1] in kinds]


def test_no_more_malformed_than_without_the_dissector(tmp_path: Path) -> None:
    capture = Capture()
    for index, payload in enumerate(TUNNELS):
        Tcp(capture, client_port=49800 + index).play(opened() + payload).close()
    for snap in (96, 200, 262144):
        path = capture.write(tmp_path / f"{snap}.pcap", snap)
        assert rows(path, "_ws.malformed && socks5", "frame.number") == []


LOGGED_IN: list[Step] = [
    (CLIENT, AUTH_GREETING),
    (PROXY, AUTH_CHOICE),
    (CLIENT, LOGIN),
    (PROXY, LOGIN_OK),
    (CLIENT, request("www.example.test", 80)),
    (PROXY, GRANTED),
    *HTTP,
]


def one_way(folder: Path, side: int, steps: list[Step], port: int = 1080) -> Path:
    capture = Capture()
    tcp = Tcp(capture, port, handshake=False)
    for sender, octets in steps:
        packet = tcp.take(sender, octets)
        if sender == side:
            capture.add(packet)
    return capture.write(folder / "one-way.pcap")


def test_the_clients_side_alone(tmp_path: Path) -> None:
    seen = layers(one_way(tmp_path, CLIENT, LOGGED_IN))
    assert [layer["type"] for layer in seen] == ["greeting", "auth-request", "request", "tunnel"]
    assert seen[2]["destination.host"] == "www.example.test"


def test_the_proxys_side_alone_does_not_swap_the_roles(tmp_path: Path) -> None:
    seen = layers(one_way(tmp_path, PROXY, LOGGED_IN))
    assert [layer["type"] for layer in seen] == ["method-selection", "auth-reply", "reply", "tunnel"]
    assert (seen[0]["method"], seen[1]["authenticated"], seen[2]["reply.code"]) == ("0x02", "1", "0")
    assert not any(layer.anomalies for layer in seen)


def test_a_request_that_is_cut_keeps_its_command(tmp_path: Path) -> None:
    capture = Capture()
    name = "a-name-of-some-length.example.test"
    Tcp(capture).play([(CLIENT, GREETING), (PROXY, CHOICE), (CLIENT, request(name, 80)), (PROXY, GRANTED)])
    seen = layers(capture.write(tmp_path / "cut.pcap", 40 + 10))
    assert [layer["type"] for layer in seen] == ["greeting", "method-selection", "request", "reply"]
    assert (seen[2]["command"], seen[2]["destination.host"], seen[2].anomalies) == ("0x01", "", ["handshake-gap"])
    assert (seen[3]["reply.code"], seen[3]["outcome"]) == ("0", "1")


def test_a_reply_that_tcp_withholds(tmp_path: Path) -> None:
    """All of one direction before the other: TCP takes what was acknowledged already for retransmissions."""
    capture = Capture()
    tcp = Tcp(capture)
    steps = opened() + HTTP
    packets = [(side, tcp.take(side, octets)) for side, octets in steps]
    for packet in [packet for side, packet in packets if side == CLIENT]:
        capture.add(packet)
    for packet in [packet for side, packet in packets if side == PROXY]:
        capture.add(packet)
    seen = layers(capture.write(tmp_path / "taps.pcap"))
    seen = [layer for layer in seen if layer["type"] != "method-selection"]  # which 4.4 does not withhold
    assert [layer["type"] for layer in seen] == ["greeting", "request", "tunnel", "tunnel"]
    assert [layer.anomalies for layer in seen[2:]] == [["early-data"], ["handshake-gap"]]
    assert seen[-1]["outcome"] == "0"


def test_a_refusal_in_few_octets(tmp_path: Path) -> None:
    """Tor's: VER, REP, RSV and an address type of 0, and no more."""
    capture = Capture()
    Tcp(capture).play([*opened()[:3], (PROXY, b"\x05\x01\x00\x00")])
    Tcp(capture, client_port=49813).play([*opened()[:3], (PROXY, b"\x05\xf0\x00\x00" + bytes(6))])
    Tcp(capture, client_port=49814).play([*opened()[:3], (PROXY, REFUSED)])
    seen = [layer for layer in layers(capture.write(tmp_path / "tor.pcap")) if layer["type"] == "reply"]
    assert [(layer["reply.code"], layer["outcome"]) for layer in seen] == [("1", "2"), ("240", "2"), ("5", "2")]
