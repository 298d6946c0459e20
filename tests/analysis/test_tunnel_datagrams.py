"""What goes through a UDP association: QUIC by real clients' first packets, DNS, and anything else."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.analysis.tunnel import DATAGRAM_LIMIT, HEAD_LIMIT, ciphers, identify, identify_datagrams
from socks5sniff.analysis.tunnel.quic import _varint
from socks5sniff.analysis.tunnel.tls import fingerprint, read_hello
from socks5sniff.record import Tunnel

from ..foreign.lab import missing
from .tunnel_samples import ANSWER, QUERY, client_hello

UNKNOWN = Tunnel("unknown")
VERSION_2 = 0x6B3343CF


def quic_client(name: str = "quic.example.com", version: int = 1, protocols: int = 1) -> list[bytes]:
    """The first datagrams of aioquic; a long list of protocols makes its ClientHello take two."""
    pytest.importorskip("aioquic", reason="aioquic not installed")
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    alpn = ["h3", *(f"protocol-{number:04d}" for number in range(protocols - 1))]
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=alpn, server_name=name, original_version=version, supported_versions=[version]
    )
    client = QuicConnection(configuration=configuration)
    client.connect(("192.0.2.1", 443), now=0.0)
    return [datagram for datagram, _ in client.datagrams_to_send(now=0.0)]


@pytest.mark.parametrize(
    ("octets", "value"),
    [("c2197c5eff14e88c", 151288809941952652), ("9d7f3e7d", 494878333), ("7bbd", 15293), ("25", 37), ("4025", 37)],
)
def test_integers_of_quic(octets: str, value: int) -> None:
    """The examples of RFC 9000 appendix A.1."""
    assert _varint(b"\xff" + bytes.fromhex(octets) + b"\xff", 1) == (value, 1 + len(octets) // 2)
    assert _varint(bytes.fromhex(octets), 9) == (0, 9)


@pytest.mark.parametrize(("version", "name"), [(1, "QUIC version 1"), (VERSION_2, "QUIC version 2")])
def test_quic(version: int, name: str) -> None:
    found = identify_datagrams(quic_client(version=version), [], False)
    assert found is not None
    assert found[:3] == ("quic", "quic.example.com", ["h3"])
    assert str(found.detail).startswith(f"{name}, JA4 q13d")


@pytest.mark.parametrize(
    ("draft", "salt"),
    [
        *((draft, "c3eef712c72ebb5a11a7d2432bb46365bef9f502") for draft in (23, 28)),
        *((draft, "afbfec289993d24c9e9786f19c6111e04390a899") for draft in (29, 32)),
        *((draft, "38762cf7f55934b34d179ae6a4c80cadccbb7f0a") for draft in (33, 34)),
    ],
)
def test_quic_of_a_draft(monkeypatch: pytest.MonkeyPatch, draft: int, salt: str) -> None:
    pytest.importorskip("aioquic", reason="aioquic not installed")
    monkeypatch.setattr("aioquic.quic.crypto.INITIAL_SALT_VERSION_1", bytes.fromhex(salt))
    found = identify_datagrams(quic_client(version=0xFF000000 | draft), [], False)
    assert found is not None
    assert found[:3] == ("quic", "quic.example.com", ["h3"])
    assert str(found.detail).startswith(f"QUIC draft {draft}, JA4 q13d")


def test_quic_whose_hello_takes_two_datagrams() -> None:
    datagrams = quic_client(protocols=80)
    assert len(datagrams) >= 2
    assert identify_datagrams(datagrams[:1], [], False) is None
    found = identify_datagrams(datagrams, [], False)
    assert found is not None
    assert found.server_name == "quic.example.com"
    assert found.alpn is not None
    assert len(found.alpn) == 80
    alone = identify_datagrams(datagrams[:1], [], True)
    assert alone == Tunnel("quic", detail="QUIC version 1")
    assert identify_datagrams(datagrams[::-1], [], False) in (None, found)


def test_quic_without_the_package_for_ciphers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ciphers, "_package", lambda: None)
    assert identify_datagrams(quic_client(), [], True) == Tunnel("quic", detail="QUIC version 1")
    assert ciphers.aes_counter(bytes(32), bytes(16), b"x") is None


def test_quic_that_cannot_be_opened() -> None:
    """One octet of the packet is wrong: it is QUIC by its header, or nothing."""
    (datagram,) = quic_client()
    for at in (5, 6, 20, 40, 100, 200):
        changed = datagram[:at] + bytes([datagram[at] ^ 0x55]) + datagram[at + 1 :]
        found = identify_datagrams([changed], [], True)
        assert found in (Tunnel("quic", detail="QUIC version 1"), UNKNOWN)


@pytest.mark.parametrize(
    ("version", "detail"),
    [(b"Q046", "QUIC Q046"), (b"\xff\0\0\x1b", "QUIC draft 27"), (b"T051", "QUIC T051")],
)
def test_older_quic_is_named_by_its_version(version: bytes, detail: str) -> None:
    assert identify_datagrams([b"\xc3" + version + b"\x08" + bytes(1194)], [], True) == Tunnel("quic", detail=detail)


@pytest.mark.parametrize(
    "datagram",
    [
        b"\x43\0\0\0\1\x08" + bytes(1194),  # no long header
        b"\x83\0\0\0\1\x08" + bytes(1194),  # the fixed bit is clear
        b"\xc3\0\0\0\0\x08" + bytes(1194),  # version negotiation, which no client sends
        b"\xc3\0\0\0\1\x07" + bytes(1194),  # a connection id too short for a first packet
        b"\xc3\0\0\0\1\x15" + bytes(1194),  # and one too long for any
        b"\xc3abcd\x08" + bytes(1194),
        b"\xc3\0\0\0",
    ],
)
def test_what_is_no_quic(datagram: bytes) -> None:
    assert identify_datagrams([datagram], [], True) == UNKNOWN


def pcap_of_datagrams(path: Path, datagrams: list[bytes]) -> None:
    """UDP datagrams to port 443 as a capture of raw IPv4."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 228))
        for number, datagram in enumerate(datagrams):
            udp = struct.pack(">HHHH", 5555, 443, 8 + len(datagram), 0) + datagram
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, b"\1\1\1\1", b"\2\2\2\2")
            file.write(struct.pack("<IIII", 1, number, 20 + len(udp), 20 + len(udp)) + ip + udp)


def tshark_fields(path: Path, *fields: str) -> list[str]:
    reason = missing("tshark")
    if reason:
        pytest.skip(reason)
    asked = [argument for field in fields for argument in ("-e", field)]
    hello = ("-Y", "tls.handshake.type==1")
    command = ["tshark", "-r", str(path), *hello, "-T", "fields", "-E", "separator=|", "-E", "occurrence=a", *asked]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip().split("|")


OFFERED = (
    "tls.handshake.extensions_server_name",
    "tls.handshake.ciphersuite",
    "tls.handshake.extension.type",
    "tls.handshake.sig_hash_alg",
    "tls.handshake.extensions_alpn_str",
)


def test_tshark_reads_the_same_in_quic(tmp_path: Path) -> None:
    datagrams = quic_client()
    pcap_of_datagrams(tmp_path / "quic.pcap", datagrams)
    name, *lists, protocols = tshark_fields(tmp_path / "quic.pcap", *OFFERED)
    found = identify_datagrams(datagrams, [], True)
    assert found is not None
    assert (found.server_name, found.alpn) == (name, protocols.split(","))
    assert f"JA4 {ja4_of('q13', lists, protocols)}" in str(found.detail)


def test_tshark_reads_the_same_in_tls(tmp_path: Path) -> None:
    octets = client_hello()
    write_tcp(tmp_path / "tls.pcap", octets)
    name, *lists, protocols = tshark_fields(tmp_path / "tls.pcap", *OFFERED)
    found = identify(octets, b"", 443, True)
    assert found is not None
    assert (found.server_name, found.alpn) == (name, protocols.split(","))
    assert f"JA4 {ja4_of('t13', lists, protocols)}" in str(found.detail)
    assert fingerprint(read_hello(octets[5:]), "t") in str(found.detail)


def write_tcp(path: Path, octets: bytes) -> None:
    """One TCP segment to port 443 as a capture of raw IPv4."""
    tcp = struct.pack(">HHIIBBHHH", 5555, 443, 1, 1, 0x50, 0x18, 65535, 0, 0) + octets
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, b"\1\1\1\1", b"\2\2\2\2")
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 228)
    path.write_bytes(head + struct.pack("<IIII", 1, 0, 20 + len(tcp), 20 + len(tcp)) + ip + tcp)


def ja4_of(start: str, lists: list[str], protocols: str) -> str:
    """JA4 out of what tshark prints: cipher suites, extension types, signature algorithms."""
    from hashlib import sha256

    ciphers, kinds, algorithms = ([int(number, 0) for number in text.split(",")] for text in lists)
    first = protocols.split(",")[0]

    def digest(values: list[int], after: str = "") -> str:
        return sha256((",".join(f"{value:04x}" for value in values) + after).encode()).hexdigest()[:12]

    after = "_" + ",".join(f"{value:04x}" for value in algorithms)
    counts = f"{len(ciphers):02}{len(kinds):02}{first[0]}{first[-1]}"
    kinds = sorted(set(kinds) - {0, 16})
    return f"{start}d{counts}_{digest(sorted(ciphers))}_{digest(kinds, after)}"


@pytest.mark.parametrize(
    ("received", "detail"),
    [
        ([ANSWER], "A www.example: NOERROR, 2 answers"),
        ([ANSWER[:7] + b"\1" + ANSWER[8:]], "A www.example: NOERROR, 1 answer"),
        ([b"\x12\x34\x81\x83" + ANSWER[4:]], "A www.example: NXDOMAIN"),
        ([b"\x12\x34\x81\x8b" + ANSWER[4:]], "A www.example: RCODE11"),
        ([b"\x12\x34\x81\x81" + ANSWER[4:]], "A www.example: FORMERR"),
        ([b"\x12\x34\x81\x82" + ANSWER[4:]], "A www.example: SERVFAIL"),
        ([b"\x12\x34\x81\x84" + ANSWER[4:]], "A www.example: NOTIMP"),
        ([b"\x12\x34\x81\x85" + ANSWER[4:]], "A www.example: REFUSED"),
        ([b"\x12\x35" + ANSWER[2:]], "A www.example"),  # another query's
        ([QUERY], "A www.example"),
        ([b"\x12\x35" + ANSWER[2:], ANSWER], "A www.example: NOERROR, 2 answers"),
        ([], "A www.example"),
    ],
)
def test_dns(received: list[bytes], detail: str) -> None:
    assert identify_datagrams([QUERY], received, True) == Tunnel("dns", detail=detail)


def test_dns_waits_for_its_answer() -> None:
    assert identify_datagrams([QUERY], [], False) is None
    assert identify_datagrams([QUERY], [ANSWER], False) == Tunnel("dns", detail="A www.example: NOERROR, 2 answers")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((1, "A"), (2, "NS"), (5, "CNAME"), (6, "SOA"), (12, "PTR"), (15, "MX"), (16, "TXT"), (28, "AAAA")),
        *((33, "SRV"), (35, "NAPTR"), (43, "DS"), (48, "DNSKEY"), (52, "TLSA"), (64, "SVCB"), (65, "HTTPS")),
        *((252, "AXFR"), (255, "ANY"), (1234, "TYPE1234")),
    ],
)
def test_types_of_questions(kind: int, name: str) -> None:
    asked = QUERY[:-4] + kind.to_bytes(2, "big") + b"\0\1"
    assert identify_datagrams([asked], [], True) == Tunnel("dns", detail=f"{name} www.example")


def test_a_question_with_edns_and_for_the_root() -> None:
    asked = b"\0\1\1\0\0\1\0\0\0\0\0\1\0\0\2\0\1\0\0\x29\x10\0\0\0\0\0\0\0"
    assert identify_datagrams([asked], [], True) == Tunnel("dns", detail="NS .")


@pytest.mark.parametrize(
    "datagram",
    [
        ANSWER,
        QUERY[:16],
        QUERY[:-3],  # the class is cut off
        b"\x12\x34\x29" + QUERY[3:],  # opcode UPDATE
        QUERY[:4] + b"\0\2" + QUERY[6:],  # two questions
        QUERY[:-1] + b"\7",  # a class that is none
        QUERY[:-4] + b"\0\0\0\1",  # a type that is none
        QUERY[:12] + b"\x40" + b"a" * 70 + b"\0\0\1\0\1",  # a label too long
        QUERY[:12] + b"\x3f" * 65 * 8 + b"\0\0\1\0\1",  # a name too long
    ],
)
def test_what_is_no_query(datagram: bytes) -> None:
    assert identify_datagrams([datagram], [], True) == UNKNOWN


def test_nothing_and_the_remote_party_alone() -> None:
    assert identify_datagrams([], [], True) is None
    assert identify_datagrams([], [b"hello"], False) is None
    assert identify_datagrams([], [b"hello"], True) == UNKNOWN


def test_the_window_of_datagrams() -> None:
    """So many datagrams, and so many octets, are looked at; then there is nothing to wait for."""
    assert identify_datagrams([b"\1"] * DATAGRAM_LIMIT, [b"\1"], False) == UNKNOWN
    half = quic_client(protocols=80)[0]
    assert identify_datagrams([half] * 4, [], False) == Tunnel("quic", detail="QUIC version 1")
    assert identify_datagrams([b"\1" * (HEAD_LIMIT + 1)], [], False) == UNKNOWN
    assert identify_datagrams([QUERY], [b"\1"] * DATAGRAM_LIMIT, False) == Tunnel("dns", detail="A www.example")


DATAGRAMS = st.lists(
    st.sampled_from([QUERY, ANSWER, b"x", b"\xc3\0\0\0\1\x08" + bytes(1194)]) | st.binary(max_size=60), max_size=10
)


@given(DATAGRAMS, DATAGRAMS)
def test_the_answer_never_changes(sent: list[bytes], received: list[bytes]) -> None:
    final = identify_datagrams(sent, received, True)
    for first in range(len(sent) + 1):
        for second in range(len(received) + 1):
            assert identify_datagrams(sent[:first], received[:second], False) in (None, final)
