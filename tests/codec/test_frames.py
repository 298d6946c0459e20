"""Frames as values, and the values that cannot be on the wire."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from socks5sniff.codec import (
    Address,
    AuthReply,
    AuthRequest,
    Frame,
    FwdUdpHeader,
    Greeting,
    GssapiMessage,
    MethodSelection,
    Reply,
    Request,
    Socks4Reply,
    Socks4Request,
    UdpHeader,
)

HERE = Address(1, b"\x7f\0\0\1", 80)
NAME = Address(3, b"example.org", 80)
V6 = Address(4, bytes(16), 80)

ONE_OF_EACH: list[tuple[Frame, str]] = [
    (Greeting(b"\0"), "greeting"),
    (MethodSelection(0), "method-selection"),
    (AuthRequest(b"u", b"p"), "auth-request"),
    (AuthReply(0), "auth-reply"),
    (GssapiMessage(1), "gssapi"),
    (Request(1, HERE), "request"),
    (Reply(0, HERE), "reply"),
    (Socks4Request(1, HERE, b""), "request"),
    (Socks4Reply(90, HERE), "reply"),
    (UdpHeader(HERE), "udp"),
    (FwdUdpHeader(HERE, 5, 10), "udp"),
]


@pytest.mark.parametrize(("frame", "kind"), ONE_OF_EACH)
def test_frames_are_immutable_values(frame: Frame, kind: str) -> None:
    assert frame.kind == kind
    assert not hasattr(frame, "__dict__")
    assert {frame: 1}[frame] == 1
    with pytest.raises(FrozenInstanceError):
        setattr(frame, fields(frame)[0].name, 9)


def test_frames_of_different_kinds_are_not_equal() -> None:
    assert len({MethodSelection(0, 1), AuthReply(0, 1)}) == 2


def test_socks4a_is_a_socks4_request_for_a_name() -> None:
    assert Socks4Request(1, NAME, b"").is_socks4a
    assert not Socks4Request(1, HERE, b"").is_socks4a


@pytest.mark.parametrize(
    "frame",
    [
        Greeting(bytes(256)),
        Greeting(b"\0", version=256),
        MethodSelection(256),
        MethodSelection(-1),
        AuthRequest(b"u" * 256, b""),
        AuthRequest(b"", b"p" * 256),
        AuthReply(999),
        GssapiMessage(0xFF, b"token"),
        GssapiMessage(1, bytes(65536)),
        Request(256, HERE),
        Request(1, HERE, reserved=256),
        Request(1, Address(1, b"\0", 80)),
        Request(1, Address(4, b"\0" * 4, 80)),
        Request(1, Address(3, b"a" * 256, 80)),
        Request(1, Address(1, bytes(4), 65536)),
        Request(1, Address(1, bytes(4), -1)),
        Request(1, Address(300, b"", 80)),
        Reply(0, Address(1, b"", 80)),
        Socks4Request(1, V6, b""),
        Socks4Request(1, HERE, b"a\0b"),
        Socks4Request(1, Address(3, b"a\0b", 80), b""),
        Socks4Request(1, Address(1, b"\0\0\0\x05", 80), b""),
        Socks4Request(1, NAME, b"", literal=0),
        Socks4Request(1, NAME, b"", literal=256),
        Socks4Request(1, Address(1, b"\x7f\0\0\1", 65536), b""),
        Socks4Reply(90, NAME),
        Socks4Reply(90, Address(1, bytes(4), 65536)),
        UdpHeader(HERE, reserved=65536),
        UdpHeader(HERE, reserved=-1),
        UdpHeader(HERE, fragment=256),
        FwdUdpHeader(HERE, 65536, 10),
        FwdUdpHeader(HERE, 5, 256),
    ],
)
def test_what_cannot_be_on_the_wire_is_refused(frame: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        frame.encode()


def test_an_address_type_in_no_table_can_be_sent() -> None:
    assert Request(1, Address(9, b"abc", 80)).encode() == bytes.fromhex("05 01 00 09 616263 0050")
