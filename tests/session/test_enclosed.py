"""The inside of GSSAPI dialogues, as far as their tokens can be read."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.codec import MAX_GSSAPI, Address
from socks5sniff.session import Session, session

from . import scripts
from .scripts import Segment, after_choice, codes, facts, play, segments, user_data, wrapped
from .test_properties import check, split

OPENED = segments(scripts.GSSAPI_OPENED)
(_, REQUEST), (_, REPLY) = segments(after_choice(scripts.CONNECT_BY_NAME))
REFUSAL = bytes.fromhex("05050001000000000000")


def said(role: int, *plains: bytes) -> Segment:
    """One segment with a token for each plaintext."""
    return role, b"".join(user_data(wrapped(plain)) for plain in plains)


def sealed(role: int, plain: bytes) -> Segment:
    return role, user_data(wrapped(plain, sealed=True))


def enclosed(*messages: Segment) -> Session:
    return play([*OPENED, *messages])


def tunnel(observed: Session) -> list[tuple[int, bytes, int]]:
    return [(run.side, run.octets, run.frame) for run in observed.take_tunnel()]


def types(observed: Session) -> list[str]:
    """Of the frames behind the level negotiation."""
    return [f"{frame.sender} {frame.type}" for frame in observed.frames[6:]]


BOTH = ["client gssapi", "client request", "proxy gssapi", "proxy reply"]


class TestDialogues:
    @pytest.mark.parametrize("script", [scripts.GSSAPI_CONNECT, scripts.GSSAPI_CONNECT_BEFORE])
    def test_connect(self, script: str) -> None:
        observed = play(script)
        assert (observed.phase, observed.outcome(), observed.relay, observed.enclosed) == (
            "relay",
            "succeeded",
            True,
            True,
        )
        assert observed.destination == Address.domain("example.com", 443)
        assert (observed.reply, observed.bound) == (0, Address.ipv4("10.0.0.1", 0x1267))
        assert (observed.authenticated, observed.authentication_start, observed.authentication_end) == (
            True,
            3000,
            6000,
        )
        assert types(observed) == BOTH
        assert [(frame.frame, frame.time, frame.length) for frame in observed.frames[7::2]] == [
            (7, 7000, 18),
            (8, 8000, 10),
        ]
        assert observed.anomalies == []
        assert observed.tunnel_start == [None, None]

    def test_the_tunnel_is_what_the_tokens_enclose(self) -> None:
        observed = play(scripts.GSSAPI_CONNECT)
        assert not observed.done
        assert tunnel(observed) == [(0, b"GET /", 9), (1, b"HTTP/1", 10)]
        assert tunnel(observed) == []
        observed.leave_tunnel()
        assert observed.done
        observed.feed(*said(0, b"more"), 11, 11)
        assert (tunnel(observed), observed.buffered, len(observed.frames)) == ([], 0, 10)

    def test_bind(self) -> None:
        observed = play(scripts.GSSAPI_BIND)
        assert (observed.reply, observed.bound) == (0, Address.ipv4("198.51.100.1", 10000))
        assert (observed.peer_reply, observed.peer) == (0, Address.ipv4("192.0.2.9", 20))
        assert (observed.phase, observed.outcome()) == ("relay", "succeeded")
        assert types(observed) == [*BOTH, "proxy gssapi", "proxy reply"]
        waiting = play("\n".join(scripts.GSSAPI_BIND.splitlines()[:-1]))
        assert (waiting.phase, waiting.outcome(ended=False), waiting.outcome()) == ("request", None, "incomplete")

    def test_associate(self) -> None:
        observed = play(scripts.GSSAPI_ASSOCIATE)
        assert (observed.command, observed.relay, observed.enclosed, observed.done) == (3, True, True, True)
        assert observed.bound == Address.ipv4("198.51.100.1", 10001)

    def test_associate_that_names_its_target(self) -> None:
        observed = play([*OPENED, said(0, bytes.fromhex("05030001080808080035"))], address="10.0.0.1")
        assert codes(observed) == [("associate-names-target", 7)]

    def test_rejected(self) -> None:
        observed = play(scripts.GSSAPI_REJECTED)
        assert (observed.phase, observed.outcome(), observed.reply) == ("request", "rejected", 5)
        observed.feed(1, b"x", 9, 9000)
        observed.feed(0, b"y", 10, 10_000)
        assert codes(observed) == [("data-after-failure", 9)]

    def test_a_refusal_that_ends_before_its_address(self) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REFUSAL[:4]))
        assert observed.outcome(ended=False) is None
        observed.close(1, 9, 9000)
        assert (observed.reply, observed.bound, observed.outcome()) == (5, None, "rejected")
        assert enclosed(said(0, REQUEST), said(1, REFUSAL[:4])).outcome() == "rejected"

    def test_the_server_is_the_client(self) -> None:
        observed = play(scripts.GSSAPI_CONNECT, client=1)
        assert (observed.outcome(), tunnel(observed)) == ("succeeded", [(1, b"GET /", 9), (0, b"HTTP/1", 10)])

    def test_without_an_answer(self) -> None:
        observed = enclosed(said(0, REQUEST))
        assert (observed.phase, observed.outcome(), observed.command) == ("request", "incomplete", 1)


class TestTokens:
    def test_a_frame_split_over_tokens(self) -> None:
        pieces = [said(0, REQUEST[:3]), said(0, REQUEST[3:9]), said(0, REQUEST[9:]), said(1, REPLY[:1], REPLY[1:])]
        observed = enclosed(*pieces)
        assert observed.outcome() == "succeeded"
        assert types(observed) == [*["client gssapi"] * 3, "client request", *["proxy gssapi"] * 2, "proxy reply"]
        # Both of the proxy's tokens are one segment.
        assert codes(observed) == [("split-frame", 9), ("pipelined-frames", 10)]
        assert (observed.frames[9].started, observed.frames[9].time) == (7000, 9000)

    def test_several_frames_in_one_token(self) -> None:
        request, first, second = (octets for _, octets in segments(after_choice(scripts.BIND)))
        observed = enclosed(said(0, request), said(1, first + second + b"220 hello"))
        assert (observed.outcome(), observed.peer) == ("succeeded", Address.ipv4("192.0.2.9", 20))
        assert types(observed) == [*BOTH, "proxy reply"]
        assert tunnel(observed) == [(1, b"220 hello", 8)]
        assert codes(observed) == [("pipelined-frames", 8)]

    def test_both_of_binds_replies_in_one_segment(self) -> None:
        request, first, second = (octets for _, octets in segments(after_choice(scripts.BIND)))
        assert codes(enclosed(said(0, request), said(1, first, second))) == [("pipelined-frames", 8)]

    def test_the_first_octets_of_the_tunnel_behind_the_reply(self) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REPLY + b"SSH-", b"2.0"))
        assert tunnel(observed) == [(1, b"SSH-", 8), (1, b"2.0", 8)]

    def test_early_data(self) -> None:
        observed = enclosed(said(0, REQUEST + b"GET ", b"/ "), said(0, b"HTTP"), said(1, REPLY), said(0, b"/1"))
        assert observed.outcome() == "succeeded"
        assert sorted({code for code, _ in codes(observed)}) == ["early-data", "pipelined-frames"]
        assert b"".join(octets for _, octets, _ in tunnel(observed)) == b"GET / HTTP/1"
        assert types(observed) == [*BOTH[:2], *["client gssapi"] * 2, *BOTH[2:]]

    def test_a_token_without_plaintext(self) -> None:
        observed = enclosed(said(0, b""), said(0, REQUEST), said(1, b"", REPLY, b"", b"x"))
        assert (observed.outcome(), tunnel(observed)) == ("succeeded", [(1, b"x", 9)])

    def test_time_of_a_tunnels_token_is_its_beginning(self) -> None:
        (_, token), (_, other) = said(1, b"first"), said(1, b"second")
        observed = enclosed(
            said(0, REQUEST), said(1, REPLY), (1, token[:2]), (1, token[2:] + other[:5]), (1, other[5:])
        )
        assert [run.time for run in observed.take_tunnel()] == [9000, 10_000]

    def test_the_client_does_not_wait(self) -> None:
        asked = [*OPENED[::2], said(0, REQUEST)]
        answered = [*OPENED[1::2], said(1, REPLY)]
        observed = play(asked + answered)
        assert (observed.outcome(), observed.destination) == ("succeeded", Address.domain("example.com", 443))

    def test_a_reply_before_its_request(self) -> None:
        observed = enclosed(said(1, REPLY), said(0, REQUEST))
        assert (observed.outcome(), codes(observed)) == ("succeeded", [("reply-before-request", 7)])


class TestSealed:
    def test_the_reply_is_sealed(self) -> None:
        observed = enclosed(said(0, REQUEST), sealed(1, REPLY), said(0, b"GET"))
        assert (observed.phase, observed.outcome(), observed.done) == ("request", "incomplete", True)
        assert (observed.command, observed.reply) == (1, None)
        assert types(observed) == BOTH[:3]

    def test_the_request_is_sealed(self) -> None:
        observed = enclosed(sealed(0, REQUEST), said(1, REPLY))
        assert (observed.outcome(), observed.command, observed.reply) == ("incomplete", None, None)
        assert types(observed) == ["client gssapi", "proxy gssapi"]

    def test_half_of_the_request_is_sealed(self) -> None:
        observed = enclosed(said(0, REQUEST[:8]), sealed(0, b"xx"), said(0, REQUEST[8:]), said(1, REPLY))
        assert (observed.outcome(), observed.command, observed.anomalies) == ("incomplete", None, [])

    def test_in_the_tunnel(self) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REPLY), said(0, b"G"), sealed(0, b"E"), said(0, b"T"))
        assert (observed.outcome(), observed.done, tunnel(observed)) == ("succeeded", True, [(0, b"G", 9)])

    def test_an_abort_instead_of_the_reply(self) -> None:
        observed = enclosed(said(0, REQUEST), (1, b"\1\xff"))
        assert (observed.authenticated, observed.outcome(), observed.done) == (False, "incomplete", True)
        assert codes(observed) == [("auth-failed", 8)]

    def test_octets_of_a_token_are_missing(self) -> None:
        role, token = said(0, REQUEST)
        observed = enclosed((role, token[:20]))
        observed.gap(0, len(token) - 20, 8, 8000)
        for number, (side, octets) in enumerate([said(0, REQUEST), said(1, REPLY)], 9):
            observed.feed(side, octets, number, number * 1000)
        assert (observed.outcome(), observed.command) == ("incomplete", None)
        assert codes(observed) == [("handshake-gap", 8), ("split-frame", 8)]

    def test_octets_of_the_tunnel_are_missing(self) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REPLY), said(1, b"SSH"))
        observed.gap(1, 5, 10, 10_000)
        observed.feed(*said(1, b"-2"), 11, 11_000)
        assert (observed.outcome(), observed.done, tunnel(observed)) == ("succeeded", True, [(1, b"SSH", 9)])
        assert observed.anomalies == []


class TestBounds:
    def test_garbage_is_malformed(self) -> None:
        observed = enclosed(said(0, b"GET / HTTP/1.1\r\n\r\n"), said(1, REPLY))
        assert (observed.phase, observed.outcome(), observed.done) == ("request", "malformed", True)
        assert codes(observed) == [("bad-version", 7)]
        observed = enclosed(said(0, REQUEST), said(1, b"\5\0\0\x07garbage"))
        assert (observed.outcome(), codes(observed)) == ("malformed", [("unknown-address-type", 8)])

    def test_early_data_without_end(self) -> None:
        observed = enclosed(said(0, REQUEST), *[said(0, bytes(5000))] * 20, said(1, REPLY), said(0, b"later"))
        assert observed.outcome() == "succeeded"
        assert len(b"".join(octets for _, octets, _ in tunnel(observed))) <= session.TUNNEL_KEPT
        endless = enclosed(said(0, REQUEST), *[said(0, bytes(600))] * 300)
        assert (len(endless.frames), endless.done, endless.buffered) == (session.FRAMES_KEPT, True, 0)

    @pytest.mark.parametrize("plain", [b"", b"x", bytes(60_000)])
    def test_a_tunnel_without_end_is_left(self, plain: bytes) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REPLY))
        for number in range(10_000):
            observed.feed(*said(number % 2, plain), number, number)
            if observed.done:
                break
            assert observed.buffered <= 2 * session.TUNNEL_KEPT
        assert observed.done
        assert len(observed.frames) == 10

    def test_a_token_that_never_ends(self) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REPLY))
        for number in range(70):
            observed.feed(1, b"\1\3\xff\xff" + bytes(996), number, number)
            assert observed.buffered <= MAX_GSSAPI
        assert observed.done

    def test_a_foreign_frame_in_the_tunnel(self) -> None:
        observed = enclosed(said(0, REQUEST), said(1, REPLY), (1, b"\1\1\0\1a"), said(1, b"SSH"))
        assert (observed.done, tunnel(observed)) == (True, [])


plains = st.one_of(
    st.sampled_from([REQUEST, REPLY, REFUSAL, REQUEST + b"early", REPLY + b"SSH-2.0", REQUEST[:5], REPLY[4:]]),
    st.binary(max_size=40),
    st.integers(0, 9000).map(bytes),
)
wraps = st.sampled_from(
    [
        wrapped,
        scripts.wrapped_before,
        lambda plain: wrapped(plain, rotation=5),
        lambda plain: wrapped(plain, sealed=True),
    ]
)
frames = st.builds(lambda wrap, plain: user_data(wrap(plain)), wraps, plains)
insides = st.lists(st.tuples(st.integers(0, 1), st.one_of(frames, frames, st.binary(max_size=20))), max_size=10)


@given(insides, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_nothing_inside_raises_and_all_stays_bounded(messages: list[Segment], cuts: random.Random) -> None:
    observed = play(OPENED)
    for number, (side, octets) in enumerate(split(messages, cuts), 7):
        if cuts.random() < 0.05:
            observed.gap(side, cuts.choice((1, 8, 5000)), number, number)
        observed.feed(side, octets, number, number)
        check(observed)
    before = facts(observed)
    observed.finish()
    assert facts(observed) == before
    observed.take_tunnel()
    check(observed)


@given(st.lists(plains, max_size=3), st.lists(plains, max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_tokens_and_segments_do_not_matter(asked: list[bytes], answered: list[bytes], cuts: random.Random) -> None:
    """However the inside lies in tokens, and these in segments, the same is read."""
    inside = [(0, REQUEST), (1, REPLY), *((0, octets) for octets in asked), *((1, octets) for octets in answered)]
    whole = enclosed(*(said(role, plain) for role, plain in inside if plain))
    pieces = enclosed(*(said(role, plain) for role, plain in split([said for said in inside if said[1]], cuts)))
    recut = play(split([*OPENED, *(said(role, plain) for role, plain in inside if plain)], cuts))
    assert facts(recut) == facts(whole)
    read = [_without_tokens(observed) for observed in (whole, pieces, recut)]
    assert read[0] == read[1] == read[2]


def _without_tokens(observed: Session) -> object:
    found = facts(observed)
    found["frames"] = [frame.value for frame in observed.frames if frame.type != "gssapi"]
    del found["done"]
    runs = observed.take_tunnel()
    both = [b"".join(run.octets for run in runs if run.side == side)[:4096] for side in (0, 1)]
    return (
        found,
        both,
        sorted({code for code, _ in codes(observed)} - {"split-frame", "pipelined-frames", "early-data"}),
    )
