"""Links between frames, and dissection in two passes and in any order."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from socks5sniff.dissector.verify import FRAME_TYPES

from .payloads import HTTP, client_hello
from .run import LUA, layers, require_tshark, rows, tshark
from .scenario import CHOICE, CLIENT, GREETING, PROXY, Capture, Tcp, octet_by_octet, opened, request

TWO_PASSES = ("-2", "-R", "frame")
LATER = {"socks5.response_in", "socks5.outcome", "socks5.destination.host", "socks5.destination.port"}
"""What a frame shows of those that come after it."""
ALERT = bytes.fromhex("15030300020100")
"""TLS 1.2: the side will send no more."""


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    made = Capture()
    Tcp(made, client_port=49801).play(opened() + HTTP).close()
    Tcp(made, 34565, client_port=49802).play(octet_by_octet(opened("split.test", 22))).close()
    return made.write(tmp_path / "passes.pcap")


def test_links_and_times(capture: Path) -> None:
    fields = ("frame.number", "socks5.response_in", "socks5.response_to", "socks5.time")
    assert rows(capture, "socks5 && tcp.stream == 0", *fields, options=("-2",)) == [
        ["4", "5", "", ""],
        ["5", "", "4", "0.001000000"],
        ["6", "7", "", ""],
        ["7", "", "6", "0.001000000"],
        ["8", "", "", ""],
        ["9", "", "", ""],
    ]


@pytest.mark.parametrize("options", [("-2",), TWO_PASSES])
def test_two_passes_show_what_one_does(capture: Path, options: tuple[str, ...]) -> None:
    once, twice = layers(capture), layers(capture, *options)
    assert [(a.frame, {n: v for n, v in a.fields.items() if n not in LATER}) for a in twice] == [
        (b.frame, {n: v for n, v in b.fields.items() if n not in LATER}) for b in once
    ]


def test_ports_used_again(tmp_path: Path) -> None:
    made = Capture()
    Tcp(made).play(opened("first.test")).close()
    Tcp(made, initial=(9_000_000, 7_000_000)).play(opened("second.test")).close()
    path = made.write(tmp_path / "reuse.pcap")
    for options in ((), ("-2",), TWO_PASSES):
        found = rows(path, "socks5.command", "tcp.stream", "socks5.destination.host", options=options)
        assert found == [["0", "first.test"], ["1", "second.test"]]


@pytest.mark.parametrize("options", [(), ("-2",)], ids=["one pass", "two passes"])
@pytest.mark.parametrize(
    ("clients", "client_port", "proxies", "port"),
    [
        (("192.0.2.10",), 49812, ("192.0.2.1", "192.0.2.2"), 1080),
        (("192.0.2.10", "192.0.2.11"), 9050, ("192.0.2.1",), 34565),
        (("192.0.2.10", "192.0.2.11"), 1080, ("192.0.2.1", "192.0.2.2"), 1080),
    ],
    ids=["two proxies", "the proxy's port is the higher one", "equal ports"],
)
def test_the_same_ports_at_once(
    tmp_path: Path,
    clients: tuple[str, ...],
    client_port: int,
    proxies: tuple[str, ...],
    port: int,
    options: tuple[str, ...],
) -> None:
    """Connections that differ in one address only, a segment of each in turn."""
    made = Capture()
    ends = [(client, proxy) for client in clients for proxy in proxies]
    connections = [Tcp(made, port, client, proxy, client_port) for client, proxy in ends]
    conversations = [opened(f"host{i}.test") + HTTP for i in range(len(ends))]
    for steps in zip(*conversations, strict=True):
        for tcp, (side, octets) in zip(connections, steps, strict=True):
            tcp.send(side, octets)
    path = made.write(tmp_path / "same.pcap")
    filter_ = "socks5.type == request || socks5.type == reply || http"
    found = rows(path, filter_, "tcp.stream", "socks5.destination.host", options=options)
    assert sorted(found) == sorted([str(i), f"host{i}.test"] for i in range(len(ends)) for _ in range(2 + len(HTTP)))


def test_the_packet_list_is_the_same_without_a_tree(capture: Path) -> None:
    """Nothing is put into a tree that is not there; where there is one, our layer is in it, whoever looks."""
    assert tshark(capture) == tshark(capture, "-Y", "frame") == tshark(capture, "-2")
    hierarchy = tshark(capture, "-q", "-z", "io,phs").splitlines()
    counted = next(line.split()[1] for line in hierarchy if line.split()[:1] == ["socks5"])
    assert counted == f"frames:{len({layer.frame for layer in layers(capture)})}"


@pytest.mark.parametrize("size", [11, 50, 200])
def test_the_packet_list_of_a_tunnel_in_pieces(tmp_path: Path, size: int) -> None:
    """Without a tree the later segments of a tunnel go straight to the payload's dissector."""
    hello = client_hello()
    pieces = [(CLIENT, hello[at : at + size]) for at in range(0, len(hello), size)]
    made = Capture()
    Tcp(made, client_port=49801).play(opened(port=443) + pieces + [(PROXY, ALERT)] * 2).close()
    Tcp(made, client_port=49802).play(opened() + HTTP + HTTP).close()
    path = made.write(tmp_path / "pieces.pcap")
    assert tshark(path) == tshark(path, "-Y", "frame")
    assert tshark(path, "-2") == tshark(path, "-2", "-Y", "frame")
    tunnel = rows(path, "tls || http", "tcp.stream", "_ws.col.Protocol")
    assert [protocol for stream, protocol in tunnel if stream == "0"][-2:] == ["TLSv1.2"] * 2
    assert [protocol for stream, protocol in tunnel if stream == "1"] == ["HTTP"] * 4


def test_a_lost_segment_is_noticed(tmp_path: Path) -> None:
    made = Capture()
    tcp = Tcp(made).play([(CLIENT, GREETING)])
    tcp.take(PROXY, CHOICE)
    tcp.play(opened()[2:] + HTTP)
    path = made.write(tmp_path / "lost.pcap")
    assert rows(path, "socks5.anomaly", "frame.number", "socks5.anomaly") == [["6", "handshake-gap"]]
    assert len(rows(path, "http && socks5.destination.host", "frame.number")) == 2


def test_a_lost_request_is_noticed(tmp_path: Path) -> None:
    made = Capture()
    tcp = Tcp(made).play(opened()[:2])
    tcp.take(CLIENT, request("www.example.test", 80))
    tcp.play(opened()[3:])
    path = made.write(tmp_path / "lost.pcap")
    assert rows(path, "socks5.anomaly", "socks5.anomaly", options=("-2",)) == [["handshake-gap"]]
    tcp.play(HTTP)
    path = made.write(tmp_path / "lost.pcap")
    assert rows(path, "socks5.anomaly", "frame.number", "socks5.anomaly") == [["7", "handshake-gap"]]
    assert len(rows(path, "http && socks5.type == tunnel", "frame.number")) == 2


def test_a_lost_answer_to_a_password_is_a_gap_of_known_size(tmp_path: Path) -> None:
    made = Capture()
    tcp = Tcp(made).play([(CLIENT, b"\x05\x01\x02"), (PROXY, b"\x05\x02"), (CLIENT, b"\x01\x05alice\x06secret")])
    tcp.take(PROXY, b"\x01\x00")
    tcp.play([*opened()[2:], *HTTP])
    path = made.write(tmp_path / "lost.pcap")
    gaps = rows(path, "socks5.reply.code", "socks5.reply.code", "socks5.anomaly", "_ws.expert.message")
    assert [gap[:2] for gap in gaps] == [["0", "handshake-gap"]]
    assert "2 octets" in gaps[0][2]
    assert len(rows(path, "http", "frame.number")) == 2


def test_a_password_nobody_asked_for(tmp_path: Path) -> None:
    made = Capture()
    steps = [(CLIENT, b"\x05\x02\x00\x02"), (PROXY, CHOICE), (CLIENT, b"\x01\x05alice\x06secret"), (PROXY, b"\x01\x00")]
    Tcp(made).play([*steps, *opened()[2:], *HTTP])
    seen = layers(made.write(tmp_path / "unasked.pcap"))
    assert [layer["type"] for layer in seen][2:6] == ["auth-request", "auth-reply", "request", "reply"]
    assert seen[2].anomalies == ["auth-unasked", "cleartext-credentials"]
    assert seen[5]["outcome"] == "1"


def test_out_of_order(tmp_path: Path) -> None:
    made = Capture()
    tcp = Tcp(made).play(opened()[:2])
    parts = [tcp.take(CLIENT, request("www.example.test", 80)[i : i + 3]) for i in range(0, 23, 3)]
    for packet in [*parts[3:], *parts[:3][::-1]]:
        made.add(packet)
    tcp.play(opened()[3:] + HTTP)
    path = made.write(tmp_path / "order.pcap")
    ordered = ("-o", "tcp.reassemble_out_of_order:TRUE")
    for options in (ordered, ("-2", *ordered)):
        found = rows(path, "socks5.command", "socks5.destination.host", "socks5.anomaly", options=options)
        assert found == [["www.example.test", "split-frame"]]
        assert len(rows(path, "http", "frame.number", options=options)) == 2


def test_retransmissions(tmp_path: Path) -> None:
    made = Capture()
    tcp = Tcp(made)
    for side, octets in opened():
        packet = tcp.take(side, octets)
        made.add(packet)
        made.add(packet)
    path = made.write(tmp_path / "again.pcap")
    assert [layer["type"] for layer in layers(path)] == ["greeting", "method-selection", "request", "reply"]


def test_any_order(capture: Path, tmp_path: Path) -> None:
    """sharkd dissects frames on request, as Wireshark does when one is selected."""
    require_tshark()
    sharkd = shutil.which("sharkd")
    if sharkd is None:
        pytest.skip("sharkd is not installed")
    expected = {layer.frame: FRAME_TYPES.index(layer["type"]) + 1 for layer in layers(capture) if layer["type"]}
    order = [*reversed(expected), *expected, *reversed(expected)]
    lines = [{"jsonrpc": "2.0", "id": 1, "method": "load", "params": {"file": str(capture)}}]
    for i, number in enumerate(order):
        frame = {"frame": number, "proto": True}
        lines.append({"jsonrpc": "2.0", "id": i + 2, "method": "frame", "params": frame})
    home = tmp_path / "home"
    plugins = home / ".local/lib/wireshark/plugins"
    plugins.mkdir(parents=True)
    shutil.copy(LUA, plugins)
    done = subprocess.run(
        [sharkd, "-"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    replies = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    shown = {reply["id"]: json.dumps(reply) for reply in replies}
    for i, number in enumerate(order):
        assert f"socks5.type == {expected[number]}" in shown[i + 2], (number, shown[i + 2][:300])
    assert not any("Lua Error" in text for text in shown.values())


def test_statistics(capture: Path) -> None:
    output = tshark(capture, "-q", "-z", "socks5,conversations")
    header, first, second, total = [line for line in output.splitlines() if line.strip()]
    assert header.split()[:6] == ["Id", "Protocol", "Client", "Proxy", "Command", "Destination"]
    sent, received = (sum(len(octets) for side, octets in HTTP if side == who) for who in (CLIENT, PROXY))
    assert first.split()[:7] == [
        "1",
        "SOCKS5",
        "192.0.2.10:49801",
        "192.0.2.1:1080",
        "connect",
        "www.example.test:80",
        "succeeded",
    ]
    assert first.split()[-3:] == ["0.001000", str(sent), str(received)]
    assert second.split()[5] == "split.test:22"
    assert total == "2 conversations"


UNFINISHED = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)


@pytest.mark.parametrize("options", [(), ("-2",)], ids=["one pass", "two passes"])
def test_octets_are_counted_whatever_the_payload_keeps(tmp_path: Path, options: tuple[str, ...]) -> None:
    """HTTP waits for a body that never ends; a retransmission and another order count once."""
    made = Capture()
    tcp = Tcp(made).play([*opened(), HTTP[0], (PROXY, UNFINISHED)])
    parts = [tcp.take(PROXY, bytes(1400)) for _ in range(6)]
    for packet in [parts[0], parts[2], parts[1], parts[1], parts[3], parts[5], parts[4]]:
        made.add(packet)
    tcp.close()
    path = made.write(tmp_path / "octets.pcap")
    line = next(line for line in tshark(path, *options, "-q", "-z", "socks5,octets").splitlines() if "octets" in line)
    assert line.split("\t")[4:] == [str(len(HTTP[0][1])), str(len(UNFINISHED) + 6 * 1400)]


def test_octets_of_a_conversation_inside_another(tmp_path: Path) -> None:
    made = Capture()
    Tcp(made).play([*opened("next.test", 1080), *opened(), *HTTP]).close()
    path = made.write(tmp_path / "chain.pcap")
    sent, received = (sum(len(octets) for side, octets in HTTP if side == who) for who in (CLIENT, PROXY))
    inner_sent, inner_received = (
        sum(len(octets) for side, octets in opened() if side == who) for who in (CLIENT, PROXY)
    )
    lines = [line.split("\t")[2:] for line in tshark(path, "-q", "-z", "socks5,octets").splitlines() if "\t" in line]
    assert [[depth, out, back] for depth, _, out, back in lines] == [
        ["0", str(sent + inner_sent), str(received + inner_received)],
        ["1", str(sent), str(received)],
    ]


def test_statistics_as_a_tree(capture: Path) -> None:
    lines = tshark(capture, "-q", "-z", "socks5,tree").splitlines()
    assert lines[0] == "2 conversations"
    assert [line.split()[-1] for line in lines if line.startswith("  ")][:2] == ["succeeded", "SOCKS5"]
    assert {"Outcome", "Command", "Method", "Proxy", "Destination"} <= set(lines)
