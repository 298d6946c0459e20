"""What is told of a ClientHello, against what was put into it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import NamedTuple

import pytest

from socks5sniff.analysis.tunnel import HEAD_LIMIT, identify
from socks5sniff.record import Tunnel

from .tunnel_samples import hello, in_records

GREASE = [0x0A0A, 0x1A1A, 0xFAFA]
NEARLY = [0x0A1A, 0x0A0B, 0x0B0A]
VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
SHORT = dict(zip(VERSIONS, ("s3", "10", "11", "12", "13"), strict=True))
NAMES = [b"", b"a", b"a.test", b"n" * 200]
PROTOCOLS = [b"h2", b"http/1.1", b"x", b"\xab\x12", b"a\xff", b"-"]


class Offer(NamedTuple):
    """What a client offers: each extension its own and as it is sent."""

    version: int
    ciphers: list[int]
    extensions: list[tuple[int, bytes]]
    name: bytes | None
    protocols: list[bytes] | None
    versions: list[int]
    signatures: list[int]


def numbers(values: list[int], size: int) -> bytes:
    octets = b"".join(value.to_bytes(2, "big") for value in values)
    return len(octets).to_bytes(size, "big") + octets


def offer(draw: Random) -> Offer:
    def some(values: list[int], most: int) -> list[int]:
        return [draw.choice(values) for _ in range(draw.randint(0, most))]

    name = draw.choice([None, *NAMES])
    protocols = draw.choice([None, [], draw.sample(PROTOCOLS, draw.randint(1, 3))])
    versions = some([*VERSIONS, *GREASE, 0x0305, 0x7F1C], 4)
    signatures = some([0x0403, 0x0804, 0x0401, *GREASE, *NEARLY], 5)
    extensions = [(kind, draw.randbytes(draw.choice([0, 1, 5, 40]))) for kind in some([1, 5, 10, 0xFF01, *GREASE], 6)]
    if name is not None:
        entry = b"\0" + len(name).to_bytes(2, "big") + name
        extensions.append((0, len(entry).to_bytes(2, "big") + entry))
    if protocols is not None:
        listed = b"".join(bytes([len(protocol)]) + protocol for protocol in protocols)
        extensions.append((16, len(listed).to_bytes(2, "big") + listed))
    if versions:
        extensions.append((43, numbers(versions, 1)))
    if signatures:
        extensions.append((13, numbers(signatures, 2)))
    if draw.randrange(9) == 0:
        extensions += [(1, b"")] * 120
    draw.shuffle(extensions)
    ciphers = some([0x1301, 0x1302, 0xC02B, 0x00FF, *GREASE, *NEARLY], draw.choice([3, 9, 120]))
    return Offer(draw.choice([*VERSIONS, 0x0305]), ciphers, extensions, name, protocols, versions, signatures)


def without_grease(values: list[int]) -> list[int]:
    return [value for value in values if value not in GREASE]


def digest(values: list[int], behind: Sequence[int] = ()) -> str:
    if not values:
        return "0" * 12
    listed = [",".join(f"{value:04x}" for value in each) for each in (sorted(values), behind) if each]
    return sha256("_".join(listed).encode()).hexdigest()[:12]


def ja4(offer: Offer, version: int) -> str:
    """As FoxIO describes it."""
    ciphers = without_grease(offer.ciphers)
    extensions = without_grease([kind for kind, _ in offer.extensions])
    first = offer.protocols[0] if offer.protocols else b""
    ends = "00"
    if first:
        shown = first.decode() if first[:1].isalnum() and first[-1:].isalnum() else first.hex()
        ends = shown[0] + shown[-1]
    named = "i" if offer.name is None else "d"
    counts = f"{min(len(ciphers), 99):02}{min(len(extensions), 99):02}"
    rest = [kind for kind in extensions if kind not in (0, 16)]
    begin = f"t{SHORT.get(version, '00')}{named}{counts}{ends}"
    return f"{begin}_{digest(ciphers)}_{digest(rest, without_grease(offer.signatures))}"


def expected(offer: Offer) -> Tunnel:
    version = max(without_grease(offer.versions), default=offer.version)
    detail = f"{VERSIONS.get(version, f'version 0x{version:04x}')}, JA4 {ja4(offer, version)}"
    name = None if offer.name is None else offer.name.decode()
    alpn = None if offer.protocols is None else [each.decode("utf-8", "backslashreplace") for each in offer.protocols]
    return Tunnel("tls", name, alpn, detail)


def message(offer: Offer, session: bytes) -> bytes:
    """The handshake message, with an id of a session that is resumed."""
    whole = hello(offer.extensions, tuple(offer.ciphers), offer.version)[5:]
    body = whole[4:38] + bytes([len(session)]) + session + whole[39:]
    return b"\1" + len(body).to_bytes(3, "big") + body


@pytest.mark.parametrize("seed", range(150))
def test_a_hello_is_told_as_it_was_made(seed: int) -> None:
    """In records of any size; with a window that does not hold it whole, of what it holds whole only names."""
    draw = Random(seed)
    made = offer(draw)
    whole = message(made, bytes(draw.choice([0, 5, 32])))
    size = draw.choice([1, 3, 40, len(whole)])
    octets = in_records(whole, size)
    if len(octets) <= HEAD_LIMIT:
        found = identify(octets + draw.choice([b"", b"\x17\x03\x03\0\1x"]), b"", 443, True)
        assert found == expected(made)
    cut = draw.randint(44, len(whole) - 1)
    found = identify(in_records(whole, len(whole))[: 5 + cut], b"", 443, True)
    assert found is not None
    at = len(whole) - sum(4 + len(body) for _, body in made.extensions)
    there = {}
    for kind, body in made.extensions:
        at += 4 + len(body)
        if at <= cut:
            there[kind] = body
    named = made.name is not None and 0 in there
    assert found.server_name == (made.name.decode() if named and made.name is not None else None)
    assert (found.alpn is None) == (16 not in there)
    assert found.detail is None
    assert identify(in_records(whole, len(whole))[: 5 + cut], b"", 443, False) is None
