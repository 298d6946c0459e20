"""What comes from the wire is made readable and harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.codec import decode_text, escape_text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"alice", "alice"),
        (b"", ""),
        ("b\u00fccher \u2603".encode(), "b\u00fccher \u2603"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"ok\xc3", r"ok\xc3"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),  # a surrogate is no UTF-8
        (b"a\0b", "a\0b"),
    ],
)
def test_decode_text(octets: bytes, text: str) -> None:
    assert decode_text(octets) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("example.org", "example.org"),
        ("b\u00fccher \u05d0 \u2603 \U0001f600", "b\u00fccher \u05d0 \u2603 \U0001f600"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\r\nlines\ttab", r"two\r\nlines\ttab"),
        ("a\0b\x07\x7f\x9b", r"a\x00b\x07\x7f\x9b"),
        ("\u202egro.elpmaxe\u2066", r"\u202egro.elpmaxe\u2066"),
        ("\u200e\u200f\u061c\u200b\ufeff", r"\u200e\u200f\u061c\u200b\ufeff"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\u00a0", r"\xa0"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_escape_text(text: str, escaped: str) -> None:
    assert escape_text(text) == escaped


@given(st.text(alphabet=st.characters()))
def test_escaped_text_prints(text: str) -> None:
    escaped = escape_text(text)
    assert escaped.isprintable()
    assert escape_text(escaped) == escaped
    escaped.encode("utf-8")


@given(st.binary())
def test_any_octets_become_text_that_prints(octets: bytes) -> None:
    assert escape_text(decode_text(octets)).isprintable()
