"""Octets to frames and back, frame by frame.

The golden octets were written by hand from the field tables of RFC 1928, 1929 and 1961, the SOCKS4 and SOCKS4A memos
and Tor's socks-extensions, not taken from our encoder.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.codec import (
    ANOMALIES,
    MAX_ADDRESSED,
    MAX_AUTH_REQUEST,
    MAX_GREETING,
    MAX_GSSAPI,
    MAX_SOCKS4_REQUEST,
    MAX_SOCKS4_STRING,
    Address,
    AuthReply,
    AuthRequest,
    Decoded,
    FwdUdpHeader,
    Greeting,
    GssapiMessage,
    MethodSelection,
    Mismatch,
    NeedMore,
    Reply,
    Request,
    Socks4Reply,
    Socks4Request,
    UdpHeader,
    decode_auth_reply,
    decode_auth_request,
    decode_fwd_udp_header,
    decode_gost_udp_header,
    decode_greeting,
    decode_gssapi,
    decode_method_selection,
    decode_reply,
    decode_request,
    decode_socks4_reply,
    decode_socks4_request,
    decode_udp_header,
)
from socks5sniff.codec.decode import destination_deviations

Decode = Callable[..., Any]

DECODERS: dict[Decode, int] = {
    decode_greeting: MAX_GREETING,
    decode_method_selection: 2,
    decode_auth_request: MAX_AUTH_REQUEST,
    decode_auth_reply: 2,
    decode_gssapi: MAX_GSSAPI,
    decode_request: MAX_ADDRESSED,
    decode_reply: MAX_ADDRESSED,
    decode_udp_header: MAX_ADDRESSED,
    decode_gost_udp_header: MAX_ADDRESSED,
    decode_fwd_udp_header: MAX_ADDRESSED,
    decode_socks4_request: MAX_SOCKS4_REQUEST,
    decode_socks4_reply: 8,
}
"""Every decode function and the most octets its frame can have."""


def ipv4(a: int, b: int, c: int, d: int, port: int) -> Address:
    return Address(1, bytes((a, b, c, d)), port)


def name(host: bytes, port: int) -> Address:
    return Address(3, host, port)


V6 = Address(4, b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", 443)

GOLDEN: list[tuple[str, Decode, str, Any]] = [
    # RFC 1928 s3: VER NMETHODS METHODS, then VER METHOD
    ("greeting", decode_greeting, "05 03 00 01 02", Greeting(b"\x00\x01\x02")),
    ("greeting-one", decode_greeting, "05 01 00", Greeting(b"\x00")),
    ("greeting-private", decode_greeting, "05 02 42 91", Greeting(b"\x42\x91")),
    ("choice-none", decode_method_selection, "05 00", MethodSelection(0)),
    ("choice-unacceptable", decode_method_selection, "05 ff", MethodSelection(0xFF)),
    # RFC 1929 s2: VER ULEN UNAME PLEN PASSWD, then VER STATUS
    ("auth", decode_auth_request, "01 05 616c696365 06 736563726574", AuthRequest(b"alice", b"secret")),
    ("auth-not-utf8", decode_auth_request, "01 02 ff00 01 80", AuthRequest(b"\xff\0", b"\x80")),
    ("auth-success", decode_auth_reply, "01 00", AuthReply(0)),
    ("auth-failure", decode_auth_reply, "01 01", AuthReply(1)),
    # RFC 1961 s3: VER MTYP LEN TOKEN
    ("gssapi-token", decode_gssapi, "01 01 0003 608201", GssapiMessage(1, b"\x60\x82\x01")),
    ("gssapi-level", decode_gssapi, "01 02 0001 01", GssapiMessage(2, b"\x01")),
    ("gssapi-data", decode_gssapi, "01 03 0100" + "aa" * 256, GssapiMessage(3, b"\xaa" * 256)),
    ("gssapi-empty", decode_gssapi, "01 03 0000", GssapiMessage(3)),
    ("gssapi-abort", decode_gssapi, "01 ff", GssapiMessage(0xFF)),
    ("gssapi-unknown-type", decode_gssapi, "01 07 0001 55", GssapiMessage(7, b"\x55")),
    # RFC 1928 s4: VER CMD RSV ATYP DST.ADDR DST.PORT
    ("connect-ipv4", decode_request, "05 01 00 01 c0000201 01bb", Request(1, ipv4(192, 0, 2, 1, 443))),
    (
        "connect-domain",
        decode_request,
        "05 01 00 03 0b 6578616d706c652e6f7267 0050",
        Request(1, name(b"example.org", 80)),
    ),
    ("connect-ipv6", decode_request, "05 01 00 04 20010db8000000000000000000000001 01bb", Request(1, V6)),
    ("bind", decode_request, "05 02 00 01 c6336407 0015", Request(2, ipv4(198, 51, 100, 7, 21))),
    ("udp-associate", decode_request, "05 03 00 01 00000000 0000", Request(3, ipv4(0, 0, 0, 0, 0))),
    ("tor-resolve", decode_request, "05 f0 00 03 04 612e6f72 0000", Request(0xF0, name(b"a.or", 0))),
    ("tor-resolve-ptr", decode_request, "05 f1 00 01 7f000001 0000", Request(0xF1, ipv4(127, 0, 0, 1, 0))),
    # RFC 1928 s6: VER REP RSV ATYP BND.ADDR BND.PORT
    ("succeeded", decode_reply, "05 00 00 01 00000000 0000", Reply(0, ipv4(0, 0, 0, 0, 0))),
    ("refused", decode_reply, "05 05 00 01 00000000 0000", Reply(5, ipv4(0, 0, 0, 0, 0))),
    (
        "reply-domain",
        decode_reply,
        "05 00 00 03 09 6c6f63616c686f7374 0438",
        Reply(0, name(b"localhost", 1080)),
    ),
    ("reply-ipv6", decode_reply, "05 00 00 04 20010db8000000000000000000000001 01bb", Reply(0, V6)),
    ("tor-extended-error", decode_reply, "05 f7 00 01 00000000 0000", Reply(0xF7, ipv4(0, 0, 0, 0, 0))),
    # RFC 1928 s7: RSV FRAG ATYP DST.ADDR DST.PORT
    ("udp-ipv4", decode_udp_header, "0000 00 01 08080808 0035", UdpHeader(ipv4(8, 8, 8, 8, 53))),
    ("udp-last-fragment", decode_udp_header, "0000 83 01 08080404 0035", UdpHeader(ipv4(8, 8, 4, 4, 53), 0x83)),
    ("udp-domain", decode_udp_header, "0000 00 03 03 646e73 0035", UdpHeader(name(b"dns", 53))),
    ("udp-ipv6", decode_udp_header, "0000 00 04 20010db8000000000000000000000001 01bb", UdpHeader(V6)),
    ("gost-udp", decode_gost_udp_header, "0123 00 01 08080808 0035", UdpHeader(ipv4(8, 8, 8, 8, 53), 0, 0x123)),
    ("fwd-udp", decode_fwd_udp_header, "0123 0a 01 08080808 0035", FwdUdpHeader(ipv4(8, 8, 8, 8, 53), 0x123, 10)),
    # SOCKS4 memo: VN CD DSTPORT DSTIP USERID NUL; SOCKS4A: DSTIP 0.0.0.x, then the host name and a NUL
    (
        "socks4",
        decode_socks4_request,
        "04 01 0050 42660763 46726564 00",
        Socks4Request(1, ipv4(66, 102, 7, 99, 80), b"Fred"),
    ),
    ("socks4-no-user", decode_socks4_request, "04 02 0050 c0000201 00", Socks4Request(2, ipv4(192, 0, 2, 1, 80), b"")),
    (
        "socks4-zero-address",
        decode_socks4_request,
        "04 01 0050 00000000 00",
        Socks4Request(1, ipv4(0, 0, 0, 0, 80), b""),
    ),
    (
        "socks4a",
        decode_socks4_request,
        "04 01 0050 00000001 46726564 00 6578616d706c652e636f6d 00",
        Socks4Request(1, name(b"example.com", 80), b"Fred"),
    ),
    (
        "socks4a-other-literal",
        decode_socks4_request,
        "04 01 01bb 000000ff 00 6578616d706c652e636f6d 00",
        Socks4Request(1, name(b"example.com", 443), b"", literal=0xFF),
    ),
    (
        "tor-resolve-over-socks4a",
        decode_socks4_request,
        "04 f0 0000 00000001 00 746f7270726f6a6563742e6f7267 00",
        Socks4Request(0xF0, name(b"torproject.org", 0), b""),
    ),
    (
        "tor-resolve-ptr-over-socks4",
        decode_socks4_request,
        "04 f1 0000 7f000001 00",
        Socks4Request(0xF1, ipv4(127, 0, 0, 1, 0), b""),
    ),
    ("granted", decode_socks4_reply, "00 5a 0000 00000000", Socks4Reply(90, ipv4(0, 0, 0, 0, 0))),
    ("rejected", decode_socks4_reply, "00 5b 0050 c0000201", Socks4Reply(91, ipv4(192, 0, 2, 1, 80))),
]

golden = pytest.mark.parametrize(
    ("decode", "octets", "frame"),
    [pytest.param(decode, bytes.fromhex(octets), frame, id=case) for case, decode, octets, frame in GOLDEN],
)


class TestThreeWays:
    """Each message whole, one octet at a time, and with octets after it; from elsewhere than the start, too."""

    @golden
    def test_whole(self, decode: Decode, octets: bytes, frame: Any) -> None:
        assert decode(octets) == Decoded(frame, len(octets), ())

    @golden
    def test_one_octet_at_a_time(self, decode: Decode, octets: bytes, frame: Any) -> None:
        for have in range(len(octets)):
            result = decode(octets[:have])
            assert isinstance(result, NeedMore)
            assert have < result.octets <= len(octets)
        assert decode(octets).frame == frame

    @golden
    def test_octets_after_it_are_left_alone(self, decode: Decode, octets: bytes, frame: Any) -> None:
        assert decode(octets + b"\x05\x00\xff" * 300) == Decoded(frame, len(octets), ())

    @golden
    def test_from_an_offset(self, decode: Decode, octets: bytes, frame: Any) -> None:
        assert decode(b"\x05\x00" + octets + b"\x01", 2) == Decoded(frame, len(octets), ())
        assert isinstance(decode(b"\x05\x00" + octets[:-1], 2), NeedMore)
        assert isinstance(decode(octets, len(octets)), NeedMore)

    @golden
    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_from_other_buffers(self, decode: Decode, octets: bytes, frame: Any, kind: Callable[[bytes], Any]) -> None:
        decoded = decode(kind(b"\0" + octets + b"tail"), 1)
        assert decoded == Decoded(frame, len(octets), ())
        assert hash(decoded.frame) == hash(frame)  # bytes inside, not views of the caller's buffer

    @golden
    def test_encode(self, decode: Decode, octets: bytes, frame: Any) -> None:
        assert frame.encode() == octets

    def test_every_decode_function_has_golden_octets(self) -> None:
        assert {decode for _, decode, _, _ in GOLDEN} == set(DECODERS)


DEVIATIONS: list[tuple[Decode, str, list[str]]] = [
    (decode_greeting, "04 01 00", ["bad-version"]),
    (decode_greeting, "05 00", ["no-methods-offered"]),
    (decode_greeting, "06 00", ["bad-version", "no-methods-offered"]),
    (decode_greeting, "05 03 00 02 00", ["duplicate-methods"]),
    (decode_method_selection, "00 00", ["bad-version"]),
    (decode_auth_request, "05 01 61 01 62", ["auth-version"]),
    (decode_auth_request, "01 00 01 62", ["empty-credential"]),
    (decode_auth_request, "01 01 61 00", ["empty-credential"]),
    (decode_auth_request, "01 00 00", ["empty-credential", "empty-credential"]),
    (decode_auth_reply, "05 00", ["auth-version"]),
    (decode_gssapi, "05 01 0000", ["auth-version"]),
    (decode_gssapi, "05 ff", ["auth-version"]),
    (decode_request, "04 01 00 01 7f000001 0050", ["bad-version"]),
    (decode_request, "05 99 00 01 7f000001 0050", ["unknown-command"]),
    (decode_request, "05 00 00 01 7f000001 0000", ["unknown-command"]),
    (decode_request, "05 01 07 01 7f000001 0050", ["reserved-nonzero"]),
    (decode_request, "05 01 00 01 7f000001 0000", ["zero-port"]),
    (decode_request, "05 02 00 01 7f000001 0000", []),
    (decode_request, "05 01 00 03 00 0050", ["empty-domain"]),
    (decode_request, "05 01 00 03 02 c3bc 0050", ["domain-not-ascii"]),
    (decode_request, "05 01 00 03 03 610062 0050", ["domain-has-nul"]),
    (decode_request, "05 01 00 03 01 00 0050", ["domain-has-nul"]),
    (decode_request, "05 01 00 03 02 ff00 0050", ["domain-not-ascii", "domain-has-nul"]),
    (decode_request, "05 01 00 03 09" + b"192.0.2.1".hex() + "0050", ["domain-is-ip-literal"]),
    (decode_request, "05 01 00 03 09" + b"192.0.2.9".hex() + "0050", ["domain-is-ip-literal"]),
    (decode_request, "05 01 00 03 03" + b"::1".hex() + "0050", ["domain-is-ip-literal"]),
    (decode_request, "05 01 00 03 05" + b"[::1]".hex() + "0050", ["domain-is-ip-literal", "odd-destination"]),
    (decode_request, "05 01 00 03 0c" + b"fe80::1%eth0".hex() + "0050", ["domain-is-ip-literal"]),
    (decode_request, "05 01 00 03 08" + b"fe80::ab".hex() + "0050", ["domain-is-ip-literal"]),
    (decode_request, "05 01 00 03 05" + b"host9".hex() + "0050", []),
    (decode_request, "05 01 00 03 09" + b"1.2.3.256".hex() + "0050", []),
    (decode_request, "05 01 00 03 02" + b"a.".hex() + "0050", []),
    (
        decode_request,
        "00 00 01 03 00 0000",
        ["bad-version", "unknown-command", "reserved-nonzero", "empty-domain"],
    ),
    (decode_request, "05 01 00 03 00 0000", ["empty-domain", "zero-port"]),
    (decode_reply, "00 00 00 01 00000000 0000", ["bad-version"]),
    (decode_reply, "05 33 00 01 00000000 0000", ["unknown-reply"]),
    (decode_reply, "05 ff 00 01 00000000 0000", ["unknown-reply"]),
    (decode_reply, "05 09 00 01 00000000 0000", []),
    (decode_reply, "05 00 ff 01 00000000 0000", ["reserved-nonzero"]),
    (decode_reply, "05 00 00 03 00 0000", ["empty-domain"]),
    (decode_udp_header, "0001 00 01 08080808 0035", ["reserved-nonzero"]),
    (decode_udp_header, "0100 00 03 00 0035", ["reserved-nonzero", "empty-domain"]),
    (decode_udp_header, "0000 00 01 08080808 0000", []),
    (decode_gost_udp_header, "0100 00 03 00 0035", ["empty-domain"]),
    (decode_fwd_udp_header, "ffff ff 01 08080808 0035", []),
    (decode_socks4_request, "05 01 0050 7f000001 00", ["bad-version"]),
    (decode_socks4_request, "04 03 0050 7f000001 00", ["unknown-command"]),
    (decode_socks4_request, "04 01 0000 7f000001 00", ["zero-port"]),
    (decode_socks4_request, "04 02 0000 7f000001 00", []),
    (decode_socks4_request, "04 01 0050 00000001 00 00", ["empty-domain"]),
    (decode_socks4_request, "04 01 0050 00000001 00" + b"1.2.3.4".hex() + "00", ["domain-is-ip-literal"]),
    (decode_socks4_request, "04 01 0050 00000001 00 ff 00", ["domain-not-ascii"]),
    (decode_socks4_reply, "04 5a 0000 00000000", ["bad-version"]),
    (decode_socks4_reply, "00 00 0000 00000000", ["unknown-reply"]),
    (decode_socks4_reply, "00 5e 0000 00000000", ["unknown-reply"]),
]


class TestDeviations:
    """What departs from the specification is told beside the frame, in the order of the fields."""

    @pytest.mark.parametrize(("decode", "octets", "codes"), DEVIATIONS)
    def test_codes(self, decode: Decode, octets: str, codes: list[str]) -> None:
        raw = bytes.fromhex(octets)
        decoded = decode(raw)
        assert [deviation.code for deviation in decoded.deviations] == codes
        assert all(deviation.message.isprintable() for deviation in decoded.deviations)
        # A deviation neither hides the frame nor changes its octets.
        assert decoded.length == len(raw)
        assert decoded.frame.encode() == raw

    def test_all_that_the_codec_can_see_is_tested(self) -> None:
        seen = {
            deviation.code for decode, octets, _ in DEVIATIONS for deviation in decode(bytes.fromhex(octets)).deviations
        }
        assert seen == {
            "bad-version",
            "no-methods-offered",
            "duplicate-methods",
            "empty-credential",
            "auth-version",
            "reserved-nonzero",
            "unknown-command",
            "unknown-reply",
            "empty-domain",
            "domain-not-ascii",
            "domain-is-ip-literal",
            "domain-has-nul",
            "zero-port",
            "odd-destination",
        }

    def test_the_message_names_the_values(self) -> None:
        request = decode_request(bytes.fromhex("04 99 07 01 7f000001 0050"))
        assert isinstance(request, Decoded)
        assert request.deviations == (
            ("bad-version", "the request has version 4, not 5"),
            ("unknown-command", "no command 0x99 is known"),
            ("reserved-nonzero", "RSV of the request is 0x07"),
        )
        greeting = decode_greeting(bytes.fromhex("05 05 02 00 02 80 80"))
        assert isinstance(greeting, Decoded)
        assert greeting.deviations == (("duplicate-methods", "offered more than once: 0x02, 0x80"),)


class TestMismatch:
    """Octets that have no end as this frame, whatever follows."""

    @pytest.mark.parametrize("decode", [decode_request, decode_reply, decode_udp_header, decode_fwd_udp_header])
    @pytest.mark.parametrize("address_type", [0, 2, 5, 0x99, 0xFF])
    def test_unknown_address_type(self, decode: Decode, address_type: int) -> None:
        octets = bytes((5, 1, 0, address_type))
        assert isinstance(decode(octets[:3]), NeedMore)
        for tail in (b"", b"\0" * 300):
            result = decode(octets + tail)
            assert isinstance(result, Mismatch)
            assert result.deviation.code == "unknown-address-type"
            assert f"0x{address_type:02x}" in result.deviation.message

    def test_a_socks4_user_id_ends_within_its_limit(self) -> None:
        head = bytes.fromhex("04 01 0050 7f000001")
        longest = b"u" * MAX_SOCKS4_STRING
        assert decode_socks4_request(head + longest) == NeedMore(8 + 513)
        decoded = decode_socks4_request(head + longest + b"\0tail")
        assert isinstance(decoded, Decoded)
        assert (decoded.frame.user, decoded.length) == (longest, 8 + 513)
        for tail in (b"", b"\0", b"u" * 100_000 + b"\0"):
            assert isinstance(decode_socks4_request(head + longest + b"u" + tail), Mismatch)

    def test_a_socks4a_host_name_ends_within_its_limit(self) -> None:
        head = bytes.fromhex("04 01 0050 00000001") + b"u" * MAX_SOCKS4_STRING + b"\0"
        longest = b"h" * MAX_SOCKS4_STRING
        assert decode_socks4_request(head + longest) == NeedMore(MAX_SOCKS4_REQUEST)
        decoded = decode_socks4_request(head + longest + b"\0tail")
        assert isinstance(decoded, Decoded)
        assert (decoded.frame.destination.host, decoded.length) == (longest, MAX_SOCKS4_REQUEST)
        assert decoded.frame.encode() == head + longest + b"\0"
        for tail in (b"", b"\0", b"h" * 100_000 + b"\0"):
            result = decode_socks4_request(head + longest + b"h" + tail)
            assert isinstance(result, Mismatch)
            assert result.deviation.code in ANOMALIES
            assert "host name" in result.deviation.message


class TestNeedMore:
    """How many octets are asked for: the least with which there can be a verdict."""

    @pytest.mark.parametrize(
        ("decode", "octets", "least"),
        [
            (decode_greeting, "", 2),
            (decode_greeting, "05 ff", 257),
            (decode_method_selection, "05", 2),
            (decode_auth_request, "01", 3),
            (decode_auth_request, "01 ff", 258),
            (decode_auth_request, "01 01 61 ff", 259),
            (decode_gssapi, "01", 2),
            (decode_gssapi, "01 01", 4),
            (decode_gssapi, "01 01 02", 516),
            (decode_gssapi, "01 01 ffff", 65539),
            (decode_request, "05 01 00", 4),
            (decode_request, "05 01 00 01", 10),
            (decode_request, "05 01 00 03", 7),
            (decode_request, "05 01 00 03 ff", 262),
            (decode_request, "05 01 00 04", 22),
            # The two- and four-octet refusals of some servers: the caller judges them when the stream ends.
            (decode_reply, "05 01", 4),
            (decode_reply, "05 01 00 01", 10),
            (decode_socks4_reply, "00 5b", 8),
            (decode_socks4_reply, "00 5b 0000", 8),
            (decode_socks4_request, "04 01", 9),
            (decode_socks4_request, "04 01 0050 7f000001", 9),
            (decode_socks4_request, "04 01 0050 7f000001 61 62", 11),
            (decode_socks4_request, "04 01 0050 00000001", 10),
            (decode_socks4_request, "04 01 0050 00000001 61 00 62", 12),
        ],
    )
    def test_least(self, decode: Decode, octets: str, least: int) -> None:
        assert decode(bytes.fromhex(octets)) == NeedMore(least)


# Octets near a frame: a golden one with some octets changed, cut or followed by others; or anything.
near_frames = st.builds(
    lambda case, changes, cut, tail: _changed(bytes.fromhex(case[2]), changes)[: -cut or None] + tail,
    st.sampled_from(GOLDEN),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255)), max_size=3),
    st.integers(0, 4),
    st.binary(max_size=40),
)
any_octets = st.one_of(near_frames, st.binary(max_size=600))
any_decode = st.sampled_from(list(DECODERS))


def _changed(octets: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(octets)
    for at, value in changes:
        if at < len(changed):
            changed[at] = value
    return bytes(changed)


class TestAnyOctets:
    """Whatever the octets: no exception, a bounded frame, and the same octets again from the frame."""

    @given(any_decode, any_octets, st.integers(0, 20))
    @settings(max_examples=1500, deadline=None)
    def test_decode(self, decode: Decode, octets: bytes, start: int) -> None:
        result = decode(octets, start)
        have = max(0, len(octets) - start)
        if isinstance(result, Decoded):
            assert 0 < result.length <= min(have, DECODERS[decode])
            assert result.frame.encode() == octets[start : start + result.length]
            assert {deviation.code for deviation in result.deviations} <= set(ANOMALIES)
            # The octets after the frame have no say.
            assert decode(octets[: start + result.length], start) == result
        elif isinstance(result, NeedMore):
            assert have < result.octets <= DECODERS[decode]
        else:
            assert result.deviation.code in ANOMALIES
            assert decode(octets + b"\0" * 9, start) == result
        for other in (bytearray(octets), memoryview(octets)):
            assert decode(other, start) == result

    @given(any_decode, any_octets, st.binary(max_size=300))
    @settings(max_examples=1000, deadline=None)
    def test_need_more_is_the_least(self, decode: Decode, octets: bytes, more: bytes) -> None:
        result = decode(octets)
        if isinstance(result, NeedMore):
            missing = result.octets - len(octets)
            assert isinstance(decode((octets + more)[: result.octets - 1]), NeedMore)
            assert not all(isinstance(decode(octets + bytes((fill,)) * missing), NeedMore) for fill in (0, 0xFF))


octet = st.integers(0, 0xFF)
port = st.integers(0, 0xFFFF)
string = st.one_of(st.binary(max_size=20), st.binary(min_size=250, max_size=255))
nul_free = st.binary(max_size=30).map(lambda octets: octets.replace(b"\0", b"a"))
ipv4_addresses = st.builds(Address, st.just(1), st.binary(min_size=4, max_size=4), port)
addresses = st.one_of(
    ipv4_addresses,
    st.builds(Address, st.just(3), string, port),
    st.builds(Address, st.just(4), st.binary(min_size=16, max_size=16), port),
)
FRAMES: dict[Decode, st.SearchStrategy[Any]] = {
    decode_greeting: st.builds(Greeting, string, octet),
    decode_method_selection: st.builds(MethodSelection, octet, octet),
    decode_auth_request: st.builds(AuthRequest, string, string, octet),
    decode_auth_reply: st.builds(AuthReply, octet, octet),
    decode_gssapi: st.one_of(
        st.builds(GssapiMessage, st.integers(0, 0xFE), st.binary(max_size=600), octet),
        st.builds(GssapiMessage, st.just(0xFF), st.just(b""), octet),
    ),
    decode_request: st.builds(Request, octet, addresses, octet, octet),
    decode_reply: st.builds(Reply, octet, addresses, octet, octet),
    decode_udp_header: st.builds(UdpHeader, addresses, octet, port),
    decode_gost_udp_header: st.builds(UdpHeader, addresses, octet, port),
    decode_fwd_udp_header: st.builds(FwdUdpHeader, addresses, port, octet),
    decode_socks4_request: st.one_of(
        st.builds(
            Socks4Request,
            octet,
            ipv4_addresses.filter(lambda address: address.host[:3] != b"\0\0\0" or not address.host[3]),
            nul_free,
            octet,
        ),
        st.builds(
            Socks4Request, octet, st.builds(Address, st.just(3), nul_free, port), nul_free, octet, st.integers(1, 255)
        ),
    ),
    decode_socks4_reply: st.builds(Socks4Reply, octet, ipv4_addresses, octet),
}


@pytest.mark.parametrize("decode", FRAMES)
@given(data=st.data(), tail=st.binary(max_size=20))
@settings(deadline=None)
def test_every_frame_survives_the_wire(decode: Decode, data: st.DataObject, tail: bytes) -> None:
    frame = data.draw(FRAMES[decode])
    octets = frame.encode()
    decoded = decode(octets + tail)
    assert (decoded.frame, decoded.length) == (frame, len(octets))
    for have in range(len(octets)):
        assert isinstance(decode(octets[:have]), NeedMore)


def test_every_decode_function_has_generated_frames() -> None:
    assert set(FRAMES) == set(DECODERS)


LONGEST: list[tuple[Decode, Any]] = [
    (decode_greeting, Greeting(bytes(255))),
    (decode_auth_request, AuthRequest(bytes(255), bytes(255))),
    (decode_gssapi, GssapiMessage(3, bytes(65535))),
    (decode_request, Request(1, name(bytes(255), 80))),
    (decode_reply, Reply(0, name(bytes(255), 80))),
    (decode_udp_header, UdpHeader(name(bytes(255), 80))),
    (decode_fwd_udp_header, FwdUdpHeader(name(bytes(255), 80), 0, 0)),
]


@pytest.mark.parametrize(("decode", "frame"), LONGEST)
def test_the_longest_frame_has_as_many_octets_as_its_limit(decode: Decode, frame: Any) -> None:
    octets = frame.encode()
    assert len(octets) == DECODERS[decode]
    for buffer in (octets, memoryview(octets + b"tail")):
        decoded = decode(buffer)
        assert (decoded.frame, decoded.length) == (frame, len(octets))
    assert decode(octets[:-1]) == NeedMore(len(octets))


URL, PATH, WITH_PORT, BRACKETS = "a URL", "a name with a path", "a name with a port", "an address in brackets"
NUMBER = "a number in another notation than an address has"


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("http://www.example.test/", URL),
        ("www.example.test/path", PATH),
        ("www.example.test:443", WITH_PORT),
        ("www.example.test:44321", WITH_PORT),
        ("192.0.2.1:80", WITH_PORT),
        ("[2001:db8::1]:80", WITH_PORT),
        ("[::1]", BRACKETS),
        ("127.1", NUMBER),
        ("0300.0250.1.1", NUMBER),
        ("3325256711", NUMBER),
        ("0x7f000001", NUMBER),
        ("0x7f.1", NUMBER),
        ("0x7f00000a", NUMBER),
        ("0XC000020A", NUMBER),
        ("www.example.test", None),
        ("www.example.test:443210", None),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
        ("example.test.", None),
        ("9gag.com", None),
        ("0xdead.example.test", None),
        ("4.3.2.1.in-addr.arpa", None),
        ("host1", None),
        ("", None),
    ],
)
def test_odd_destinations(name: str, odd: str | None) -> None:
    """In requests of both versions; BND and the relay's datagrams hold what proxies write."""
    octets = bytes([len(name)]) + name.encode()
    for found in (
        decode_request(b"\5\1\0\3" + octets + b"\0\x50"),
        decode_socks4_request(b"\4\1\0\x50\0\0\0\1\0" + name.encode() + b"\0"),
    ):
        assert isinstance(found, Decoded)
        messages = [entry.message for entry in found.deviations if entry.code == "odd-destination"]
        assert messages == ([] if odd is None else [f"the domain name is {odd}"])
    reply = decode_reply(b"\5\0\0\3" + octets + b"\0\x50")
    assert isinstance(reply, Decoded)
    assert "odd-destination" not in {entry.code for entry in reply.deviations}


PARTS = st.builds(
    lambda number, notation: notation.format(number),
    st.sampled_from([0, 1, 7, 8, 255, 256, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, 0xFFFFFFFF, 0x100000000])
    | st.integers(0, 1 << 33),
    st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "00{:o}"]),
)


@given(st.lists(PARTS, min_size=1, max_size=5).map(".".join))
@example("08.1.1.1")
@example("1.2.3.09")
@example("0.0xa")
@example("192.0.2.1.")
def test_numbers_that_resolvers_take_for_an_address_are_odd(name: str) -> None:
    """As the C library's own function reads them, but for an address as it should be written."""
    taken = True
    try:
        socket.inet_aton(name.removesuffix("."))
    except OSError:
        taken = False
    usual = re.fullmatch(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})", name) is not None
    assert bool(destination_deviations(name.encode())) == (taken and not usual)
