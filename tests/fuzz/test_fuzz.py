"""A part of the fuzzing that always runs: the same inputs each time, so many that it takes about a minute of CPU time.

`python -m tests.fuzz` goes on from there.
"""

from __future__ import annotations

from random import Random

import pytest

from .guided import Drawn
from .levels import LEVELS, check, group
from .mutation import mutated
from .outputs import safe
from .reduction import kind_of, reduced
from .scripts import Script, Step

INPUTS = {"dialogue": 6000, "payload": 1280, "packet": 512, "file": 500}
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_breaks_it(level: str, part: int) -> None:
    share, together = INPUTS[level] // PARTS, LEVELS[level].together
    for number in range(part * share, (part + 1) * share, together):
        check(level, 1, number)


@pytest.mark.parametrize("level", LEVELS)
def test_an_input_is_made_from_level_seed_and_number_alone(level: str) -> None:
    assert group(level, 3, 64) == group(level, 3, 64)
    assert group(level, 3, 64) != group(level, 4, 64)


def test_mutation_changes_octets_and_sizes() -> None:
    results = [mutated(b"abcdefgh", Random(number)) for number in range(300)]
    assert {len(result) < 8 for result in results} == {True, False}
    assert len({*results}) > 200


@pytest.mark.parametrize("text", ["\x1b[2J", "a\u202eb", "a\x85b", "\u200b", "a\rb"])
def test_what_is_not_safe_is_seen(text: str) -> None:
    with pytest.raises(AssertionError, match="does not print"):
        safe(f"line\n{text}\n")


def test_an_input_that_fails_is_made_small() -> None:
    def failure(scripts: list[Script]) -> str | None:
        return "fault" if any(b"x" in step.octets for script in scripts for step in script.steps) else None

    def script(*steps: bytes) -> Script:
        return Script([Step(0, octets) for octets in steps], 9050, True, "fin", 6, "late", 0.5, True)

    (small,) = reduced([script(b"one"), script(b"two", b"three", b"ax and more"), script(b"four")], failure)
    assert small.steps == [Step(0, b"ax")]
    assert (small.port, small.closing, small.version, small.accident) == (1080, "", 4, "")


def test_faults_are_told_apart() -> None:
    faults = []
    for text in ("1", "x", "y"):
        try:
            int(text)
            assert text == "y", "one kind: of fault"
        except (ValueError, AssertionError) as fault:
            faults.append(kind_of(fault))
    assert faults[1] == faults[2] != faults[0] == "one kind"


def test_octets_lead_the_generators() -> None:
    """What coverage guides is what is drawn."""
    assert Drawn(b"\x05\x01").getrandbits(16) == 0x0105
    assert Drawn(b"abc").random() == Drawn(b"abc").random() != Drawn(b"cba").random()
    made = {LEVELS["dialogue"].make(Drawn(bytes([first, *range(60)]))).port for first in range(40)}
    assert len(made) > 1
