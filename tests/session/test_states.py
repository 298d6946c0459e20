"""The table of transitions is whole: it can be read, drawn and trusted on its own."""

from __future__ import annotations

import pytest

from socks5sniff.session.session import Session
from socks5sniff.session.states import (
    CLIENT,
    EITHER,
    ESCAPES,
    LOST,
    NOBODY,
    OUTCOMES,
    PHASES,
    PROXY,
    REFUSES_UNASKED,
    STATES,
    TRANSITIONS,
    UNADDRESSED,
    UNASKED,
)

ROWS = (*TRANSITIONS, UNASKED, REFUSES_UNASKED, UNADDRESSED)

PHASE_ORDER = ("greeting", "authentication", "request", "relay")
ENTRIES = {"greeting", "request4"}


def ways() -> dict[str, set[str]]:
    """From each state the states that its rows name."""
    found: dict[str, set[str]] = {name: set() for name in STATES}
    for row in ROWS:
        found[row.state] |= {row.to, *row.branches.values()}
    for state, target in (*ESCAPES.items(), ("unchosen", "auth")):
        found[state] |= {row.to for row in TRANSITIONS if row.state == target}
    for state, target in LOST.items():
        found[state].add(target)
    return found


def test_every_state_named_in_a_row_exists() -> None:
    assert set().union(*ways().values()) | {row.state for row in TRANSITIONS} <= set(STATES)


def test_every_state_is_reached_from_an_opening() -> None:
    reached, fresh = set(ENTRIES), set(ENTRIES)
    while fresh:
        fresh = set().union(*(ways()[name] for name in fresh)) - reached
        reached |= fresh
    assert set(STATES) - reached == {"opening", "stopped", "foreign"}


def test_a_state_has_a_way_on_or_an_outcome_but_not_both() -> None:
    for name, state in STATES.items():
        if name != "opening":
            assert bool(ways()[name]) != (name in OUTCOMES), name
            assert state.final == (name in OUTCOMES), name


def test_phases_never_go_back() -> None:
    """But for a client that authenticates itself although nobody asked."""
    for name, targets in ways().items():
        for target in targets - {UNASKED.to}:
            if PHASES[name] and PHASES[target]:
                assert PHASE_ORDER.index(PHASES[name]) <= PHASE_ORDER.index(PHASES[target]), (name, target)


def test_only_one_role_has_the_turn_except_in_sub_negotiations() -> None:
    turns = {name: state.turn for name, state in STATES.items() if not state.final and name != "opening"}
    assert {name for name, turn in turns.items() if turn == EITHER} == {"gssapi", "sealed", "other-method"}
    assert set(turns.values()) == {CLIENT, PROXY, EITHER}


def test_no_turn_is_ever_mistaken_for_a_side() -> None:
    for client_side in (0, 1):
        assert {client_side ^ EITHER, client_side ^ NOBODY}.isdisjoint({0, 1})
        assert {client_side ^ CLIENT, client_side ^ PROXY} == {0, 1}


@pytest.mark.parametrize("row", [row for row in TRANSITIONS if row.by], ids=lambda row: f"{row.state}-{row.role}")
def test_branches_are_of_a_field_and_differ_from_the_default(row: object) -> None:
    from socks5sniff.session.states import Row

    assert isinstance(row, Row)
    assert row.branches
    assert row.to not in row.branches.values()


def test_facts_are_attributes_of_a_session() -> None:
    session = Session()
    assert all(getattr(session, row.fact) is None for row in TRANSITIONS if row.fact)
