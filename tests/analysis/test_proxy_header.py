"""A PROXY protocol header in front of SOCKS: skipped by its length, and the client that it states is named."""

from __future__ import annotations

import struct

import pytest

from socks5sniff.record import Conversation, ProxyHeader
from tests.codec.test_proxy_header import HEADERS, SIGNATURE, binary
from tests.traffic import ANSWER, CLIENT, HTTP, PLAIN, SERVER, Packet, analyse, connection, cut

from .dialogues import DIALOGUES

Said = list[tuple[int, bytes]]


def stated(record: Conversation) -> ProxyHeader:
    assert record.proxy_header is not None
    return record.proxy_header


def named(record: Conversation) -> list[str]:
    return [anomaly.message for anomaly in record.anomalies if anomaly.code == "proxy-protocol"]


def after(header: bytes, said: Said, apart: bool = True) -> Said:
    """A dialogue behind a header, in a segment of its own or not."""
    return [(CLIENT, header), *said] if apart else [(CLIENT, header + said[0][1]), *said[1:]]


def read(said: Said, port: int = 7777, pieces: list[int] | None = None, **options: object) -> list[Conversation]:
    packets: list[Packet] = connection(said, proxy=("10.0.0.9", port))
    return analyse([*cut(packets, pieces)] if pieces else packets, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [1080, 7777])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("name", HEADERS)
def test_every_kind(name: str, apart: bool, port: int) -> None:
    octets, header = HEADERS[name]
    (record,) = read(after(octets, PLAIN, apart), port)
    assert (record.outcome, str(record.destination), record.bytes) == (
        "succeeded",
        "example.com:443",
        (len(HTTP), len(ANSWER)),
    )
    shown = stated(record)
    assert (shown.version, shown.length) == (header.version, len(octets))
    for end, address in ((shown.source, header.source), (shown.destination, header.destination)):
        assert (None if end is None else str(end)) == (None if address is None else str(address))
    (message,) = named(record)
    assert str(len(octets)) in message
    assert header.source is None or f"{header.source} as the client" in message


@pytest.mark.parametrize("dialogue", DIALOGUES)
@pytest.mark.parametrize("name", ["text, IPv6", "binary, TLVs"])
def test_every_dialogue_is_the_same_behind_it(dialogue: str, name: str) -> None:
    said = DIALOGUES[dialogue]
    (plain,), (record,) = read(said, 1080), read(after(HEADERS[name][0], said), 1080)
    for key in ("protocol", "outcome", "method", "username", "command", "destination", "reply", "tunnel", "bytes"):
        assert getattr(record, key) == getattr(plain, key), key
    assert len(record.frames) == len(plain.frames)


@pytest.mark.parametrize("name", ["text, IPv4", "text, unknown", "binary, IPv6", "binary, local"])
@pytest.mark.parametrize("size", [1, 2, 5, 13])
def test_in_pieces(name: str, size: int) -> None:
    (record,) = read(after(HEADERS[name][0], PLAIN, apart=False), pieces=[size] * 400)
    assert (record.outcome, record.bytes) == ("succeeded", (len(HTTP), len(ANSWER)))
    assert stated(record).length == len(HEADERS[name][0])


@pytest.mark.parametrize("sizes", [(), (1,) * 40, (3,) * 20])
def test_a_long_one_whatever_the_batches(sizes: tuple[int, ...]) -> None:
    header = binary(0x21, 0x11, bytes.fromhex("cb007105c0000201c7380438") + bytes(20_000))
    packets = cut(connection(after(header, PLAIN)), [1400] * 15)
    (record,) = analyse(list(packets), sizes)
    assert (record.outcome, record.bytes) == ("succeeded", (len(HTTP), len(ANSWER)))
    assert str(stated(record).source) == "203.0.113.5:51000"


def test_before_a_client_that_was_called_back() -> None:
    """The load balancer's side opened the connection; who answers it is the SOCKS client."""
    turned = [(1 - side, octets) for side, octets in PLAIN]
    (record,) = read([(CLIENT, HEADERS["binary, IPv4"][0]), *turned])
    assert (record.reversed, record.outcome, str(record.destination)) == (True, "succeeded", "example.com:443")
    assert named(record)


@pytest.mark.parametrize("name", HEADERS)
def test_before_the_greeting_of_an_inner_proxy(name: str) -> None:
    octets, _ = HEADERS[name]
    if len(octets) > 3000:
        return
    outer, inner = read(PLAIN[:4] + after(octets, PLAIN))
    assert (inner.parent, inner.outcome, inner.bytes) == (1, "succeeded", (len(HTTP), len(ANSWER)))
    assert (outer.proxy_header, stated(inner).length) == (None, len(octets))
    assert outer.tunnel is not None
    assert outer.tunnel.protocol == "socks5"


def test_before_both() -> None:
    header = HEADERS["text, IPv4"][0]
    outer, inner = read(after(header, PLAIN[:4]) + after(HEADERS["binary, IPv6"][0], PLAIN))
    assert (stated(outer).version, stated(inner).version) == (1, 2)


def test_udp_associate_behind_it() -> None:
    said = [*PLAIN[:2], (CLIENT, b"\5\3\0\1\0\0\0\0\0\0"), (SERVER, b"\5\0\0\1\x0a\0\0\x09\x0b\xb8")]
    for apart in (True, False):
        (record,) = read(after(HEADERS["binary, TLVs"][0], said, apart))
        assert (record.command, record.outcome) == ("udp-associate", "succeeded")
        assert record.udp is not None


@pytest.mark.parametrize("name", ["text, IPv4", "text, unknown with addresses", "binary, IPv4", "binary, TLVs"])
def test_a_snap_length_that_cuts_it(name: str) -> None:
    """The handshake's own segments are shorter than the header and were captured whole."""
    header = HEADERS[name][0]
    (record,) = read(after(header, PLAIN[:4]), captured=54 + 23)
    assert (record.outcome, stated(record).length) == ("succeeded", len(header))
    assert "handshake-gap" in {anomaly.code for anomaly in record.anomalies}
    assert stated(record).source is None


@pytest.mark.parametrize("rest", [b"", HTTP, b"\x16\x03\x01\0\5hello", bytes(100)])
@pytest.mark.parametrize("name", ["text, IPv4", "binary, local"])
def test_what_is_not_socks_behind_it(name: str, rest: bytes) -> None:
    said = after(HEADERS[name][0], [(CLIENT, rest), (SERVER, ANSWER)] if rest else [])
    assert read(said) == []
    records = read(said, 1080)
    assert [record.outcome for record in records] == (["malformed"] if rest in (HTTP, b"\x16\x03\x01\0\5hello") else [])


@pytest.mark.parametrize("octets", [b"PROXY", SIGNATURE, SIGNATURE + b"\x21\x11" + struct.pack(">H", 65535), b"\r\n"])
def test_the_beginning_of_one_is_nothing(octets: bytes) -> None:
    assert read([(CLIENT, octets), (SERVER, b"\5\0")]) == []
    assert read([(CLIENT, octets), (SERVER, b"\5\0")], 1080) == []
