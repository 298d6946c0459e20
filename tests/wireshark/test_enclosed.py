"""The inside of GSSAPI tokens that can be read, in the order and the pieces in which a proxy seldom has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from socks5sniff.dissector.verify import verify
from tests.session.scripts import BIND, after_choice, segments
from tests.session.test_enclosed import OPENED, REFUSAL, REPLY, REQUEST, said

from .payloads import HTTP, client_hello
from .run import layers, require_tshark, rows
from .scenario import CHOICE, CLIENT, GRANTED, GREETING, PROXY, REFUSED, Capture, Step, Tcp, opened, request

GET, ANSWER = (octets for _, octets in HTTP)
HELLO = client_hello()
BIND_REQUEST, FIRST, SECOND = (octets for _, octets in segments(after_choice(BIND)))
ASKED, ANSWERED = said(CLIENT, REQUEST), said(PROXY, REPLY)
PASSES = pytest.mark.parametrize("options", [(), ("-2",)], ids=["one pass", "two passes"])
DIALOGUE = 10
"""The number of the first packet behind TCP's handshake, the greeting, the choice and four tokens."""


def made(folder: Path, steps: list[Step]) -> Path:
    capture = Capture()
    Tcp(capture).play(steps).close()
    return capture.write(folder / "enclosed.pcap")


def inside(folder: Path, steps: list[Step], *options: str) -> list[tuple[int, str, list[str]]]:
    """Packet (from 0 behind the handshake's), type and anomalies of what tokens enclose."""
    return [
        (layer.frame - DIALOGUE, layer["type"], layer.anomalies)
        for layer in layers(made(folder, [*OPENED, *steps]), *options)
        if layer.frame >= DIALOGUE and (layer["type"] != "gssapi" or layer.anomalies)
    ]


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ([ASKED, said(CLIENT, GET), ANSWERED, said(PROXY, ANSWER)], 1),
        ([ASKED, said(CLIENT, b"\x17one"), said(CLIENT, b"two"), ANSWERED], 1),
        ([said(CLIENT, REQUEST + GET), ANSWERED, said(CLIENT, GET)], 0),
        ([ASKED, said(CLIENT, GET), said(PROXY, REFUSAL)], 1),
        ([said(CLIENT, BIND_REQUEST), said(PROXY, FIRST), said(CLIENT, GET), said(PROXY, SECOND)], 2),
    ],
    ids=["before the reply", "twice", "with the request", "before a refusal", "between two replies"],
)
@PASSES
def test_early_data(tmp_path: Path, steps: list[Step], place: int, options: tuple[str, ...]) -> None:
    seen = inside(tmp_path, steps, *options)
    assert [(at, kind) for at, kind, anomalies in seen if "early-data" in anomalies] == [(place, "tunnel")]
    assert verify(str(tmp_path / "enclosed.pcap")).differences == []


@pytest.mark.parametrize(
    "steps",
    [
        [ASKED, said(CLIENT, HELLO[:50]), ANSWERED, said(CLIENT, HELLO[50:])],
        [said(CLIENT, REQUEST + HELLO[:50]), ANSWERED, said(CLIENT, HELLO[50:])],
        [ASKED, said(PROXY, REPLY + ANSWER[:9]), said(PROXY, ANSWER[9:70]), said(PROXY, ANSWER[70:])],
        [ASKED, said(PROXY, REPLY + b"HTT"), said(PROXY, b"P/1.1 200 OK\r\n\r\n")],
        [ASKED, said(CLIENT, GET[:20], GET[20:30]), ANSWERED, said(CLIENT, GET[30:])],
    ],
    ids=["TLS", "TLS with the request", "HTTP with the reply", "too little to tell", "two tokens in a segment"],
)
@PASSES
def test_tcp_is_not_asked_for_more_of_the_payload(tmp_path: Path, steps: list[Step], options: tuple[str, ...]) -> None:
    """Each packet is dissected once, with the layers of its own tokens."""
    seen = inside(tmp_path, steps, *options)
    assert sorted({at for at, _, _ in seen}) == list(range(len(steps)))
    assert [kind for _, kind, _ in seen if kind not in ("gssapi", "tunnel")] == ["request", "reply"]
    assert {code for _, _, anomalies in seen for code in anomalies} <= {"early-data", "pipelined-frames"}
    assert verify(str(tmp_path / "enclosed.pcap")).differences == []


def test_a_token_in_two_segments_is_still_asked_for(tmp_path: Path) -> None:
    (_, token), (_, last) = said(CLIENT, HELLO[:50]), said(CLIENT, HELLO[50:])
    steps = [ASKED, ANSWERED, (CLIENT, token + last[:30]), (CLIENT, last[30:])]
    seen = [(at, kind) for at, kind, _ in inside(tmp_path, steps) if kind == "tunnel"]
    assert seen == [(2, "tunnel"), (3, "tunnel")]
    assert rows(tmp_path / "enclosed.pcap", "socks5.gssapi.length == 78", "frame.number") == [[str(DIALOGUE + 2)]]


def test_a_conversation_inside_whose_frame_lies_in_two_tokens(tmp_path: Path) -> None:
    """It is read where its last octets are."""
    steps = [said(side, octets) for side, octets in opened()]
    side, octets = opened()[2]
    seen = inside(tmp_path, [ASKED, ANSWERED, *steps[:2], said(side, octets[:9]), said(side, octets[9:]), steps[3]])
    assert [(at, kind, anomalies) for at, kind, anomalies in seen if kind not in ("tunnel", "")] == [
        (0, "request", []),
        (1, "reply", []),
        (2, "greeting", []),
        (3, "method-selection", []),
        (5, "request", ["split-frame"]),
        (6, "reply", []),
    ]


BEFORE = ["reply-before-request"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            [ANSWERED, ASKED, said(CLIENT, GET), said(PROXY, ANSWER)],
            [(0, "reply", []), (1, "request", BEFORE), (2, "tunnel", []), (3, "tunnel", [])],
        ),
        (
            [said(PROXY, REPLY[:3]), said(PROXY, REPLY[3:]), ASKED],
            [(1, "reply", ["split-frame"]), (2, "request", BEFORE)],
        ),
        (
            [said(PROXY, REPLY + b"220 hello\r\n"), ASKED],
            [(0, "reply", []), (0, "tunnel", []), (1, "request", BEFORE)],
        ),
        ([said(PROXY, REFUSAL), ASKED], [(0, "reply", []), (1, "request", BEFORE)]),
        (
            [said(PROXY, FIRST), said(CLIENT, BIND_REQUEST), said(PROXY, SECOND)],
            [(0, "reply", []), (1, "request", BEFORE), (2, "reply", [])],
        ),
    ],
    ids=["connect", "in two tokens", "with the tunnel's first octets", "refused", "bind"],
)
@PASSES
def test_a_reply_before_its_request(
    tmp_path: Path, steps: list[Step], expected: list[tuple[int, str, list[str]]], options: tuple[str, ...]
) -> None:
    assert inside(tmp_path, steps, *options) == expected
    assert verify(str(tmp_path / "enclosed.pcap")).differences == []


@pytest.mark.parametrize("reply", [GRANTED, GRANTED + ANSWER, REFUSED], ids=["granted", "with data", "refused"])
def test_a_reply_before_its_request_in_clear(tmp_path: Path, reply: bytes) -> None:
    require_tshark()
    asked = request("www.example.test", 80)
    steps = [(CLIENT, GREETING), (PROXY, CHOICE), (PROXY, reply), (CLIENT, asked), (CLIENT, GET), (PROXY, ANSWER)]
    assert verify(str(made(tmp_path, steps))).differences == []
