"""When flows that have closed are over, against a plain list of them."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

import numpy as np
import pytest

from socks5sniff.analysis.endings import GATHER, OUTLIVE, Endings
from socks5sniff.streams.flows import NO_TIME
from socks5sniff.streams.spaces import LINGER

FLOWS = 12


def edge(draw: Random, clocks: list[int]) -> int:
    """A time just before, at or just behind one when something happens to a flow."""
    return draw.choice(clocks) + draw.choice([0, LINGER, LINGER + GATHER, OUTLIVE]) + draw.choice([-1, 0, 1])


@pytest.mark.parametrize("seed", range(60))
def test_flows_are_over_in_the_order_in_which_they_closed(seed: int) -> None:
    """So many at once, or all as soon as one has waited long enough; a slot that is another flow's is none."""
    draw = Random(seed)
    clocks = sorted(draw.randrange(6) * LINGER // 2 for _ in range(FLOWS))
    frames = draw.sample(range(100), FLOWS)
    by_frame = sorted(range(FLOWS), key=frames.__getitem__)
    clock = dict(zip(by_frame, clocks, strict=True))
    flows = SimpleNamespace(
        stream=np.arange(FLOWS),
        close_frame=np.array(frames),
        close_clock=np.array([clock[slot] for slot in range(FLOWS)]),
        close_time=np.full(FLOWS, NO_TIME),
    )
    endings = Endings(flows)  # type: ignore[arg-type]
    endings.begin(np.arange(FLOWS), FLOWS)
    known = draw.randint(0, FLOWS)
    endings.insert(np.array(by_frame[:known], np.intp), 0)
    endings.insert(np.array(sorted(by_frame[known:]), np.intp), draw.randint(0, known))
    closing, waiting, taken = list(by_frame), list[int](), set[int]()
    assert endings.noted().tolist() == closing
    for now in sorted(edge(draw, clocks) for _ in range(12)):
        if draw.randrange(4) == 0:
            taken.add(draw.randrange(FLOWS))
            flows.stream[[*taken]] = 1000
        size = draw.choice([None, None, 1, 2, 3])
        found = endings.due(now, size)
        ripe = [slot for slot in closing if clock[slot] + LINGER < now]
        if size is None:
            over, until = ripe if closing and clock[closing[0]] + LINGER + GATHER < now else [], now
        elif len(ripe) < size:
            assert found is None
            continue
        else:
            over, until = ripe[:size], clock[ripe[size - 1]] + LINGER
        closing = closing[len(over) :]
        over = [slot for slot in over if slot not in taken]
        assert found is not None
        assert (found[0].tolist(), found[1]) == (over, until)
        longer = [slot for slot in over if draw.randint(0, 1)]
        waiting += longer
        late = []
        while waiting and clock[waiting[0]] + OUTLIVE < until:
            late.append(waiting.pop(0))
        expected = [slot for slot in over if slot not in longer] + [slot for slot in late if slot not in taken]
        assert endings.put_off(found[0], longer, until).tolist() == expected
        assert len(endings) == len(closing)
