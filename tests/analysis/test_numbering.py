"""Ids of conversations, against a plain list of those that have none yet."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from socks5sniff.analysis.numbering import Finished, Numbering, place_of
from socks5sniff.record import Conversation
from socks5sniff.record.batch import written
from tests.traffic import PLAIN, analyse, connection


@pytest.fixture(scope="module")
def record() -> Conversation:
    (found,) = analyse(connection(PLAIN))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_conversations_are_numbered_by_where_they_begin(seed: int, record: Conversation) -> None:
    """Below a floor all are known; records wait, in the order in which they were made, for those before them."""
    draw = Random(seed)
    last = draw.choice([0, 7])
    numbering, places = Numbering(last), draw.sample(range(100), 30)
    places = [place_of(place // 2, place % 2) for place in places]
    unnumbered, numbers, waiting, made, given = [], dict[int, int](), list[list[int]](), set[int](), 0
    nested: list[tuple[Conversation, Conversation]] = []
    for floor in [*sorted(draw.sample(range(2000), 8)), None]:
        known = [place for place in places if place not in made and (floor is None or draw.randint(0, 1))]
        fresh = [place for place in known if place not in {*unnumbered, *numbers}]
        numbering.add(fresh)
        numbering.add(known[:2])  # to say so again changes nothing
        unnumbered = sorted({*unnumbered, *fresh})
        finished = [place for place in known if floor is None or draw.randrange(3) == 0]
        records = [replace(record, id=0) for _ in finished]
        outer = {row: records[row - 1] for row in range(1, len(records), 2)}
        nested += [(records[row], each) for row, each in outer.items()]
        numbering.finish(Finished(written(records), finished, outer))
        made |= {*finished}
        waiting += [finished] if finished else []
        begun = [place for place in unnumbered if floor is None or place < floor]
        numbers |= {place: last + number for number, place in enumerate(begun, 1)}
        last, unnumbered = last + len(begun), unnumbered[len(begun) :]
        expected = []
        while waiting:
            rest = waiting[0][given:]
            ready = next((at for at, place in enumerate(rest) if place not in numbers), len(rest))
            expected += [numbers[place] for place in rest[:ready]]
            given += ready
            if ready < len(rest):
                break
            waiting.pop(0)
            given = 0
        found = [each for batch in numbering.release(floor) for each in batch]
        assert [each.id for each in found] == expected
        assert numbering.held == sum(map(len, waiting)) - given
        assert numbering.last_frame == max((max(each) for each in waiting), default=0) >> 4
        assert all(inner.parent == (each.id if inner.id else None) for inner, each in nested)
    assert not waiting
    assert sorted(numbers.values()) == [*range(last - len(numbers) + 1, last + 1)]


def test_what_turns_out_to_be_none_takes_no_number() -> None:
    numbering, places = Numbering(), [place_of(frame) for frame in (1, 2, 3)]
    numbering.add(places)
    numbering.withdraw(places[1])
    numbering.withdraw(place_of(9))  # nobody has said that there is one
    numbering.release(None)
    assert [numbering.number(place) for place in places] == [1, 0, 2]
    numbering.add([places[1]])
    numbering.release(None)
    assert numbering.number(places[1]) == 3, "it can come back"
    numbering.withdraw(places[2])
    assert numbering.number(places[2]) == 0
    numbering.add([place_of(4)])
    numbering.release(None)
    assert numbering.number(place_of(4)) == 4, "a number that was given is nobody else's"
