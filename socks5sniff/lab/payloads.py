"""What goes through the tunnels: small, fixed octets of real protocols."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address


def http_request(host: str, path: str = "/") -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: scenario\r\nConnection: close\r\n\r\n".encode()


HTTP_BODY = b"A page from the scenario's web server.\n"
HTTP_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(HTTP_BODY)
    + HTTP_BODY
)

SSH_CLIENT = b"SSH-2.0-scenario_client\r\n"
SSH_SERVER = b"SSH-2.0-scenario_server\r\n"

SMTP_SERVER = b"220 mail.example.test ESMTP\r\n"


def counted(length: int) -> bytes:
    """`length` octets that are no known protocol and differ from place to place."""
    return bytes((17 + 31 * at + (at >> 8)) & 0xFF for at in range(length))


def client_hello(name: str, protocols: tuple[str, ...]) -> bytes:
    """A TLS 1.2 ClientHello record (RFC 5246 s7.4.1.2) with SNI (RFC 6066 s3) and ALPN (RFC 7301 s3.1)."""
    host = name.encode()
    sni = struct.pack(">HBH", len(host) + 3, 0, len(host)) + host
    names = b"".join(bytes((len(each),)) + each.encode() for each in protocols)
    alpn = struct.pack(">H", len(names)) + names
    extensions = b"".join(
        struct.pack(">HH", kind, len(value)) + value
        for kind, value in ((0, sni), (16, alpn), (10, b"\x00\x02\x00\x1d"), (13, b"\x00\x02\x04\x03"))
    )
    body = (
        b"\x03\x03"
        + counted(32)
        + b"\x00"
        + b"\x00\x04\xc0\x2b\xc0\x2f"
        + b"\x01\x00"
        + struct.pack(">H", len(extensions))
        + extensions
    )
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(handshake)) + handshake


TLS_ALERT = bytes.fromhex("15030300020228")
"""A fatal handshake_failure: the shortest true answer of a TLS server."""


def dns_query(name: str, identifier: int = 0x1D0C) -> bytes:
    """A query for an A record (RFC 1035 s4)."""
    return struct.pack(">6H", identifier, 0x0100, 1, 0, 0, 0) + _labels(name) + struct.pack(">HH", 1, 1)


def dns_answer(query: bytes, address: str) -> bytes:
    """The answer with one A record to `query`."""
    record = struct.pack(">HHHIH", 0xC00C, 1, 1, 300, 4) + IPv4Address(address).packed
    return query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + query[12:] + record


def _labels(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\x00"
