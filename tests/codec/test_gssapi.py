"""Reading what a GSSAPI wrap token carries when it protects integrity only."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks5sniff.codec import unwrap_readable

REQUEST = bytes.fromhex("05 01 00 01 c0000201 01bb")
CHECKSUM = bytes(range(0xA0, 0xAC))
# RFC 4121 s4.2.6.2: TOK_ID 0504, flags, filler FF, EC 12, RRC, SND_SEQ
PLAIN = bytes.fromhex("0504 00 ff 000c 0000 0000000000000007") + REQUEST + CHECKSUM


def test_rfc4121_plaintext_is_read() -> None:
    assert unwrap_readable(PLAIN) == REQUEST


def test_rfc4121_flags_other_than_sealed_do_not_matter() -> None:
    assert unwrap_readable(PLAIN[:2] + b"\x05" + PLAIN[3:]) == REQUEST


def test_rfc4121_rotation_is_undone() -> None:
    # RRC 12: the twelve octets of the checksum were rotated to the front.
    assert unwrap_readable(bytes.fromhex("0504 01 ff 000c 000c 0000000000000007") + CHECKSUM + REQUEST) == REQUEST
    # RRC 12 + 22, a whole turn more
    assert unwrap_readable(bytes.fromhex("0504 01 ff 000c 0022 0000000000000007") + CHECKSUM + REQUEST) == REQUEST


def test_rfc4121_protection_level_octet() -> None:
    assert unwrap_readable(bytes.fromhex("0504 00 ff 000c 0000 0000000000000000 01") + CHECKSUM) == b"\x01"


@pytest.mark.parametrize(
    "token",
    [
        PLAIN[:2] + b"\x02" + PLAIN[3:],  # sealed
        PLAIN[:3] + b"\x00" + PLAIN[4:],  # the filler is FF
        PLAIN[:15],  # cut in the header
        PLAIN[:4] + b"\xff\xff" + PLAIN[6:],  # a checksum longer than the token
        b"\x04\x04" + PLAIN[2:],  # a MIC token carries no data
        b"\x01",  # NEC's unwrapped level octet
        b"",
    ],
)
def test_what_cannot_be_read_is_none(token: bytes) -> None:
    assert unwrap_readable(token) is None


# RFC 1964 s1.2.2: TOK_ID 0201, SGN_ALG, SEAL_ALG FFFF, filler, SND_SEQ(8), SGN_CKSUM(8), confounder(8), data, padding
DES = bytes.fromhex("0201 0000 ffff ffff 1111111111111111 2222222222222222 3333333333333333") + REQUEST + b"\x06" * 6
DES3 = bytes.fromhex("0201 0400 ffff ffff 1111111111111111" + "22" * 20 + "33" * 8) + REQUEST + b"\x06" * 6
RC4 = bytes.fromhex("0201 1100 ffff ffff 1111111111111111 2222222222222222 3333333333333333") + REQUEST + b"\x01"
KERBEROS = bytes.fromhex("06 09 2a864886f712010202")


@pytest.mark.parametrize("token", [DES, DES3, RC4])
def test_rfc1964_plaintext_is_read(token: bytes) -> None:
    framed = bytes((0x60, len(KERBEROS) + len(token))) + KERBEROS + token
    assert unwrap_readable(framed) == REQUEST
    long_form = bytes((0x60, 0x81, len(KERBEROS) + len(token))) + KERBEROS + token
    assert unwrap_readable(long_form) == REQUEST
    assert unwrap_readable(token) == REQUEST


@pytest.mark.parametrize(
    "token",
    [
        DES[:4] + b"\x00\x00" + DES[6:],  # SEAL_ALG DES: sealed
        DES[:-1] + b"\x09",  # padding that is none
        DES[:-1] + b"\x00",
        DES[:-2] + b"\x05\x06",
        DES[:32],
        DES[:7],
        bytes.fromhex("60 05 06 09 2a"),
        b"\x60",
        bytes.fromhex("60 ff 06"),
    ],
)
def test_rfc1964_what_cannot_be_read_is_none(token: bytes) -> None:
    assert unwrap_readable(token) is None


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: PLAIN[:4] + tail)))
@example(PLAIN[:16])
def test_any_octets(token: bytes) -> None:
    plain = unwrap_readable(token)
    assert plain is None or len(plain) <= len(token)
