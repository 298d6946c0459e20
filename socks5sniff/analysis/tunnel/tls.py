"""TLS, by its ClientHello: server name (RFC 6066 s3), ALPN (RFC 7301), highest version offered, JA4 fingerprint."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from socks5sniff.codec import decode_text
from socks5sniff.record import Tunnel

from .heads import HEAD_LIMIT, WAIT, Finding, Talk

_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
_SHORT = {0x0300: "s3", 0x0301: "10", 0x0302: "11", 0x0303: "12", 0x0304: "13"}
"""Versions as JA4 writes them."""
_SERVER_NAME, _SIGNATURES, _ALPN, _SUPPORTED = 0, 13, 16, 43
_TELLING = frozenset({_SERVER_NAME, _SIGNATURES, _ALPN, _SUPPORTED})
"""Extensions that are looked into."""
_EXTENSION = struct.Struct(">HH")
"""Type and length of an extension."""
_NOTHING = "0" * 12
"""JA4's hash of an empty list."""
_REMEMBERED = 1024
"""Lists and their hashes that are kept: one program offers the same in every connection."""


class ClientHello(NamedTuple):
    """What a ClientHello offers, without the values that are sent to be ignored (GREASE, RFC 8701)."""

    version: int
    """Highest version offered."""
    server_name: str | None
    alpn: list[str] | None
    first_protocol: bytes
    """The first of `alpn` as it was sent, empty where there is none."""
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    """Types, in order."""
    signatures: tuple[int, ...]
    """Signature algorithms, in order."""

    @property
    def version_name(self) -> str:
        return _VERSIONS.get(self.version, f"version 0x{self.version:04x}")


def rule(talk: Talk) -> Finding:
    """A ClientHello in TLS records; one that the window does not hold whole gives what is there, without that."""
    octets, whole = talk.client
    if len(octets) < 6:
        begins = b"\x16\x03".startswith(octets[:2]) and octets[2:3] <= b"\x04"
        return (Tunnel("tls") if whole and len(octets) >= 3 else None if whole else WAIT) if begins else None
    if octets[1] != 3 or octets[2] > 4 or octets[5] != 1:
        return None
    hello = message(octets)
    size = 4 + int.from_bytes(hello[1:4], "big")
    if len(hello) < 4 or len(hello) < size:
        return _described(hello, None) if whole else WAIT
    return _described(hello[:size], "t")


def message(octets: bytes) -> bytes:
    """The handshake octets of the records that are there, in one piece."""
    found = b""
    at = 0
    while at + 5 <= len(octets) and octets[at] == 0x16 and len(found) < HEAD_LIMIT:
        length = octets[at + 3] << 8 | octets[at + 4]
        found += octets[at + 5 : at + 5 + length]
        at += 5 + length
    return found


def _described(octets: bytes, transport: str | None) -> Tunnel:
    hello = read_hello(octets)
    detail = None if transport is None else f"{hello.version_name}, JA4 {fingerprint(hello, transport)}"
    return Tunnel("tls", hello.server_name, hello.alpn, detail)


def read_hello(octets: bytes) -> ClientHello:
    """The fields of a ClientHello, its four octets of header first; those that are not there stay empty."""
    version = int.from_bytes(octets[4:6], "big")
    at = 38
    at += 1 + (octets[at] if at < len(octets) else 0)
    ciphers = _list16(octets, at)
    at += 2 + int.from_bytes(octets[at : at + 2], "big")
    at += 1 + (octets[at] if at < len(octets) else 0)
    end = min(len(octets), at + 2 + int.from_bytes(octets[at : at + 2], "big"))
    at += 2
    kinds: list[int] = []
    bodies: dict[int, bytes] = {}
    while at + 4 <= end:
        kind, size = _EXTENSION.unpack_from(octets, at)
        at += 4
        if at + size > end:
            break
        kinds.append(kind)
        if kind in _TELLING:
            bodies.setdefault(kind, octets[at : at + size])
        at += size
    protocols = _protocols(bodies[_ALPN]) if _ALPN in bodies else []
    return ClientHello(
        version=max(_numbers(bodies.get(_SUPPORTED, b"")[1:]), default=version),
        server_name=_server_name(bodies.get(_SERVER_NAME, b"")),
        alpn=[decode_text(protocol) for protocol in protocols] if _ALPN in bodies else None,
        first_protocol=protocols[0] if protocols else b"",
        ciphers=ciphers,
        extensions=tuple(_plain(kinds)),
        signatures=_list16(bodies.get(_SIGNATURES, b""), 0),
    )


def fingerprint(hello: ClientHello, transport: str) -> str:
    """JA4 (FoxIO): `t13d1516h2_8daaf6152771_e5627efa2ab1`; `transport` is `t` for TCP, `q` for QUIC."""
    named = "d" if _SERVER_NAME in hello.extensions else "i"
    counts = f"{min(len(hello.ciphers), 99):02d}{min(len(hello.extensions), 99):02d}"
    start = f"{transport}{_SHORT.get(hello.version, '00')}{named}{counts}{_ends(hello.first_protocol)}"
    return f"{start}_{_hash(hello.ciphers)}_{_hash_extensions(hello.extensions, hello.signatures)}"


@lru_cache(_REMEMBERED)
def _hash_extensions(extensions: tuple[int, ...], signatures: tuple[int, ...]) -> str:
    rest = sorted(kind for kind in extensions if kind not in (_SERVER_NAME, _ALPN))
    return _digest(_hex(rest) + (f"_{_hex(signatures)}" if signatures else "")) if rest else _NOTHING


def _ends(protocol: bytes) -> str:
    """First and last character of an ALPN protocol, of its hexadecimal form where one of them is no letter or digit."""
    if not protocol:
        return "00"
    first, last = protocol[:1], protocol[-1:]
    if first.isalnum() and last.isalnum():
        return (first + last).decode("ascii")
    text = protocol.hex()
    return text[0] + text[-1]


def _hex(values: Iterable[int]) -> str:
    return ",".join([f"{value:04x}" for value in values])


@lru_cache(_REMEMBERED)
def _hash(values: tuple[int, ...]) -> str:
    return _digest(_hex(sorted(values))) if values else _NOTHING


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]


def _plain(values: Iterable[int]) -> list[int]:
    """Without GREASE: both octets equal, ending in A."""
    return [value for value in values if value & 0x0F0F != 0x0A0A or value >> 8 != value & 0xFF]


@lru_cache(_REMEMBERED)
def _numbers(octets: bytes) -> tuple[int, ...]:
    """The 16-bit numbers that octets hold, without GREASE."""
    count = len(octets) // 2
    return tuple(_plain(struct.unpack_from(f">{count}H", octets)))


def _list16(octets: bytes, at: int) -> tuple[int, ...]:
    """A list of 16-bit numbers after its length of two octets."""
    return _numbers(octets[at + 2 : at + 2 + int.from_bytes(octets[at : at + 2], "big")])


def _server_name(body: bytes) -> str | None:
    if len(body) < 5 or body[2] != 0:
        return None
    return decode_text(body[5 : 5 + (body[3] << 8 | body[4])])


def _protocols(body: bytes) -> list[bytes]:
    found = []
    at = 2
    while at < len(body):
        found.append(body[at + 1 : at + 1 + body[at]])
        at += 1 + body[at]
    return found
