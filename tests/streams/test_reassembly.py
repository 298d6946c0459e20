"""One direction's octets in order, whatever the order in which they were captured."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.streams.reassembly import (
    MAX_WAITING_OCTETS,
    MAX_WAITING_PIECES,
    PATIENCE,
    Run,
    StreamOrder,
    TwoWayOrder,
)

SECOND = 1_000_000_000


def octets_of(runs: list[Run]) -> bytes:
    """The runs' octets, a gap as question marks."""
    return b"".join(b"?" * run.length if run.octets is None else run.octets for run in runs)


def pushed(order: StreamOrder, *segments: tuple[int, bytes]) -> bytes:
    runs = []
    for number, (sequence, octets) in enumerate(segments, 1):
        runs += order.push(sequence % (1 << 32), octets, len(octets), number, number)
    return octets_of(runs)


def test_segments_in_order_come_out_as_they_are():
    assert pushed(StreamOrder(100), (100, b"ab"), (102, b"cd")) == b"abcd"


def test_a_segment_that_came_early_waits():
    order = StreamOrder(100)
    assert pushed(order, (102, b"cd")) == b""
    assert pushed(order, (100, b"ab")) == b"abcd"


def test_octets_keep_the_provenance_of_the_segment_that_brought_them():
    order = StreamOrder(0)
    order.push(2, b"cd", 2, 7, 70)
    runs = order.push(0, b"ab", 2, 8, 80)
    assert [(run.octets, run.frame, run.time) for run in runs] == [(b"ab", 8, 80), (b"cd", 7, 70)]


def test_sequence_numbers_wrap():
    start = (1 << 32) - 2
    assert pushed(StreamOrder(start), (start, b"ab"), (0, b"cd"), (2, b"ef")) == b"abcdef"
    assert pushed(StreamOrder(start), (2, b"ef"), (0, b"cd"), (start, b"ab")) == b"abcdef"


def test_a_duplicate_changes_nothing():
    order = StreamOrder(5)
    assert pushed(order, (5, b"ab"), (5, b"ab"), (7, b"c"), (5, b"abc")) == b"abc"
    assert order.conflicts == []


def test_the_first_copy_wins_and_a_different_one_is_noted():
    order = StreamOrder(5)
    assert pushed(order, (5, b"abcd"), (7, b"XYef")) == b"abcdef"
    assert order.conflicts == [2]


def test_the_first_copy_wins_also_behind_a_hole():
    order = StreamOrder(5)
    assert pushed(order, (7, b"cd"), (6, b"BCDE"), (5, b"a")) == b"aBcdE"
    assert order.conflicts == [2]


def test_a_keep_alive_probe_is_no_octet_of_the_stream():
    order = StreamOrder(5)
    assert pushed(order, (5, b"ab"), (6, b"\0"), (7, b"cd")) == b"abcd"
    assert order.conflicts == []


def test_what_the_snap_length_cut_is_a_gap():
    order = StreamOrder(0)
    runs = order.push(0, b"ab", 5, 1, 1) + order.push(5, b"fg", 2, 2, 2)
    assert octets_of(runs) == b"ab???fg"


def test_a_whole_copy_fills_what_another_copy_lacks():
    order = StreamOrder(0)
    assert order.push(2, b"c", 3, 1, 1) == []
    runs = order.push(2, b"cde", 3, 2, 2) + order.push(0, b"ab", 2, 3, 3)
    assert octets_of(runs) == b"abcde"


def test_a_hole_is_given_up_when_the_receiver_has_acknowledged_it_for_a_second():
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    order.push(0, 2, None, b"cd", 2, 1, 10)
    assert order.push(1, 0, 4, b"", 0, 2, 11) == []
    assert order.push(1, 0, 0, b"", 0, 3, 10 + 2 * SECOND) == []
    assert octets_of([run for _, run in order.push(1, 0, 4, b"", 0, 4, 10 + PATIENCE)]) == b"??cd"


def said(order: TwoWayOrder, *segments: tuple[int, int, int | None, bytes]) -> list[tuple[int, bytes]]:
    """What comes out of (direction, sequence, acknowledgment, octets), all at one time."""
    ready = []
    for number, (direction, sequence, acknowledgment, octets) in enumerate(segments, 1):
        ready += order.push(direction, sequence, acknowledgment, octets, len(octets), number, number)
    return [(direction, octets_of([run])) for direction, run in ready]


def test_an_answer_waits_for_what_it_acknowledges():
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    assert said(order, (1, 0, 2, b"answer"), (0, 0, 0, b"ab")) == [(0, b"ab"), (1, b"answer")]


def test_an_answer_does_not_wait_for_a_fin_that_was_seen():
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    order.closed[0] = 3
    assert said(order, (0, 0, 0, b"ab"), (1, 0, 3, b"answer")) == [(0, b"ab"), (1, b"answer")]


def test_octets_before_a_fin_are_all_waited_for():
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    order.closed[0] = 3
    assert said(order, (1, 0, 2, b"answer")) == []
    assert order.finish()[0][1].length == 2


def test_what_was_acknowledged_and_never_comes_is_a_gap():
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    assert said(order, (1, 0, 2, b"answer")) == []
    assert order.edge(1) == (6, 6)
    later = order.push(0, 2, 6, b"cd", 2, 9, PATIENCE + 1)
    assert [(d, octets_of([run])) for d, run in later] == [(0, b"??"), (1, b"answer"), (0, b"cd")]
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    assert said(order, (1, 0, 2, b"answer")) == []
    assert [(d, octets_of([run])) for d, run in order.finish()] == [(0, b"??"), (1, b"answer")]


@given(st.data())
def test_a_shuffled_dialogue_comes_out_as_it_was_said(data: st.DataObject):
    turns = data.draw(st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=2, max_size=5)), max_size=8))
    at = [0, 0]
    segments = []
    for direction, octets in turns:
        segments.append((direction, at[direction], at[1 - direction], octets))
        at[direction] += len(octets)
    order = TwoWayOrder(StreamOrder(0), StreamOrder(0))
    out = said(order, *data.draw(st.permutations(segments)))
    # Two directions may speak at once; what is certain is each one's octets, and that none comes before its cause.
    for direction in (0, 1):
        assert b"".join(o for d, o in out if d == direction) == b"".join(o for d, o in turns if d == direction)
    if all(a[0] != b[0] for a, b in itertools.pairwise(turns)):
        assert out == turns


def test_a_hole_is_given_up_when_too_much_waits_behind_it():
    order = StreamOrder(0)
    piece = bytes(1 << 14)
    runs = []
    for number in range(1, 40):
        runs += order.push(number << 14, piece, len(piece), number, number)
    assert runs[0] == Run(0, 1 << 14, None, 1, 1)
    assert sum(run.length for run in runs) == 40 << 14

    order = StreamOrder(0)
    runs = []
    for number in range(2 * MAX_WAITING_PIECES):
        runs += order.push(1 + 2 * number, b"x", 1, number, number)
    assert 0 < len(order._waiting) <= MAX_WAITING_PIECES


def test_the_end_hands_out_what_still_waits():
    order = StreamOrder(0)
    pushed(order, (2, b"cd"), (6, b"gh"))
    assert octets_of(order.finish()) == b"??cd??gh"


def test_strays_far_from_the_window_are_ignored():
    order = StreamOrder(0)
    assert pushed(order, (1 << 31, b"stray"), (0, b"ab")) == b"ab"


@given(st.data(), st.integers(0, (1 << 32) - 1), st.binary(min_size=1, max_size=60))
def test_any_cut_order_and_repetition_gives_the_stream(data: st.DataObject, start: int, stream: bytes):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=12)) | {0, len(stream)})
    pieces = [(a, b) for a, b in itertools.pairwise(cuts)]
    extra = data.draw(st.lists(st.tuples(st.integers(0, len(stream)), st.integers(0, len(stream))), max_size=6))
    pieces += [(min(a, b), max(a, b)) for a, b in extra if abs(a - b) > 1]
    order = StreamOrder(start)
    got = pushed(order, *((start + a, stream[a:b]) for a, b in data.draw(st.permutations(pieces))))
    # A last octet alone, sent before the rest was delivered, can't be told from data; one sent after it is a probe.
    assert got == stream
    assert order.conflicts == []
    assert order.position == len(stream)


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=12)), max_size=30))
def test_of_copies_that_differ_the_first_is_kept(segments: list[tuple[int, bytes]]):
    """Against a model that writes each octet once, into a map from position to octet."""
    order = StreamOrder(0)
    first: dict[int, int] = {}
    runs = []
    for number, (at, octets) in enumerate(segments):
        probe = len(octets) == 1 and at == order.position - 1
        runs += order.push(at, octets, len(octets), number, number)
        if not probe:
            for offset, octet in enumerate(octets, at):
                first.setdefault(offset, octet)
    runs += order.finish()
    end = max(first, default=-1) + 1
    assert octets_of(runs) == b"".join(bytes([first[i]]) if i in first else b"?" for i in range(end))
    assert sum(run.length for run in runs) == order.position


@given(st.lists(st.tuples(st.integers(0, 1 << 33), st.binary(max_size=2000), st.integers(0, 5000)), max_size=50))
def test_memory_stays_bounded_for_any_input(segments: list[tuple[int, bytes, int]]):
    order = StreamOrder(0)
    for number, (sequence, octets, more) in enumerate(segments):
        if octets or more:
            order.push(sequence % (1 << 32), octets, len(octets) + more, number, number)
        kept = sum(len(run.octets or b"") for run in order._waiting)
        assert kept <= MAX_WAITING_OCTETS + 2000
        assert len(order._waiting) <= MAX_WAITING_PIECES + 2
