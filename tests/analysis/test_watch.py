"""What is ruled out by how a connection begins is nothing that a session would have followed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from socks5sniff.analysis.watch import IGNORED, UNDECIDED, Watch
from socks5sniff.session import PREAMBLE_LIMIT
from socks5sniff.streams.octets import Payloads
from tests.traffic import CHOICE, CLIENT, GREETING, HTTP, PLAIN, REPLY, REQUEST, SERVER, analyse, connection

RPC_BIND = b"\5\0\x0b\3\x10\0\0\0"
RPC_ANSWER = b"\5\0\x0c\3\x10\0\0\0"
_PIECES = [
    GREETING, CHOICE, REQUEST, REPLY, HTTP, RPC_BIND, RPC_ANSWER, b"\5\2", b"\5\xff", b"\1\1a\1b", b"\1\0",
    b"\4\1\0\x50", b"\4\1\0\x50\1\2\3\4u\0", b"\0\x5a\0\0\0\0\0\0", b"x" * PREAMBLE_LIMIT, b"x" * 600,
    b"\5\0" + REQUEST, CHOICE + REPLY,
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
@example(said=[(CLIENT, b"x" * PREAMBLE_LIMIT), (SERVER, GREETING), (CLIENT, CHOICE), (SERVER, REQUEST)])
def test_no_record_is_lost_by_ruling_out(opening: bool, said: list[tuple[int, bytes]]) -> None:
    packets = connection(said, proxy=("10.0.0.9", 34567), opening=opening)
    packets += connection(PLAIN, client=("10.0.0.2", 40000))
    found = [record.as_dict() for record in analyse(packets)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "_rule_out", lambda *_: None)
        patch.setattr(Watch, "hopeless", lambda _, slots: np.zeros(len(slots), np.bool_))
        assert found == [record.as_dict() for record in analyse(packets)]


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
