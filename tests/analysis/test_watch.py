"""What is ruled out by how a connection begins is nothing that a session would have followed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.analysis.watch import IGNORED, UNDECIDED, Watch, _greet
from socks5sniff.session import PREAMBLE_LIMIT, find_greeting
from socks5sniff.streams.heads import SHORT
from socks5sniff.streams.octets import Payloads
from tests.traffic import CHOICE, CLIENT, GREETING, HTTP, PLAIN, REPLY, REQUEST, SERVER, analyse, connection

RPC_BIND = b"\5\0\x0b\3\x10\0\0\0"
RPC_ANSWER = b"\5\0\x0c\3\x10\0\0\0"
_PIECES = [
    GREETING, CHOICE, REQUEST, REPLY, HTTP, RPC_BIND, RPC_ANSWER, b"\5\2", b"\5\xff", b"\1\1a\1b", b"\1\0",
    b"\4\1\0\x50", b"\4\1\0\x50\1\2\3\4u\0", b"\0\x5a\0\0\0\0\0\0", b"x" * PREAMBLE_LIMIT, b"x" * 600,
    b"\5\0" + REQUEST, CHOICE + REPLY, b"\0id\5", b"id\5\1\0", b"\5\3\0\2\x80", b"\0\1\5\1", b"\2\5\1\1b",
]  # fmt: skip
_OCTETS = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 0x0B, 0x5A, 0xFF]), min_size=1, max_size=6).map(bytes)
_SAID = st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.sampled_from(_PIECES) | _OCTETS), max_size=7)


@pytest.mark.parametrize("opening", [True, False], ids=["whole", "midstream"])
@settings(deadline=None, max_examples=150)
@given(said=_SAID)
@example(said=[(CLIENT, RPC_BIND), (SERVER, RPC_ANSWER)])
@example(said=[(CLIENT, b"\5\0\x0b"), (SERVER, b"\5\xff")])
@example(said=[(SERVER, CHOICE), (CLIENT, b"\5\0\x0b")])
@example(said=[(SERVER, RPC_BIND), (CLIENT, CHOICE), (CLIENT, REPLY)])
@example(said=[(CLIENT, b"\5\0" + REQUEST), (SERVER, CHOICE + REPLY)])
@example(said=[(CLIENT, b"\5\0\1\1a\1b" + REQUEST), (SERVER, b"\5\2\1\0" + REPLY)])
@example(said=[(CLIENT, b"ok"), (SERVER, b"\0\0id7" + GREETING), (CLIENT, CHOICE), (SERVER, REQUEST), (CLIENT, REPLY)])
@example(said=[(CLIENT, b"x" * PREAMBLE_LIMIT), (SERVER, GREETING), (CLIENT, CHOICE), (SERVER, REQUEST)])
def test_no_record_is_lost_by_ruling_out(opening: bool, said: list[tuple[int, bytes]]) -> None:
    packets = connection(said, proxy=("10.0.0.9", 34567), opening=opening)
    packets += connection(PLAIN, client=("10.0.0.2", 40000))
    found = [record.as_dict() for record in analyse(packets)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "_rule_out", lambda *_: None)
        patch.setattr(Watch, "hopeless", lambda _, slots: np.zeros(len(slots), np.bool_))
        assert found == [record.as_dict() for record in analyse(packets)]


def may_greet(octets: bytes) -> bool:
    short = np.zeros((1, SHORT), np.uint8)
    short[0, : len(octets)] = np.frombuffer(octets, np.uint8)[:SHORT]
    return bool(len(_greet(short, np.array([len(octets)]), np.array([PREAMBLE_LIMIT]))))


@given(
    octets=st.lists(st.sampled_from([0, 1, 2, 3, 5, 0x0B, 0x80, 0xFF]), max_size=12).map(bytes),
    before=st.integers(0, 70),
)
def test_where_a_greeting_is_one_is_seen(octets: bytes, before: int) -> None:
    said = b"x" * before + octets
    whole = any(find_greeting(said[:end]) is not None for end in range(len(said) + 1))
    assert may_greet(said) or not whole


@pytest.mark.parametrize("octets", [b"id\5", b"id\5\1", b"id\5\3\0\2"])
def test_what_is_not_whole_yet_may_become_a_greeting(octets: bytes) -> None:
    assert may_greet(octets)


@pytest.mark.parametrize("octets", [b"\5\x20\r\n", b"\5\2\0\x0a", b"id\5\0", b"x" * 65 + GREETING])
def test_an_octet_05_without_methods_behind_it_is_no_greeting(octets: bytes) -> None:
    """One of four connections of other protocols has one near its beginning: these need not be read."""
    assert not may_greet(octets)


def test_dce_rpc_is_left_alone_at_its_second_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both its sides begin with 05 00, and all that it says would be kept until it is over."""
    ruled: list[list[int]] = []
    rule = Watch._rule_out

    def noted(watch: Watch, payloads: Payloads) -> None:
        rule(watch, payloads)
        ruled.append(watch.kind[payloads.slot].tolist())

    monkeypatch.setattr(Watch, "_rule_out", noted)
    said = [(CLIENT, RPC_BIND), (SERVER, RPC_ANSWER), (CLIENT, bytes(20)), (SERVER, bytes(20))]
    assert analyse(connection(said, proxy=("10.0.0.9", 135)), [4, 1, 1, 9]) == []
    assert ruled == [[UNDECIDED], [IGNORED]]
