"""Capture filters: libpcap and tcpdump compile the same program, and say the same of a wrong expression."""

from __future__ import annotations

import shutil

import pytest

from socks5sniff.errors import InputError, MissingError
from socks5sniff.live import bpf
from socks5sniff.live.bpf import compile_filter, cooked
from socks5sniff.live.filter_fault import wrong

ETHERNET, RAW, SLL2 = 1, 101, 276

needs_libpcap = pytest.mark.skipif(bpf._libpcap() is None, reason="libpcap not installed")
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump not installed")


@needs_libpcap
def test_a_program_keeps_as_much_as_asked_for() -> None:
    program = compile_filter("tcp port 1080", ETHERNET, 96)
    assert (6, 0, 0, 96) in program
    assert program[-1] == (6, 0, 0, 0)


@needs_libpcap
@needs_tcpdump
@pytest.mark.parametrize("link_type", [ETHERNET, RAW, SLL2])
@pytest.mark.parametrize("expression", ["tcp port 1080", "host 127.0.0.1 and not udp", "ip6", "greater 100 or icmp"])
def test_without_libpcap_tcpdump_compiles_the_same(
    expression: str, link_type: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_filter(expression, link_type, 262_144)
    monkeypatch.setattr(bpf, "_libpcap", lambda: None)
    assert compile_filter(expression, link_type, 262_144) == program


@needs_libpcap
@needs_tcpdump
@pytest.mark.parametrize("expression", ["tcp prt 1080", "port 99999", "tcp and (udp"])
def test_a_wrong_expression_gives_libpcaps_words_in_one_line(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as by_libpcap:
        compile_filter(expression, ETHERNET, 65535)
    monkeypatch.setattr(bpf, "_libpcap", lambda: None)
    with pytest.raises(InputError) as by_tcpdump:
        compile_filter(expression, ETHERNET, 65535)
    assert str(by_libpcap.value) == str(by_tcpdump.value)
    assert expression in str(by_libpcap.value)
    assert "\n" not in str(by_libpcap.value)


@needs_libpcap
@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("tcp prt 1080", " at character 5, near 'prt'"),
        ("(tcp port 80 or udp) and prt 53 or prt 54", " at character 26, near 'prt'"),
        ("tcp port 1080 )", " at character 15, near ')'"),
        ("tcp && (udp || ip6", " at character 19, the end"),
        ("port 80 or port 99999 and tcp", "illegal port number 99999 > 65535 at character 17, near '99999'"),
        ("tcp port http or nowhere", "unknown port 'nowhere' at character 18, near 'nowhere'"),
        ("icmp and tcp port 80", "expression rejects all packets"),  # none of its words is wrong
    ],
)
def test_the_message_says_where_the_expression_is_wrong(expression: str, where: str) -> None:
    with pytest.raises(InputError) as fault:
        compile_filter(expression, ETHERNET, 65535)
    assert str(fault.value).startswith(f"filter {expression!r}: ")
    assert str(fault.value).endswith(where)


def test_where_is_not_told_by_a_libpcap_that_complains_of_everything_alike() -> None:
    fault = wrong("tcp prt 1080", "syntax error", lambda expression: "syntax error")
    assert str(fault) == "filter 'tcp prt 1080': syntax error"


def test_with_neither_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "_libpcap", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingError, match="apt install libpcap"):
        compile_filter("tcp", ETHERNET, 65535)


@needs_libpcap
def test_a_program_too_long_for_the_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "_LIMIT", 20)  # the kernel's 4,096 take libpcap's optimiser minutes to reach
    assert len(compile_filter("ip", ETHERNET, 65535)) <= 20
    with pytest.raises(InputError, match=r"too long: .* 20 are allowed"):
        compile_filter("tcp port 1080 or tcp port 9050", ETHERNET, 65535)


def test_a_cooked_program_looks_past_the_header_that_is_not_there() -> None:
    load_halfword, load_byte, load_word, index_header, return_ = 0x28, 0x30, 0x20, 0xB1, 6
    program = [
        (load_halfword, 0, 0, 0),
        (load_word, 0, 0, 4),
        (load_byte, 0, 0, 10),
        (load_byte, 0, 0, 29),
        (index_header, 0, 0, 20),
        (return_, 0, 0, 262_144),
        (return_, 0, 0, 0),
    ]
    at = 0x1_0000_0000 - 0x1000
    assert cooked(program) == [
        (load_halfword, 0, 0, at),
        (load_word, 0, 0, at + 8),
        (load_byte, 0, 0, at + 4),
        (load_byte, 0, 0, 9),
        (index_header, 0, 0, 0),
        (return_, 0, 0, 262_124),
        (return_, 0, 0, 0),
    ]


def test_a_part_of_the_header_that_the_kernel_does_not_show_is_refused() -> None:
    with pytest.raises(InputError, match="`any`"):
        cooked([(0x30, 0, 0, 12)])
