"""What is in a tunnel: first octets and the name they give, whole, cut short, and in any pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.analysis import tunnel
from socks5sniff.analysis.tunnel import HEAD_LIMIT, identify, rules
from socks5sniff.analysis.tunnel.heads import Rule, Talk
from socks5sniff.analysis.tunnel.tls import ClientHello, fingerprint, read_hello
from socks5sniff.record import Tunnel

from .tunnel_samples import (
    CUT_SHORT,
    MYSQL,
    OTHERS,
    SAMPLES,
    Sample,
    client_hello,
    hello,
    in_records,
    obfuscated,
    server_name,
    supported,
)

ALL = {**SAMPLES, **CUT_SHORT, **OTHERS}


@pytest.mark.parametrize("name", ALL)
def test_first_octets_give_a_name(name: str) -> None:
    sample = ALL[name]
    assert identify(sample.client, sample.server, sample.port, True) == sample.tunnel


LAST = {"a PROXY header alone", "a binary PROXY header of a health check", "anything", "random octets"}
"""Samples that what follows would tell more about."""


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - LAST))
def test_octets_behind_the_first_change_nothing(name: str) -> None:
    """What follows a whole sample (up to the window's end, and beyond) is no part of what it is named after."""
    client, server, expected, port = SAMPLES[name]
    more = b"\r\n" + b"\x81" * 5000
    found = identify(client + more if client else b"", server + more if server else b"", port, True)
    assert found == expected


def pieces(sample: Sample, step: int, client_first: bool) -> Iterator[tuple[bytes, bytes]]:
    """Windows as they grow, `step` octets at a time, one side after the other."""
    client, server = b"", b""
    for is_client in (client_first, not client_first):
        octets = sample.client if is_client else sample.server
        for at in range(step, len(octets) + step, step):
            if is_client:
                client = octets[:at]
            else:
                server = octets[:at]
            yield client, server


@pytest.mark.parametrize("client_first", [True, False])
@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("name", ALL)
def test_the_answer_is_the_same_in_any_pieces(name: str, step: int, client_first: bool) -> None:
    """The first answer is the last one: nothing is said before it is certain."""
    sample = ALL[name]
    for client, server in pieces(sample, step, client_first):
        early = identify(client, server, sample.port, False)
        assert early in (None, sample.tunnel), f"after {client!r} and {server!r}"


MORE = (
    b"", b"\r\n", b"\0" * 80, b" x\r\n\r\n", b"Host: a\r\n\r\n", b"x\nHost: a\r\n\r\n", b"\xff" * 300, b"x" * 1100,
    b"1\r\n$1\r\n", b"\n$1\r\n", b"$1\r\n",
)  # fmt: skip
ANSWERS = (
    b"", b"HTTP/1.1 200 OK\r\n", b"220 FTP\r\n", b"RFB 003.008\n", b"\nSSH-2.0-z\r\n",
    *(MYSQL[at:] for at in range(1, 5)),
)  # fmt: skip
"""What may follow from either side."""
PATIENT = ("rdp", "dns over tcp", "mtproto", "random octets")
"""Here the rest of the first packet, or of the header that is as if random, is waited for in any case."""


def outcomes(client: bytes, server: bytes, sample: Sample) -> Iterator[Tunnel | None]:
    """What it may yet be, by some of what may follow."""
    rest = sample.client[len(client) :], sample.server[len(server) :]
    for more in (rest[0], *MORE):
        for answer in (rest[1], *ANSWERS):
            yield identify(client + more, server + answer, sample.port, True)
    yield identify(client + rest[0][:-1] + b"\n", server + rest[1], sample.port, True)
    if len(client) <= 56:
        yield identify(obfuscated(b"\xee" * 4, client), server, sample.port, True)


@pytest.mark.parametrize("client_first", [True, False])
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith(PATIENT)])
def test_nothing_is_waited_for_that_could_not_tell(name: str, client_first: bool) -> None:
    """As long as there is no answer, what follows can make two of it."""
    sample = ALL[name]
    for client, server in pieces(sample, 1, client_first):
        if identify(client, server, sample.port, False) is None:
            possible = outcomes(client, server, sample)
            first = next(possible)
            assert any(found != first for found in possible), f"after {client!r} and {server!r}"


windows = st.sampled_from([sample.client for sample in ALL.values()])
answers = st.sampled_from([sample.server for sample in ALL.values()])
octets = st.binary(max_size=80)


@st.composite
def talks(draw: st.DrawFn) -> tuple[bytes, bytes, int | None]:
    """Both directions: samples mixed, their octets changed, cut and followed by others."""
    sides = []
    for samples in (windows, answers):
        side = bytearray(draw(samples | octets))
        for _ in range(draw(st.integers(0, 2))):
            if side:
                side[draw(st.integers(0, len(side) - 1))] = draw(st.integers(0, 255))
        sides.append(bytes(side[: draw(st.integers(0, len(side)))]) + draw(octets))
    return sides[0], sides[1], draw(st.sampled_from([None, 21, 25, 53, 80]))


@given(talks(), st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=12))
def test_the_answer_never_changes(talk: tuple[bytes, bytes, int | None], turns: list[tuple[bool, int]]) -> None:
    """Whatever is said: however segments are cut and take turns, an early answer is the answer to the whole."""
    client, server, port = talk
    final = identify(client, server, port, True)
    sizes = [0, 0]
    for is_server, count in turns:
        sizes[is_server] += count
        early = identify(client[: sizes[0]], server[: sizes[1]], port, False)
        assert early is None or early == final
        ended = identify(
            client[: sizes[0]],
            server[: sizes[1]],
            port,
            False,
            client_ended=sizes[0] >= len(client),
            server_ended=sizes[1] >= len(server),
        )
        assert ended is None or ended == final


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_octets_are_too_much(client: bytes, server: bytes) -> None:
    found = identify(client, server, None, True)
    assert (found is None) == (not client and not server)


RULES = {rule for table in (rules._CLIENT_RULES, rules._SERVER_RULES) for each in table for rule in each}


@pytest.mark.parametrize("rule", sorted(RULES, key=lambda rule: f"{rule.__module__} {rule.__qualname__} {id(rule)}"))
def test_every_rule_is_needed(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, some sample is called something else."""

    def nothing(talk: Talk) -> None:
        return None

    for table in ("_CLIENT_RULES", "_SERVER_RULES"):
        kept = tuple(tuple(nothing if each is rule else each for each in by) for by in getattr(rules, table))
        monkeypatch.setattr(rules, table, kept)
    changed = [
        name
        for name, sample in SAMPLES.items()
        if identify(sample.client, sample.server, sample.port, True) != sample.tunnel
    ]
    assert changed


def test_the_window_ends_at_its_limit() -> None:
    """What comes after 4 kB of a side does not count, and is not waited for."""
    host = b"Host: a.test\r\n\r\n"
    line = b"GET / HTTP/1.1\r\nX: "
    inside = line + b"x" * (HEAD_LIMIT - len(line) - len(host) - 2) + b"\r\n" + host
    found = identify(inside, b"HTTP/1.1 200 OK\r\n", 80, False)
    assert found == Tunnel("http", "a.test", None, "GET / HTTP/1.1: 200 OK")
    beyond = line + b"x" * (HEAD_LIMIT - len(line)) + b"\r\n" + host
    found = identify(beyond, b"HTTP/1.1 200 OK\r\n", 80, False)
    assert found == Tunnel("http", None, None, "GET / HTTP/1.1: 200 OK")
    assert identify(b"\0" * HEAD_LIMIT, b"\0" * HEAD_LIMIT, None, False) == Tunnel("unknown")


def test_a_side_that_has_ended_is_not_waited_for() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert identify(request, b"", 80, False) is None
    assert identify(request, b"", 80, False, server_ended=True) == Tunnel("http", "a", None, "GET / HTTP/1.1")
    assert identify(b"", b"+OK\r\n", 110, False) is None
    assert identify(b"", b"+OK\r\n", 110, False, client_ended=True) == Tunnel("pop3", detail="+OK")


def test_a_long_line_is_cut_alike_wherever_segments_are() -> None:
    line = b"SSH-2.0-" + "ü".encode() * 300 + b"\r\n"
    found = identify(b"", line, 22, True)
    assert found is not None
    assert found.detail is not None
    assert len(found.detail) <= 200
    assert {identify(b"", line[:size], 22, False, client_ended=True) for size in range(1, len(line))} == {None, found}


def test_the_library_of_this_python() -> None:
    """A real ClientHello, in records of any size."""
    whole = client_hello()
    found = identify(whole, b"", 443, False)
    assert found is not None
    assert found[:3] == ("tls", "www.example.com", ["h2", "http/1.1"])
    assert found.detail is not None
    assert found.detail.startswith("TLS 1.3, JA4 t13d")
    for size in (50, 300):
        assert identify(in_records(whole[5:], size), b"", 443, False) == found
    unnamed = identify(client_hello(None, ()), b"", 443, False)
    assert unnamed is not None
    assert unnamed[:3] == ("tls", None, None)


class TestJa4:
    """Fingerprints that others have published for these lists."""

    CHROME = ClientHello(
        version=0x0304,
        server_name="x",
        alpn=["h2", "http/1.1"],
        first_protocol=b"h2",
        ciphers=(
            *(0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030),
            *(0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
        ),
        extensions=(
            *(0x002D, 0x0033, 0x0010, 0xFE0D, 0x0017, 0x44CD, 0x0000, 0x000B),
            *(0x000A, 0x002B, 0xFF01, 0x0023, 0x0012, 0x0005, 0x000D, 0x001B),
        ),
        signatures=(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
    )

    def test_published(self) -> None:
        assert fingerprint(self.CHROME, "t") == "t13d1516h2_8daaf6152771_d8a2da3f94cd"
        older = [kind for kind in self.CHROME.extensions if kind not in (0xFE0D, 0x44CD)] + [0x4469, 0x0015]
        assert fingerprint(self.CHROME._replace(extensions=tuple(older)), "t") == "t13d1516h2_8daaf6152771_e5627efa2ab1"

    @pytest.mark.parametrize(
        ("version", "name"),
        [(0x0300, "s3"), (0x0301, "10"), (0x0302, "11"), (0x0303, "12"), (0x0304, "13"), (0x0305, "00")],
    )
    def test_versions(self, version: int, name: str) -> None:
        assert fingerprint(self.CHROME._replace(version=version), "q")[:3] == f"q{name}"

    @pytest.mark.parametrize(
        ("protocol", "ends"),
        [(b"", "00"), (b"h2", "h2"), (b"http/1.1", "h1"), (b"x", "xx"), (b"\xab\xcd", "ad"), (b"h-", "6d")],
    )
    def test_protocols(self, protocol: bytes, ends: str) -> None:
        assert fingerprint(self.CHROME._replace(first_protocol=protocol), "t")[8:10] == ends

    def test_nothing_offered(self) -> None:
        empty = ClientHello(0x0303, None, None, b"", (), (), ())
        assert fingerprint(empty, "t") == "t12i000000_000000000000_000000000000"

    def test_more_than_99(self) -> None:
        many = self.CHROME._replace(ciphers=tuple(range(200)), extensions=tuple(range(1, 150)))
        assert fingerprint(many, "t")[4:8] == "9999"

    def test_values_sent_to_be_ignored_do_not_count(self) -> None:
        grease = [(0x1A1A, b""), server_name(b"a.test"), supported(0x3A3A, 0x0304), (0xFAFA, b"\0")]
        plain = [server_name(b"a.test"), supported(0x0304)]
        found = [
            identify(hello(extensions, ciphers), b"", 443, False)
            for extensions, ciphers in [(grease, (0x0A0A, 0x1301)), (plain, (0x1301,))]
        ]
        assert found[0] == found[1]
        assert found[0] is not None
        digest = hashlib.sha256(b"1301").hexdigest()[:12]
        assert f"JA4 t13d010200_{digest}_" in str(found[0].detail)


def test_fields_of_a_hello_that_lie() -> None:
    """Lengths beyond what is there, anywhere, end the reading and nothing else."""
    whole = hello([server_name(b"a.test"), (16, b"\0\3\2h2"), supported(0x0304), (13, b"\0\2\4\3")])[5:]
    found = read_hello(whole)
    assert (found.server_name, found.alpn, found.version, found.signatures) == ("a.test", ["h2"], 0x0304, (0x0403,))
    for at in range(4, len(whole)):
        for value in (0, 255):
            read_hello(whole[:at] + bytes([value]) + whole[at + 1 :])
    for size in range(len(whole)):
        assert set(read_hello(whole[:size]).extensions) <= {0, 13, 16, 43}


def test_the_room_gives_what_the_analysis_takes() -> None:
    assert set(tunnel.__all__) == {"DATAGRAM_LIMIT", "HEAD_LIMIT", "identify", "identify_datagrams"}
