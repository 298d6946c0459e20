"""What holds for any octets, any segments, any order."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.codec import ANOMALIES, MAX_GSSAPI, Method
from socks5sniff.session import Session, Verdict, session, steps
from socks5sniff.session.detection import UNDECIDED_OCTETS
from socks5sniff.session.states import STATES

from .scripts import DIALOGUES, Segment, codes, facts, play, segments

ALL_BUFFERS = 2 * (session.HELD_OCTETS + max(session.TUNNEL_KEPT, MAX_GSSAPI))
ALL_BUFFERS += 2 * (session.HELD_OCTETS + session.TUNNEL_KEPT)  # of what is inside GSSAPI tokens

dialogues = st.sampled_from(sorted(DIALOGUES)).map(lambda name: segments(DIALOGUES[name]))
trailing = st.tuples(st.binary(max_size=20), st.binary(max_size=20))


def split(messages: list[Segment], cuts: random.Random) -> list[Segment]:
    """The same octets in the same order in other segments; neighbours of the same role may share one."""
    merged: list[Segment] = []
    for role, octets in messages:
        if merged and merged[-1][0] == role and cuts.random() < 0.5:
            merged[-1] = (role, merged[-1][1] + octets)
        else:
            merged.append((role, octets))
    pieces = []
    for role, octets in merged:
        at = sorted(cuts.sample(range(1, len(octets)), cuts.randint(0, min(len(octets) - 1, 4)))) if octets else []
        pieces += [(role, octets[a:b]) for a, b in zip([0, *at], [*at, len(octets)], strict=True)]
    return pieces


@st.composite
def disturbed(draw: st.DrawFn) -> list[Segment]:
    """A dialogue with some octets changed, some segments lost, doubled or swapped, and octets added: near misses."""
    chaos = draw(st.randoms(use_true_random=False))
    script = split([*draw(dialogues), (draw(st.integers(0, 1)), draw(st.binary(max_size=30)))], chaos)
    for _ in range(draw(st.integers(0, 4))):
        at = chaos.randrange(len(script))
        role, octets = script[at]
        what = chaos.randrange(6)
        if what == 0 and octets:
            index = chaos.randrange(len(octets))
            octets = octets[:index] + bytes([chaos.randrange(256)]) + octets[index + 1 :]
            script[at] = (role, octets)
        elif what == 1 and len(script) > 1:
            del script[at]
        elif what == 2:
            script.insert(chaos.randrange(len(script)), script[at])
        elif what == 3:
            other = chaos.randrange(len(script))
            script[at], script[other] = script[other], script[at]
        elif what == 4:
            script[at] = (1 - role, octets)
        else:
            script.insert(at, (role, chaos.randbytes(chaos.choice([1, 3, 70, 300, 9000]))))
    return script


any_octets = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.binary(max_size=30),
            st.binary(max_size=30).map(lambda octets: b"\x05" + octets),
            st.binary(max_size=30).map(lambda octets: b"\x04\x01" + octets),
        ),
    ),
    max_size=12,
)


def check(observed: Session) -> None:
    """What is true of a session at any time."""
    undecided = observed.verdict is Verdict.UNDECIDED and observed.method != Method.GSSAPI
    assert observed.buffered <= (2 * UNDECIDED_OCTETS if undecided else ALL_BUFFERS)
    assert len(observed.frames) <= session.FRAMES_KEPT
    assert {anomaly.code for anomaly in observed.anomalies} <= set(ANOMALIES)
    if observed.verdict is Verdict.FOREIGN:
        assert observed.frames == []
        assert observed.client_side is None
    for frame in observed.frames:
        assert frame.summary
        assert frame.started <= frame.time
    opened = any(frame.type == "gssapi" and frame.value.message_type == 3 for frame in observed.frames)
    for sender in ("client", "proxy"):
        # Frames inside tokens have offsets of their own.
        said = [frame for frame in observed.frames if frame.sender == sender and (frame.type == "gssapi" or not opened)]
        for before, after in pairwise(said):
            assert before.offset + before.length <= after.offset


@pytest.mark.parametrize("trusted", [False, True])
@given(st.one_of(any_octets, disturbed()), st.data())
@settings(max_examples=250, deadline=None)
def test_nothing_raises_and_buffers_stay_bounded(trusted: bool, script: list[Segment], data: st.DataObject) -> None:
    observed = Session(trusted)
    for number, (side, octets) in enumerate(script, 1):
        event = data.draw(st.sampled_from(("feed", "feed", "feed", "feed", "feed", "gap", "close")))
        if event == "gap":
            observed.gap(side, data.draw(st.sampled_from((1, 2, 8, 5000))), number, number)
        elif event == "close":
            observed.close(side, number, number)
        observed.feed(side, octets, number, number)
        check(observed)
    assert observed.outcome() in (
        "succeeded",
        "rejected",
        "auth-failed",
        "no-acceptable-method",
        "incomplete",
        "malformed",
    )
    assert observed.verdict is not Verdict.UNDECIDED or not any(octets for _, octets in script)
    check(observed)
    before = facts(observed)
    observed.finish()
    assert facts(observed) == before


@given(dialogues, trailing, st.randoms(use_true_random=False), st.integers(0, 1))
@settings(max_examples=300, deadline=None)
def test_segments_do_not_matter(
    messages: list[Segment], data: tuple[bytes, bytes], cuts: random.Random, client: int
) -> None:
    messages = messages + [(role, octets) for role, octets in enumerate(data) if octets]
    whole = play(messages, client)
    pieces = play(split(messages, cuts), client)
    assert facts(pieces) == facts(whole)
    about_segments = {"split-frame", "pipelined-frames"}
    assert sorted({code for code, _ in codes(pieces)} - about_segments) == sorted(
        {code for code, _ in codes(whole)} - about_segments
    )
    assert _tunnel(pieces) == _tunnel(whole)


def _tunnel(observed: Session) -> tuple[bytes, bytes]:
    runs = observed.take_tunnel()
    first, second = (b"".join(run.octets for run in runs if run.side == side) for side in (0, 1))
    return first, second


@given(st.sampled_from(["connect", "password", "bind", "associate", "resolve", "socks4a"]), st.randoms())
@settings(max_examples=100, deadline=None)
def test_a_client_that_does_not_wait_is_understood_all_the_same(name: str, cuts: random.Random) -> None:
    messages = segments(DIALOGUES[name])
    asked = [message for message in messages if message[0] == 0]
    answered = [message for message in messages if message[0] == 1]
    ahead = play(split(asked, cuts) + split(answered, cuts))
    expected, found = facts(play(messages)), facts(ahead)
    assert found == expected


@given(st.lists(st.one_of(any_octets, disturbed(), dialogues), min_size=1, max_size=3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_results_do_not_depend_on_what_was_seen_before(scripts: list[list[Segment]], trusted: bool) -> None:
    """With the memory of steps and without it."""
    remembered = [_result(script, trusted) for script in scripts + scripts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "REMEMBERED_OCTETS", -1)
        steps.forget()
        fresh = [_result(script, trusted) for script in scripts]
        assert all(not state.seen for state in STATES.values())
    assert remembered == fresh + fresh


def _result(script: list[Segment], trusted: bool) -> object:
    observed = play(script, trusted=trusted)
    found = facts(observed)
    return found, observed.anomalies, [frame[1:] for frame in observed.frames], observed.take_tunnel()


def test_the_memory_is_bounded() -> None:
    steps.forget()
    greeted = segments(DIALOGUES["connect"])[:2]
    for number in range(3 * steps.REMEMBERED_STEPS):
        play([*greeted, (0, b"\x05\x01\x00\x01" + number.to_bytes(4, "big") + b"\x00\x50")])
        assert len(STATES["request"].seen) <= steps.REMEMBERED_STEPS


def test_passwords_are_not_remembered() -> None:
    steps.forget()
    play(DIALOGUES["password"])
    assert STATES["auth"].seen == {}
    assert STATES["choice"].seen != {}
