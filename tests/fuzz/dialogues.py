"""The level of dialogue: scripts said to a session, without packets around them."""

from __future__ import annotations

from random import Random

from socks5sniff.session import Session, Verdict, steps
from tests.session.scripts import Segment, codes, facts
from tests.session.test_properties import check as check_state
from tests.session.test_properties import split

from .connections import ABOUT_SEGMENTS
from .scripts import Script

GAPS = (1, 2, 8, 300, 70_000)
OUTCOMES = {"succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed"}


def played(said: list[Segment], script: Script, seed: str, watched: bool = False) -> Session:
    """A session that has seen it all; `watched` looks at it after each segment."""
    chance = Random(seed)
    midstream = not script.opening
    session = Session(script.port in (1080, 9050), chance.randrange(8) == 0, ("192.0.2.1", "192.0.2.2"), midstream)
    lost = int(script.at * len(said)) if script.accident == "lost" else -1
    for number, (side, octets) in enumerate(said, 1):
        if number - 1 == lost:
            session.gap(side, chance.choice((len(octets), *GAPS)), number, number * 1000)
        session.feed(side, octets, number, number * 1000)
        if watched:
            check_state(session)
    if script.closing:
        session.close(chance.randrange(2), len(said) + 1, (len(said) + 1) * 1000)
    session.finish()
    return session


def seen(session: Session) -> object:
    """All that a session has to say, its tunnel's octets by side and not by segment."""
    return facts(session), session.anomalies, session.half_frame, session.take_tunnel()


def check(script: Script, seed: str) -> None:
    """The invariants that are about a dialogue."""
    said = [(step.side, step.octets) for step in script.steps]
    session = played(said, script, seed, watched=True)
    assert session.outcome() in OUTCOMES
    assert session.verdict is not Verdict.UNDECIDED or not any(octets for _, octets in said)
    found = seen(session)
    check_state(session)
    assert found == seen(played(said, script, seed)), "what was seen before matters"
    if script.orderly:
        first, other = (played(each, script, seed) for each in (said, split(said, Random(seed))))
        assert facts(other) == facts(first), f"other segments: {facts(other)} != {facts(first)}"
        assert _codes(other) == _codes(first), f"other segments: {_codes(other)} != {_codes(first)}"
    if Random(seed).randrange(64) == 0:
        steps.forget()


def _codes(session: Session) -> set[str]:
    return {code for code, _ in codes(session)} - ABOUT_SEGMENTS
