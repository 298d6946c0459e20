"""What the dissector shows of handshakes: one capture with a connection for each scenario, dissected once."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from .run import Layer, layers
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

AUTH_GREETING = b"\x05\x02\x00\x02"
AUTH_CHOICE = b"\x05\x02"
LOGIN = b"\x01\x05alice\x06secret"
LOGIN_OK = b"\x01\x00"
CONNECT = request("www.example.test", 80)
DATA = b"\x17some octets of no protocol"


def reply(code: int, host: str = "192.0.2.1", port: int = 1080) -> bytes:
    return bytes((5, code, 0)) + request(host, port)[3:]


def socks4(command: int, port: int, address: str, user: bytes = b"", name: bytes | None = None) -> bytes:
    head = struct.pack(">BBH", 4, command, port) + bytes(map(int, address.split("."))) + user + b"\0"
    return head if name is None else head + name + b"\0"


def reply4(code: int) -> bytes:
    return struct.pack(">BBH", 0, code, 0) + bytes(4)


def gssapi(kind: int, token: bytes) -> bytes:
    return struct.pack(">BBH", 1, kind, len(token)) + token


def wrapped(plain: bytes, sealed: bool = False, rotation: int = 0) -> bytes:
    """An RFC 4121 wrap token with a checksum of twelve octets."""
    body = plain + bytes(range(12))
    turn = rotation % len(body)
    body = body[-turn:] + body[:-turn] if turn else body
    return b"\x05\x04" + bytes((2 if sealed else 0, 0xFF)) + struct.pack(">HHQ", 12, rotation, 1) + body


GSSAPI_OPENED: list[Step] = [
    (CLIENT, b"\x05\x01\x01"),
    (PROXY, b"\x05\x01"),
    (CLIENT, gssapi(1, b"first token")),
    (PROXY, gssapi(1, b"answer")),
]


class Scenario(NamedTuple):
    """Steps on a port, and the layers expected: a type each, then fields as name=value."""

    steps: list[Step]
    expected: list[str]
    port: int = 1080


def after_choice(*steps: Step) -> list[Step]:
    return [(CLIENT, GREETING), (PROXY, CHOICE), *steps]


START = ["greeting methods=0x00", "method-selection method=0x00"]
HOST = "destination.host=www.example.test destination.port=80"
NAMED = f"request command=0x01 destination.type=3 {HOST} destination.domain=www.example.test"
OK = "reply reply.code=0 bound.host=203.0.113.1 bound.ipv4=203.0.113.1 bound.port=40001"

SCENARIOS: dict[str, Scenario] = {
    "connect to a name": Scenario(opened(), [*START, NAMED, OK]),
    "any port": Scenario(opened(), [*START, NAMED, OK], port=34565),
    "port 9050": Scenario(opened(), [*START, NAMED, OK], port=9050),
    "connect to an IPv4 address": Scenario(
        opened("198.51.100.7", 443),
        [*START, "request destination.type=1 destination.host=198.51.100.7 destination.ipv4=198.51.100.7", OK],
    ),
    "connect to an IPv6 address": Scenario(
        opened("2001:db8:0:0:1::7", 443),
        [
            *START,
            "request destination.type=4 destination.host=2001:db8::1:0:0:7 destination.ipv6=2001:db8::1:0:0:7",
            OK,
        ],
    ),
    "an IPv4-mapped address": Scenario(
        opened("::ffff:192.0.2.9", 1), [*START, "request destination.host=::ffff:192.0.2.9", OK]
    ),
    "a name in UTF-8": Scenario(
        opened("bücher.example", 80), [*START, "request destination.host=bücher.example anomaly=domain-not-ascii", OK]
    ),
    "a name that is not UTF-8": Scenario(
        after_choice((CLIENT, request(b"b\xfccher\xc0\xaf", 80))),
        [*START, r"request destination.host=b\xfccher\xc0\xaf anomaly=domain-not-ascii"],
    ),
    "a name with NUL and escape": Scenario(
        after_choice((CLIENT, request(b"a\0b\x1b[31m", 80))),
        [*START, r"request destination.host=a\x00b\x1b[31m anomaly=domain-has-nul"],
    ),
    "a name that is an address": Scenario(
        after_choice((CLIENT, request(b"198.51.100.7", 80))), [*START, "request anomaly=domain-is-ip-literal"]
    ),
    "a name that is an IPv6 address": Scenario(
        after_choice((CLIENT, request(b"[2001:db8::7]", 80))), [*START, "request anomaly=domain-is-ip-literal"]
    ),
    "an empty name": Scenario(
        after_choice((CLIENT, request(b"", 80))), [*START, "request destination.length=0 anomaly=empty-domain"]
    ),
    "port zero": Scenario(opened("www.example.test", 0), [*START, "request anomaly=zero-port", OK]),
    "refused": Scenario(after_choice((CLIENT, CONNECT), (PROXY, REFUSED)), [*START, NAMED, "reply reply.code=5"]),
    "Tor's extended error": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, reply(0xF0))), [*START, NAMED, "reply reply.code=240"]
    ),
    "an unassigned reply": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, reply(0x33))), [*START, NAMED, "reply anomaly=unknown-reply"]
    ),
    "a reply with a name": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, reply(0, "gate.test"))), [*START, NAMED, "reply bound.domain=gate.test"]
    ),
    "a reply with an IPv6 address": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, reply(0, "2001:db8::1"))),
        [*START, NAMED, "reply bound.ipv6=2001:db8::1"],
    ),
    "a reserved octet in the reply": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, b"\x05\0\x07" + reply(0)[3:])),
        [*START, NAMED, "reply reserved=0x07 anomaly=reserved-nonzero"],
    ),
    "a reserved octet in the request": Scenario(
        after_choice((CLIENT, b"\x05\x01\x09" + CONNECT[3:])), [*START, "request anomaly=reserved-nonzero"]
    ),
    "an unknown command": Scenario(
        after_choice((CLIENT, request("a.test", 80, 0x99)), (PROXY, reply(7))),
        [*START, "request command=0x99 anomaly=unknown-command", "reply reply.code=7"],
    ),
    "an unknown address type": Scenario(
        after_choice((CLIENT, b"\x05\x01\x00\x07abcdef"), (PROXY, reply(8))),
        [
            *START,
            "request command=0x01 destination.type=7 anomaly=unknown-address-type",
            "reply reply.code=8 outcome=2",
        ],
    ),
    "data after a failure": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, REFUSED), (PROXY, DATA), (PROXY, DATA)),
        [*START, NAMED, "reply", "extra anomaly=data-after-failure", "extra"],
    ),
    "user name and password": Scenario(
        [
            (CLIENT, AUTH_GREETING),
            (PROXY, AUTH_CHOICE),
            (CLIENT, LOGIN),
            (PROXY, LOGIN_OK),
            (CLIENT, CONNECT),
            (PROXY, GRANTED),
        ],
        [
            "greeting methods.count=2",
            "method-selection method=0x02",
            "auth-request username=alice password=******** anomaly=cleartext-credentials",
            "auth-reply auth.status=0x00 authenticated=1",
            NAMED,
            OK,
        ],
    ),
    "a refused password": Scenario(
        [(CLIENT, AUTH_GREETING), (PROXY, AUTH_CHOICE), (CLIENT, LOGIN), (PROXY, b"\x01\x01")],
        ["greeting", "method-selection", "auth-request", "auth-reply authenticated=0 anomaly=auth-failed"],
    ),
    "a proxy that answers version 5": Scenario(
        [(CLIENT, AUTH_GREETING), (PROXY, AUTH_CHOICE), (CLIENT, LOGIN), (PROXY, b"\x05\x00"), (CLIENT, CONNECT)],
        ["greeting", "method-selection", "auth-request", "auth-reply authenticated=1 anomaly=auth-version", NAMED],
    ),
    "empty credentials": Scenario(
        [(CLIENT, AUTH_GREETING), (PROXY, AUTH_CHOICE), (CLIENT, b"\x01\x00\x00"), (PROXY, LOGIN_OK)],
        ["greeting", "method-selection", "auth-request username.length=0 anomaly=empty-credential", "auth-reply"],
    ),
    "a user name in UTF-8": Scenario(
        [(CLIENT, AUTH_GREETING), (PROXY, AUTH_CHOICE), (CLIENT, b"\x01\x05" + "jürg".encode() + b"\x01x")],
        ["greeting", "method-selection", "auth-request username=jürg"],
    ),
    "a password of 255 octets": Scenario(
        [
            (CLIENT, AUTH_GREETING),
            (PROXY, AUTH_CHOICE),
            (CLIENT, b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255),
            (PROXY, LOGIN_OK),
        ],
        ["greeting", "method-selection", "auth-request password.length=255", "auth-reply"],
    ),
    "all methods refused": Scenario(
        [(CLIENT, GREETING), (PROXY, b"\x05\xff")],
        ["greeting", "method-selection method=0xff anomaly=no-acceptable-method"],
    ),
    "a long refusal": Scenario(
        [(CLIENT, GREETING), (PROXY, b"\x05\xff" + bytes(8))],
        ["greeting", "method-selection", "extra anomaly=refusal-too-long"],
    ),
    "a method that was not offered": Scenario(
        [(CLIENT, GREETING), (PROXY, b"\x05\x02"), (CLIENT, LOGIN)],
        ["greeting", "method-selection anomaly=method-not-offered", "auth-request username=alice"],
    ),
    "no methods": Scenario(
        [(CLIENT, b"\x05\x00"), (PROXY, b"\x05\xff")],
        ["greeting methods.count=0 anomaly=no-methods-offered", "method-selection"],
    ),
    "a method twice": Scenario(
        [(CLIENT, b"\x05\x02\x00\x00"), (PROXY, CHOICE)], ["greeting anomaly=duplicate-methods", "method-selection"]
    ),
    "a private method": Scenario(
        [(CLIENT, b"\x05\x01\x80"), (PROXY, b"\x05\x80"), (CLIENT, b"\x16\x03\x01 as good as TLS"), (CLIENT, CONNECT)],
        ["greeting methods=0x80", "method-selection method=0x80", "opaque", NAMED],
    ),
    "every method": Scenario(
        [(CLIENT, b"\x05\xfe" + bytes(range(254))), (PROXY, CHOICE)], ["greeting methods.count=254", "method-selection"]
    ),
    "a greeting of another version": Scenario(
        [(CLIENT, GREETING), (PROXY, b"\x04\x00"), (CLIENT, CONNECT)],
        ["greeting", "method-selection version=4 anomaly=bad-version", NAMED],
    ),
    "HTTP in place of the request": Scenario(
        after_choice((CLIENT, b"GET / HTTP/1.1\r\n\r\n")), [*START, "lost anomaly=bad-version"]
    ),
    "BIND": Scenario(
        after_choice(
            (CLIENT, request("198.51.100.21", 0, 2)),
            (PROXY, reply(0)),
            (PROXY, reply(0, "198.51.100.21", 2020)),
            (PROXY, DATA),
        ),
        [
            *START,
            "request command=0x02",
            "reply bound.host=192.0.2.1",
            "reply peer.host=198.51.100.21 peer.port=2020 peer.ipv4=198.51.100.21 reply.peer=1",
            "tunnel",
        ],
    ),
    "BIND, both replies in one segment": Scenario(
        after_choice((CLIENT, request("198.51.100.21", 0, 2)), (PROXY, reply(0) + reply(0, "198.51.100.21", 2020))),
        [*START, "request", "reply bound.host=192.0.2.1", "reply peer.host=198.51.100.21 anomaly=pipelined-frames"],
    ),
    "RESOLVE": Scenario(
        after_choice((CLIENT, request("www.example.test", 0, 0xF0)), (PROXY, reply(0, "198.51.100.80", 0))),
        [*START, "request command=0xf0", "reply bound.host=198.51.100.80"],
    ),
    "RESOLVE_PTR": Scenario(
        after_choice((CLIENT, request("198.51.100.80", 0, 0xF1)), (PROXY, reply(0, "www.example.test", 0))),
        [*START, "request command=0xf1", "reply bound.host=www.example.test"],
    ),
    "SOCKS4": Scenario(
        [(CLIENT, socks4(1, 80, "198.51.100.7", b"bob")), (PROXY, reply4(90)), (CLIENT, DATA)],
        [
            "request version=4 command=0x01 destination.host=198.51.100.7 destination.port=80 username=bob",
            "reply version=0 reply.code=90",
            "tunnel destination.host=198.51.100.7",
        ],
    ),
    "SOCKS4 on any port": Scenario(
        [(CLIENT, socks4(1, 80, "198.51.100.7")), (PROXY, reply4(90))],
        ["request version=4", "reply reply.code=90"],
        port=34566,
    ),
    "SOCKS4A": Scenario(
        [(CLIENT, socks4(1, 80, "0.0.0.1", b"bob", b"www.example.test")), (PROXY, reply4(91))],
        ["request destination.type=3 destination.host=www.example.test destination.port=80", "reply reply.code=91"],
    ),
    "SOCKS4 without ident": Scenario(
        [(CLIENT, socks4(1, 80, "198.51.100.7")), (PROXY, reply4(92))], ["request", "reply reply.code=92"]
    ),
    "SOCKS4 BIND": Scenario(
        [(CLIENT, socks4(2, 20, "198.51.100.7")), (PROXY, reply4(90)), (PROXY, reply4(90))],
        ["request command=0x02", "reply", "reply reply.peer=1"],
    ),
    "SOCKS4 RESOLVE": Scenario(
        [(CLIENT, socks4(0xF0, 0, "0.0.0.1", b"", b"www.example.test")), (PROXY, reply4(90))],
        ["request command=0xf0", "reply"],
    ),
    "SOCKS4 octet by octet": Scenario(
        octet_by_octet([(CLIENT, socks4(1, 80, "0.0.0.1", b"bob", b"a.test")), (PROXY, reply4(90))]),
        ["request destination.host=a.test anomaly=split-frame", "reply reply.code=90"],
    ),
    "octet by octet": Scenario(octet_by_octet(opened()), [*START, NAMED + " anomaly=split-frame", OK]),
    "octet by octet on any port": Scenario(octet_by_octet(opened()), [*START, NAMED, OK], port=34567),
    "greeting and request in one segment": Scenario(
        [(CLIENT, GREETING + CONNECT), (PROXY, CHOICE + GRANTED)],
        ["greeting", NAMED + " anomaly=pipelined-frames", "method-selection", OK + " anomaly=pipelined-frames"],
    ),
    "everything of the client at once": Scenario(
        [(CLIENT, b"\x05\x01\x02" + LOGIN + CONNECT), (PROXY, AUTH_CHOICE + LOGIN_OK + GRANTED)],
        ["greeting", "auth-request username=alice", NAMED, "method-selection", "auth-reply", OK],
    ),
    "half frames": Scenario(
        [(CLIENT, GREETING + CONNECT[:9]), (PROXY, CHOICE), (CLIENT, CONNECT[9:])],
        ["greeting", "method-selection", NAMED + " anomaly=split-frame"],
    ),
    "data before the reply": Scenario(
        after_choice((CLIENT, CONNECT + DATA), (PROXY, GRANTED), (CLIENT, DATA)),
        [*START, NAMED, "tunnel tunnel.early=1 anomaly=early-data", OK, f"tunnel {HOST}"],
    ),
    "data with the reply": Scenario(
        after_choice((CLIENT, CONNECT), (PROXY, GRANTED + DATA)), [*START, NAMED, OK, f"tunnel {HOST}"]
    ),
    "the server is the client": Scenario(
        [(1 - side, octets) for side, octets in opened()], [*START, NAMED, OK], port=34568
    ),
    "a reply before the request": Scenario(
        after_choice((PROXY, GRANTED), (CLIENT, CONNECT)),
        [*START, "reply reply.code=0", "request anomaly=reply-before-request"],
    ),
    "a reply without a request": Scenario(after_choice((PROXY, GRANTED)), [*START, "reply anomaly=handshake-gap"]),
    "GSSAPI, integrity only": Scenario(
        [
            *GSSAPI_OPENED,
            (CLIENT, gssapi(2, wrapped(b"\1"))),
            (PROXY, gssapi(2, wrapped(b"\1"))),
            (CLIENT, gssapi(3, wrapped(CONNECT))),
            (PROXY, gssapi(3, wrapped(GRANTED, rotation=28))),
            (CLIENT, gssapi(3, wrapped(b"GET / HTTP/1.1\r\n\r\n"))),
        ],
        [
            "greeting methods=0x01",
            "method-selection method=0x01",
            "gssapi gssapi.type=0x01 sender=client",
            "gssapi sender=proxy",
            "gssapi gssapi.type=0x02 gssapi.level=0x01",
            "gssapi",
            "gssapi gssapi.type=0x03 gssapi.encrypted=0",
            NAMED,
            "gssapi",
            OK,
            "gssapi",
            "tunnel",
        ],
    ),
    "GSSAPI, encrypted": Scenario(
        [
            *GSSAPI_OPENED,
            (CLIENT, gssapi(2, wrapped(b"\2", sealed=True))),
            (PROXY, gssapi(2, wrapped(b"\2", sealed=True))),
            (CLIENT, gssapi(3, wrapped(CONNECT, sealed=True))),
        ],
        [
            "greeting",
            "method-selection",
            "gssapi",
            "gssapi",
            "gssapi",
            "gssapi",
            "gssapi gssapi.type=0x03 gssapi.encrypted=1",
        ],
    ),
    "GSSAPI as NEC does it": Scenario(
        [*GSSAPI_OPENED, (CLIENT, gssapi(2, b"\1")), (PROXY, gssapi(2, b"\1")), (CLIENT, CONNECT), (PROXY, GRANTED)],
        [
            "greeting",
            "method-selection",
            "gssapi",
            "gssapi",
            "gssapi gssapi.level=0x01 anomaly=gssapi-level-unprotected",
            "gssapi",
            NAMED,
            OK,
        ],
    ),
    "GSSAPI refused": Scenario(
        [(CLIENT, b"\x05\x01\x01"), (PROXY, b"\x05\x01"), (CLIENT, gssapi(1, b"token")), (PROXY, b"\x01\xff")],
        ["greeting", "method-selection", "gssapi", "gssapi gssapi.type=0xff anomaly=auth-failed"],
    ),
    "GSSAPI, a token in many segments": Scenario(
        [
            (CLIENT, b"\x05\x01\x01"),
            (PROXY, b"\x05\x01"),
            *((CLIENT, gssapi(1, bytes(5000))[i : i + 1000]) for i in range(0, 5004, 1000)),
        ],
        ["greeting", "method-selection", "gssapi gssapi.length=5000 anomaly=split-frame"],
    ),
    "UDP in TCP": Scenario(
        after_choice(
            (CLIENT, request("0.0.0.0", 0, 5)),
            (PROXY, reply(0)),
            (CLIENT, b"\0\x04\x0a\x01\xc6\x33\x64\x35\x27\x0fabcd"),
        ),
        [*START, "request command=0x05", "reply", "tunnel udp.host=198.51.100.53 udp.port=9999 udp.data_length=4"],
    ),
    "not SOCKS: HTTP": Scenario([(CLIENT, b"GET / HTTP/1.1\r\n\r\n")], []),
    "not SOCKS: an answer that does not fit": Scenario([(CLIENT, GREETING), (PROXY, b"\x05\x02")], [], port=34569),
    "not SOCKS: DNP3": Scenario(
        [
            (CLIENT, bytes.fromhex("056405c00100000403fe")),
            (PROXY, bytes.fromhex("0564050b00000100")),
        ],
        [],
        port=34570,
    ),
    "not SOCKS: an unassigned method": Scenario([(CLIENT, b"\x05\x01\x42"), (PROXY, b"\x05\x42")], [], port=34571),
    "not SOCKS: SOCKS4 with more behind": Scenario(
        [(CLIENT, socks4(1, 80, "198.51.100.7") + b"more"), (PROXY, b"no")], [], port=34572
    ),
}


@pytest.fixture(scope="module")
def dissected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Layer]]:
    """The layers of each scenario. In two passes: in the first nobody knows yet whether the answer will fit."""
    capture = Capture()
    for index, scenario in enumerate(SCENARIOS.values()):
        Tcp(capture, scenario.port, client_port=49800 + index).play(scenario.steps).close()
    path: Path = capture.write(tmp_path_factory.mktemp("handshakes") / "handshakes.pcap")
    streams = defaultdict(list)
    for layer in layers(path, "-2"):
        streams[layer.stream].append(layer)
    return {name: streams[index] for index, name in enumerate(SCENARIOS)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, dissected: dict[str, list[Layer]]) -> None:
    seen, expected = dissected[name], SCENARIOS[name].expected
    kinds = [line.split()[0] for line in expected]
    assert [layer["type"] for layer in seen if layer["type"]][: len(kinds) or None] == kinds
    for layer, line in zip([layer for layer in seen if layer["type"]], expected, strict=False):
        for pair in line.split()[1:]:
            field, _, value = pair.partition("=")
            found = layer.fields.get(f"socks5.{field}", [])
            assert value in found, (line, layer.fields)
