"""What the proxy relays goes to the dissector that fits, and keeps a SOCKS layer that names the destination."""

from __future__ import annotations

from pathlib import Path

import pytest

from .payloads import BODY, HTTP, RDP, SMB, SMTP, SSH, client_hello
from .run import info, layers, rows, tshark
from .scenario import (
    CHOICE,
    CLIENT,
    GRANTED,
    GREETING,
    PROXY,
    REFUSED,
    Capture,
    Step,
    Tcp,
    octet_by_octet,
    opened,
    request,
)

HELLO = client_hello()
TLS: list[Step] = [(CLIENT, HELLO)]


def made(folder: Path, steps: list[Step], port: int = 1080) -> Path:
    capture = Capture()
    Tcp(capture, port).play(steps).close()
    return capture.write(folder / "tunnel.pcap")


PAYLOADS: list[tuple[list[Step], int, str]] = [
    (HTTP, 80, "http"),
    (HTTP, 31337, "http"),
    (HTTP, 443, "http"),
    (TLS, 443, "tls"),
    (TLS, 9443, "tls"),
    (TLS, 80, "tls"),
    (SSH, 22, "ssh"),
    (SSH, 2222, "ssh"),
    (SMTP, 25, "smtp"),
    (SMTP, 2525, "smtp"),
    (RDP, 3389, "rdp"),
    (RDP, 13389, "rdp"),
    (SMB, 445, "smb2"),
    (SMB, 4450, "smb2"),
]
"""Payload, the destination's port, and the name of the dissector."""


@pytest.mark.parametrize("proxy_port", [1080, 34565])
def test_payload_is_dissected(tmp_path: Path, proxy_port: int) -> None:
    """All in one capture, a connection each."""
    capture = Capture()
    for number, (payload, port, _) in enumerate(PAYLOADS):
        Tcp(capture, proxy_port, client_port=49800 + number).play(opened(port=port) + payload).close()
    path = capture.write(tmp_path / "payloads.pcap")
    fields = ("tcp.stream", "_ws.col.Protocol", "socks5.destination.host", "socks5.destination.port", "frame.protocols")
    found = [row for row in rows(path, "socks5", *fields) if row[1] != "SOCKS5"]
    seen = [(int(stream), host, int(port), protocols.split(":")) for stream, _, host, port, protocols in found]
    for number, (payload, port, protocol) in enumerate(PAYLOADS):
        mine = [(host, to) for stream, host, to, protocols in seen if stream == number and protocol in protocols]
        assert mine == [("www.example.test", port)] * len(payload), protocol
    assert "Malformed" not in tshark(path, "-V")


def test_direction_of_ssh_and_smtp(tmp_path: Path) -> None:
    ssh = info(made(tmp_path, opened(port=2222) + SSH), "ssh")
    assert [line.split(":")[0] for line in ssh] == ["SSH Server", "SSH Client"]
    assert rows(made(tmp_path, opened(port=2525) + SMTP), "smtp.req", "smtp.req.command") == [["EHLO"]]


def test_a_record_in_several_segments(tmp_path: Path) -> None:
    parts: list[Step] = [(CLIENT, HELLO[i : i + 100]) for i in range(0, len(HELLO), 100)]
    capture = made(tmp_path, opened(port=443) + parts)
    name = "tls.handshake.extensions_server_name"
    assert rows(capture, name, name) == [["secret.example.test"]]


def test_the_first_octets_come_with_the_reply(tmp_path: Path) -> None:
    steps = [*opened(port=22)[:3], (PROXY, GRANTED + SSH[0][1]), SSH[1]]
    capture = made(tmp_path, steps)
    assert len(rows(capture, "ssh.protocol", "frame.number")) == 2
    assert rows(capture, "socks5.reply.code && ssh", "socks5.reply.code") == [["0"]]


def test_everything_in_two_segments(tmp_path: Path) -> None:
    steps = [(CLIENT, GREETING + request("www.example.test", 80) + HTTP[0][1]), (PROXY, CHOICE + GRANTED + HTTP[1][1])]
    capture = made(tmp_path, steps)
    assert rows(capture, "http", "http.request.method", "http.response.code") == [["GET", ""], ["", "200"]]


def test_one_octet_a_segment(tmp_path: Path) -> None:
    capture = made(tmp_path, octet_by_octet(opened() + HTTP), 34565)
    assert rows(capture, "http", "http.request.method", "http.response.code") == [["GET", ""], ["", "200"]]


def test_nothing_after_a_failure_is_a_tunnel(tmp_path: Path) -> None:
    capture = made(tmp_path, [*opened()[:3], (PROXY, REFUSED), *HTTP])
    assert rows(capture, "http", "frame.number") == []
    assert [layer["type"] for layer in layers(capture)][-2:] == ["extra", "extra"]


def test_nothing_is_relayed_before_the_proxy_has_answered(tmp_path: Path) -> None:
    """On a port that nobody named, octets behind a greeting are claimed only when the answer fits."""
    steps = [(CLIENT, GREETING + request("www.example.test", 80) + HTTP[0][1]), (PROXY, b"HTTP/1.1 400 Bad\r\n\r\n")]
    capture = made(tmp_path, steps, 34565)
    assert rows(capture, "http && socks5", "frame.number") == []
    assert layers(capture, "-2") == []


def test_nesting_to_depth_eight(tmp_path: Path) -> None:
    steps: list[Step] = []
    for hop in range(8):
        steps += opened(f"hop{hop}.test", 1080)
    capture = made(tmp_path, steps + HTTP)
    seen = layers(capture)
    requests = [(layer["depth"] or "0", layer["destination.host"]) for layer in seen if layer["type"] == "request"]
    assert requests == [(str(hop), f"hop{hop}.test") for hop in range(8)]
    tunnelled = rows(capture, "http", "socks5.destination.host", "http.request.method")
    assert tunnelled[0] == [",".join(f"hop{hop}.test" for hop in range(8)), "GET"]


def test_follow_and_export(tmp_path: Path) -> None:
    capture = made(tmp_path, opened() + HTTP)
    assert BODY.decode() in tshark(capture, "-q", "-z", "follow,http,ascii,0")
    tshark(capture, "-q", "--export-objects", f"http,{tmp_path / 'objects'}")
    assert [path.read_bytes() for path in (tmp_path / "objects").iterdir()] == [BODY]


def test_streams_are_numbered_as_without_us(tmp_path: Path) -> None:
    capture = Capture()
    for index in range(5):
        Tcp(capture, client_port=49900 + index).play(
            opened(port=22 if index % 2 else 80) + (SSH if index % 2 else HTTP)
        )
    path = capture.write(tmp_path / "streams.pcap")
    assert {row[0] for row in rows(path, "tcp", "tcp.stream")} == {"0", "1", "2", "3", "4"}


def test_the_layer_is_there_for_the_protocol_hierarchy(tmp_path: Path) -> None:
    capture = made(tmp_path, opened() + HTTP)
    lines = tshark(capture, "-q", "-z", "io,phs").splitlines()
    assert any(line.split()[:2] == ["socks5", "frames:6"] for line in lines)


def test_decode_as_and_preferences(tmp_path: Path) -> None:
    capture = made(tmp_path, [(CLIENT, GREETING)], 7777)
    assert len(layers(capture, "-d", "tcp.port==7777,socks5")) == 1
    assert len(layers(capture, "-o", "socks5.ports:7000-8000")) == 1
    foreign = made(tmp_path, opened(), 34565)
    assert layers(foreign, "-o", "socks5.heuristic:FALSE") == []
    assert len(layers(foreign)) == 4
    tunnelled = made(tmp_path, opened() + HTTP)
    assert rows(tunnelled, "http", "frame.number", options=("-o", "socks5.payload:FALSE")) == []


def test_passwords_are_hidden_until_asked_for(tmp_path: Path) -> None:
    steps = [(CLIENT, b"\x05\x01\x02"), (PROXY, b"\x05\x02"), (CLIENT, b"\x01\x05alice\x06secret")]
    capture = made(tmp_path, steps)
    assert rows(capture, "socks5.password", "socks5.password") == [["********"]]
    shown = ("-o", "socks5.show_passwords:TRUE")
    assert rows(capture, "socks5.password", "socks5.password", options=shown) == [["secret"]]


def test_info_column_without_a_tree(tmp_path: Path) -> None:
    capture = made(tmp_path, opened("example.com", 443))
    assert [line for line in tshark(capture).splitlines() if "SOCKS5" in line][2].endswith(
        "Request: CONNECT example.com:443"
    )
    assert info(capture)[2:] == ["SOCKS5 Request: CONNECT example.com:443", "SOCKS5 Reply: succeeded (example.com:443)"]


def test_another_protocol_on_a_proxy_port(tmp_path: Path) -> None:
    capture = made(tmp_path, [(CLIENT, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")])
    assert layers(capture) == []
    assert rows(capture, "http", "_ws.expert.message")[0][0].startswith("HTTP on a SOCKS port")


def test_info_says_how_deep_a_conversation_lies(tmp_path: Path) -> None:
    capture = made(tmp_path, opened("next.test", 1080) + opened())
    assert info(capture)[-2:] == [
        "SOCKS5 SOCKS 2: Request: CONNECT www.example.test:80",
        "SOCKS5 SOCKS 2: Reply: succeeded (www.example.test:80)",
    ]


def test_text_that_would_turn_a_line_is_escaped(tmp_path: Path) -> None:
    name = "a\u202egpj.exe\u2066\u200b\x85.test"
    steps = [(CLIENT, GREETING), (PROXY, CHOICE), (CLIENT, request(name.encode(), 80)), (PROXY, GRANTED)]
    capture = made(tmp_path, steps)
    shown = r"a\u202egpj.exe\u2066\u200b\x85.test"
    assert info(capture)[2] == f"SOCKS5 Request: CONNECT {shown}:80"
    assert shown in tshark(capture, "-q", "-z", "socks5,conversations")


def test_every_frame_names_the_conversation(tmp_path: Path) -> None:
    capture = made(tmp_path, opened() + HTTP)
    found = rows(capture, "socks5.stream == 1", "socks5.outcome", "socks5.destination.host", options=("-2",))
    assert found == [["1", "www.example.test"]] * 6
    assert len(rows(capture, 'socks5.type == "request"', "frame.number")) == 1


PROXY_1 = b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 1080\r\n"
PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes.fromhex("cb007105c0000201c7380438")


@pytest.mark.parametrize("port", [1080, 34565])
@pytest.mark.parametrize("header", [PROXY_1, PROXY_2], ids=["version 1", "version 2"])
@pytest.mark.parametrize("together", [True, False], ids=["with the greeting", "alone"])
def test_a_proxy_header_comes_first(tmp_path: Path, header: bytes, port: int, together: bool) -> None:
    start: list[Step] = [(CLIENT, header + GREETING)] if together else [(CLIENT, header), (CLIENT, GREETING)]
    capture = made(tmp_path, start + opened()[1:] + HTTP, port)
    seen = layers(capture)
    assert [layer["type"] for layer in seen if layer["type"] != "proxy-protocol"][:4] == [
        "greeting",
        "method-selection",
        "request",
        "reply",
    ]
    assert [layer.anomalies for layer in seen if layer.anomalies] == [["proxy-protocol"]]
    assert rows(capture, "socks5.anomaly", "_ws.expert.message")[0][0].endswith("names 203.0.113.5:51000")
    assert len(rows(capture, "http", "frame.number")) == 2


def test_a_proxy_header_before_another_protocol_is_left_alone(tmp_path: Path) -> None:
    capture = made(tmp_path, [(CLIENT, PROXY_1), *HTTP], 34565)
    assert layers(capture) == []
    assert len(rows(capture, "http", "frame.number")) == 2


SOCKS4 = {
    "reply of version 4": (b"\xc6\x33\x64\x07\0", b"\x04\x5a\x00\x50\xc6\x33\x64\x07", "SOCKS4 198.51.100.7:80"),
    "two NULs": (b"\0\0\0\x01\0\0www.example.test\0", b"\0\x5a" + bytes(6), "SOCKS4A :80"),
    "no NUL": (b"\xc6\x33\x64\x07", b"\0\x5a" + bytes(6), "SOCKS4 198.51.100.7:80"),
    "a name that never comes": (b"\0\0\0\x01bob\0", b"\0\x5b" + bytes(6), "SOCKS4A -"),
}
"""What follows the destination's port; the reply; what the table says."""


@pytest.mark.parametrize(
    ("port", "case"),
    # On a port that nobody named a name that never comes is waited for: wireshark/README.md.
    [(port, case) for port in (1080, 34565) for case in SOCKS4 if (port, case) != (34565, "a name that never comes")],
)
def test_socks4_as_programs_send_it(tmp_path: Path, port: int, case: str) -> None:
    rest, answer, expected = SOCKS4[case]
    asked = b"\x04\x01\x00\x50" + rest
    capture = made(tmp_path, [(CLIENT, asked), (PROXY, answer)], port)
    row = tshark(capture, "-q", "-z", "socks5,conversations").splitlines()[1].split()
    protocol, target = expected.split()
    assert (row[1], row[5]) == (protocol, target)
    assert row[6].rstrip(":") == ("rejected" if answer[1] == 0x5B else "succeeded")


def test_ports_given_back(tmp_path: Path) -> None:
    """1080 belongs to the built-in dissector again when the preference does not list it."""
    capture = made(tmp_path, [(CLIENT, GREETING)], 1080)
    elsewhere = ("-o", "socks5.ports:7777", "-o", "socks5.heuristic:FALSE")
    assert rows(capture, "socks", "frame.number", options=elsewhere) != []
    assert rows(capture, "socks", "frame.number") == []
