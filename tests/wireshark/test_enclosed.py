"""The inside of GSSAPI tokens that can be read, in the order and the pieces in which a proxy seldom has it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from socks5sniff.dissector.verify import Difference, verify
from tests.session.scripts import BIND, after_choice, segments
from tests.session.test_enclosed import OPENED, REFUSAL, REPLY, REQUEST, said

from .payloads import HTTP, client_hello
from .run import Layer, layers, require_tshark, rows
from .scenario import CHOICE, CLIENT, GRANTED, GREETING, PROXY, REFUSED, Capture, Step, Tcp, opened, request

GET, ANSWER = (octets for _, octets in HTTP)
HELLO = client_hello()
BIND_REQUEST, FIRST, SECOND = (octets for _, octets in segments(after_choice(BIND)))
ASKED, ANSWERED = said(CLIENT, REQUEST), said(PROXY, REPLY)
PASSES = pytest.mark.parametrize("options", [(), ("-2",)], ids=["one pass", "two passes"])
DIALOGUE = 10
"""The number of the first packet behind TCP's handshake, the greeting, the choice and four tokens."""
BEFORE = ["reply-before-request"]

EARLY: dict[str, tuple[list[Step], int]] = {
    "before the reply": ([ASKED, said(CLIENT, GET), ANSWERED, said(PROXY, ANSWER)], 1),
    "twice": ([ASKED, said(CLIENT, b"\x17one"), said(CLIENT, b"two"), ANSWERED], 1),
    "with the request": ([said(CLIENT, REQUEST + GET), ANSWERED, said(CLIENT, GET)], 0),
    "before a refusal": ([ASKED, said(CLIENT, GET), said(PROXY, REFUSAL)], 1),
    "between two replies": (
        [said(CLIENT, BIND_REQUEST), said(PROXY, FIRST), said(CLIENT, GET), said(PROXY, SECOND)],
        2,
    ),
}
"""Dialogues, and the packet that has early data."""

PAYLOADS: dict[str, list[Step]] = {
    "TLS": [ASKED, said(CLIENT, HELLO[:50]), ANSWERED, said(CLIENT, HELLO[50:])],
    "TLS with the request": [said(CLIENT, REQUEST + HELLO[:50]), ANSWERED, said(CLIENT, HELLO[50:])],
    "HTTP with the reply": [
        ASKED,
        said(PROXY, REPLY + ANSWER[:9]),
        said(PROXY, ANSWER[9:70]),
        said(PROXY, ANSWER[70:]),
    ],
    "too little to tell": [ASKED, said(PROXY, REPLY + b"HTT"), said(PROXY, b"P/1.1 200 OK\r\n\r\n")],
    "two tokens in a segment": [ASKED, said(CLIENT, GET[:20], GET[20:30]), ANSWERED, said(CLIENT, GET[30:])],
}

REPLY_FIRST: dict[str, tuple[list[Step], list[tuple[int, str, list[str]]]]] = {
    "connect": (
        [ANSWERED, ASKED, said(CLIENT, GET), said(PROXY, ANSWER)],
        [(0, "reply", []), (1, "request", BEFORE), (2, "tunnel", []), (3, "tunnel", [])],
    ),
    "in two tokens": (
        [said(PROXY, REPLY[:3]), said(PROXY, REPLY[3:]), ASKED],
        [(1, "reply", ["split-frame"]), (2, "request", BEFORE)],
    ),
    "with the tunnel's first octets": (
        [said(PROXY, REPLY + b"220 hello\r\n"), ASKED],
        [(0, "reply", []), (0, "tunnel", []), (1, "request", BEFORE)],
    ),
    "refused": ([said(PROXY, REFUSAL), ASKED], [(0, "reply", []), (1, "request", BEFORE)]),
    "bind": (
        [said(PROXY, FIRST), said(CLIENT, BIND_REQUEST), said(PROXY, SECOND)],
        [(0, "reply", []), (1, "request", BEFORE), (2, "reply", [])],
    ),
}
"""Dialogues, and all that is inside."""

DIALOGUES = {
    **{name: steps for name, (steps, _) in EARLY.items()},
    **PAYLOADS,
    **{name: steps for name, (steps, _) in REPLY_FIRST.items()},
}


def made(folder: Path, steps: list[Step]) -> Path:
    capture = Capture()
    Tcp(capture).play(steps).close()
    return capture.write(folder / "enclosed.pcap")


Inside = list[tuple[int, str, list[str]]]
"""Packet (from 0 behind the handshake's), type and anomalies of what tokens enclose."""


def inside(seen: list[Layer], first: int = 1) -> Inside:
    """Of one conversation, whose first packet has this number."""
    begin = first - 1 + DIALOGUE
    return [
        (layer.frame - begin, layer["type"], layer.anomalies)
        for layer in seen
        if layer.frame >= begin and (layer["type"] != "gssapi" or layer.anomalies)
    ]


class Read(NamedTuple):
    """All dialogues as connections of one capture, which is dissected once in each way."""

    inside: dict[tuple[str, tuple[str, ...]], Inside]
    differences: list[Difference]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    capture, first = Capture(), []
    for number, steps in enumerate(DIALOGUES.values()):
        first.append(len(capture.packets) + 1)
        Tcp(capture, client_port=49800 + number).play([*OPENED, *steps]).close()
    path = capture.write(tmp_path_factory.mktemp("enclosed") / "all.pcap")
    found = {}
    for options in ((), ("-2",)):
        seen = layers(path, *options)
        for number, name in enumerate(DIALOGUES):
            found[name, options] = inside([layer for layer in seen if layer.stream == number], first[number])
    return Read(found, verify(str(path)).differences)


@pytest.mark.parametrize("name", EARLY)
@PASSES
def test_early_data(read: Read, name: str, options: tuple[str, ...]) -> None:
    seen = read.inside[name, options]
    assert [(at, kind) for at, kind, anomalies in seen if "early-data" in anomalies] == [(EARLY[name][1], "tunnel")]


@pytest.mark.parametrize("name", PAYLOADS)
@PASSES
def test_tcp_is_not_asked_for_more_of_the_payload(read: Read, name: str, options: tuple[str, ...]) -> None:
    """Each packet is dissected once, with the layers of its own tokens."""
    seen = read.inside[name, options]
    assert sorted({at for at, _, _ in seen}) == list(range(len(PAYLOADS[name])))
    assert [kind for _, kind, _ in seen if kind not in ("gssapi", "tunnel")] == ["request", "reply"]
    assert {code for _, _, anomalies in seen for code in anomalies} <= {"early-data", "pipelined-frames"}


@pytest.mark.parametrize("name", REPLY_FIRST)
@PASSES
def test_a_reply_before_its_request(read: Read, name: str, options: tuple[str, ...]) -> None:
    assert read.inside[name, options] == REPLY_FIRST[name][1]


def test_lua_and_python_agree(read: Read) -> None:
    assert read.differences == []


def test_a_token_in_two_segments_is_still_asked_for(tmp_path: Path) -> None:
    (_, token), (_, last) = said(CLIENT, HELLO[:50]), said(CLIENT, HELLO[50:])
    steps = [ASKED, ANSWERED, (CLIENT, token + last[:30]), (CLIENT, last[30:])]
    seen = [(at, kind) for at, kind, _ in inside(layers(made(tmp_path, [*OPENED, *steps]))) if kind == "tunnel"]
    assert seen == [(2, "tunnel"), (3, "tunnel")]
    assert rows(tmp_path / "enclosed.pcap", "socks5.gssapi.length == 78", "frame.number") == [[str(DIALOGUE + 2)]]


def test_a_conversation_inside_whose_frame_lies_in_two_tokens(tmp_path: Path) -> None:
    """It is read where its last octets are."""
    steps = [said(side, octets) for side, octets in opened()]
    side, octets = opened()[2]
    dialogue = [ASKED, ANSWERED, *steps[:2], said(side, octets[:9]), said(side, octets[9:]), steps[3]]
    seen = inside(layers(made(tmp_path, [*OPENED, *dialogue])))
    assert [(at, kind, anomalies) for at, kind, anomalies in seen if kind not in ("tunnel", "")] == [
        (0, "request", []),
        (1, "reply", []),
        (2, "greeting", []),
        (3, "method-selection", []),
        (5, "request", ["split-frame"]),
        (6, "reply", []),
    ]


def test_a_reply_before_its_request_in_clear(tmp_path: Path) -> None:
    require_tshark()
    capture = Capture()
    asked = request("www.example.test", 80)
    for number, reply in enumerate((GRANTED, GRANTED + ANSWER, REFUSED)):
        steps = [(CLIENT, GREETING), (PROXY, CHOICE), (PROXY, reply), (CLIENT, asked), (CLIENT, GET), (PROXY, ANSWER)]
        Tcp(capture, client_port=49800 + number).play(steps).close()
    found = verify(str(capture.write(tmp_path / "clear.pcap")))
    assert (found.conversations, found.differences) == (3, [])
