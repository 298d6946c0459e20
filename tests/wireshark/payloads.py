"""What goes through a tunnel in the tests: the first octets of common protocols."""

from __future__ import annotations

import contextlib
import ssl
import struct

from .scenario import CLIENT, PROXY, Step


def client_hello(name: str = "secret.example.test") -> bytes:
    """A real ClientHello, from Python's own TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


BODY = b"hello from the other side"
HTTP: list[Step] = [
    (CLIENT, b"GET /file.txt HTTP/1.1\r\nHost: www.example.test\r\n\r\n"),
    (PROXY, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY),
]
SSH: list[Step] = [(PROXY, b"SSH-2.0-OpenSSH_9.2\r\n"), (CLIENT, b"SSH-2.0-OpenSSH_9.0\r\n")]
SMTP: list[Step] = [
    (PROXY, b"220 mail.example.test ESMTP\r\n"),
    (CLIENT, b"EHLO client.test\r\n"),
    (PROXY, b"250 mail.example.test\r\n"),
]
RDP: list[Step] = [(CLIENT, bytes.fromhex("030000130ee000000000000100080003000000"))]
_SMB2_NEGOTIATE = (
    b"\xfeSMB"
    + struct.pack("<HHIHHIIQIIQ", 64, 0, 0, 0, 31, 0, 0, 0, 0xFEFF, 0, 0)
    + bytes(16)
    + struct.pack("<HHHHI", 36, 1, 1, 0, 0)
    + bytes(16)
    + struct.pack("<IHHH", 0, 0, 0, 0x0202)
)
SMB: list[Step] = [(CLIENT, struct.pack(">I", len(_SMB2_NEGOTIATE)) + _SMB2_NEGOTIATE)]


def dns_query(name: str = "www.example.test", identifier: int = 0x1D0C) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def dns_answer(address: bytes, name: str = "www.example.test", identifier: int = 0x1D0C) -> bytes:
    question = dns_query(name, identifier)[12:]
    head = struct.pack(">HHHHHH", identifier, 0x8180, 1, 1, 0, 0)
    return head + question + b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, len(address)) + address
