"""The PROXY protocol header, as the HAProxy specification writes it (sections 2.1 and 2.2)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from socks5sniff.codec import (
    MAX_PROXY_LINE,
    Address,
    Decoded,
    Mismatch,
    NeedMore,
    ProxyHeader,
    decode_proxy_header,
    starts_proxy_header,
)

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(rest)) + rest


def ends(source: str, destination: str, source_port: int, port: int) -> bytes:
    return ip_address(source).packed + ip_address(destination).packed + struct.pack(">HH", source_port, port)


V4 = ends("203.0.113.5", "192.0.2.1", 51000, 1080)
V6 = ends("2001:db8::5", "2001:db8::1", 51000, 1080)
TLVS = bytes.fromhex("010003 683278 040004 00000000")
SOURCE4, DESTINATION4 = Address.ipv4("203.0.113.5", 51000), Address.ipv4("192.0.2.1", 1080)
SOURCE6, DESTINATION6 = Address.ipv6("2001:db8::5", 51000), Address.ipv6("2001:db8::1", 1080)

HEADERS = {
    "text, IPv4": (b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 1080\r\n", ProxyHeader(1, SOURCE4, DESTINATION4)),
    "text, IPv6": (b"PROXY TCP6 2001:db8::5 2001:db8::1 51000 1080\r\n", ProxyHeader(1, SOURCE6, DESTINATION6)),
    "text, unknown": (b"PROXY UNKNOWN\r\n", ProxyHeader(1, None, None)),
    "text, unknown with addresses": (b"PROXY UNKNOWN ::1 ::1 1 2\r\n", ProxyHeader(1, None, None)),
    "binary, IPv4": (binary(0x21, 0x11, V4), ProxyHeader(2, SOURCE4, DESTINATION4)),
    "binary, IPv6": (binary(0x21, 0x21, V6), ProxyHeader(2, SOURCE6, DESTINATION6)),
    "binary, TLVs": (binary(0x21, 0x11, V4 + TLVS), ProxyHeader(2, SOURCE4, DESTINATION4)),
    "binary, much behind": (binary(0x21, 0x21, V6 + bytes(60_000)), ProxyHeader(2, SOURCE6, DESTINATION6)),
    "binary, UDP": (binary(0x21, 0x12, V4), ProxyHeader(2, SOURCE4, DESTINATION4)),
    "binary, local": (binary(0x20, 0x00, b""), ProxyHeader(2, None, None)),
    "binary, local with addresses": (binary(0x20, 0x11, V4), ProxyHeader(2, None, None)),
    "binary, no family": (binary(0x21, 0x00, TLVS), ProxyHeader(2, None, None)),
    "binary, socket in a file system": (binary(0x21, 0x31, bytes(216)), ProxyHeader(2, None, None)),
    "binary, too short for its family": (binary(0x21, 0x21, V4), ProxyHeader(2, None, None)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_whole_cut_and_with_octets_behind(name: str) -> None:
    octets, header = HEADERS[name]
    assert decode_proxy_header(octets) == Decoded(header, len(octets))
    assert decode_proxy_header(octets + b"\5\1\0") == Decoded(header, len(octets))
    for have in [*range(min(len(octets), 300)), len(octets) - 1]:
        found = decode_proxy_header(octets[:have])
        assert isinstance(found, NeedMore)
        assert have < found.octets <= len(octets)
        assert starts_proxy_header(octets[:have])


@pytest.mark.parametrize(
    "octets",
    [
        b"PROXY TCP4 203.0.113.5 192.0.2.1 51000\r\n",
        b"PROXY TCP4 2001:db8::5 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 65536\r\n",
        b"PROXY TCP4 203.0.113.5 192.0.2.1 51000 +1\r\n",
        b"PROXY TCP4 203.0.113.256 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 \xb2.0.0.1 192.0.2.1 1 2\r\n",
        b"PROXY UDP4 203.0.113.5 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWN" + b" " * MAX_PROXY_LINE,
        b"PROPFIND / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"\r\n\r\n\0\r\nQUIT\r",
        binary(0x22, 0x11, V4),
        binary(0x11, 0x11, V4),
        b"\5\1\0",
    ],
)
def test_what_is_no_header(octets: bytes) -> None:
    assert isinstance(decode_proxy_header(octets), Mismatch)
