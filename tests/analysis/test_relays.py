"""Whose a datagram is, told by tables of associations, against a plain list of them."""

from __future__ import annotations

from random import Random

import pytest

from socks5sniff.analysis.association import NEVER, SLACK, Association, Bound
from socks5sniff.analysis.relays import Relays

RELAYS = [10 << 16 | 1, 10 << 16 | 2, 11 << 16 | 1]
HOSTS = [20 << 16, 21 << 16, 22 << 16]
PORTS = [0, 0, 0, 5, 6]
LAST = 12
"""Moments are below it, and times within as many seconds."""


def at(draw: Random) -> int:
    """A time at, just before or just behind a full second: where slacks of seconds begin and end."""
    return draw.randrange(-LAST, 2 * LAST) * SLACK + draw.choice([-1, 0, 0, 1])


def association(draw: Random, agreed: int) -> Association:
    opened = at(draw)
    closed = draw.choice([None, opened, opened + draw.randrange(8) * SLACK])
    relays, hosts = draw.sample(RELAYS, draw.randint(1, 2)), [draw.choice(HOSTS[:2])]
    replied = opened + draw.choice([0, 1, SLACK])
    bound = Bound(None, agreed, None, None)
    port = draw.choice(PORTS)
    return Association(hosts[0], 9, port, opened, replied, agreed, bound, closed=closed, relays=relays, hosts=hosts)


class Plain:
    """All associations in the order in which they came, and where their clients have shown which ports."""

    def __init__(self) -> None:
        self.all: list[Association] = []
        self.shown: list[tuple[int, int, int, Association]] = []

    def there(self, relay: int, moment: int) -> list[Association]:
        return [each for each in self.all if relay in each.relays and each.agreed <= moment]

    def shared(self, relay: int, host: int, moment: int) -> list[Association]:
        return [each for each in self.there(relay, moment) if host in each.hosts]

    def owner(self, relay: int, host: int, port: int, time: int, moment: int) -> Association | None:
        """One that lives then, before others; that knows the port; that knows none; the one asked for last."""
        shared = self.shared(relay, host, moment)
        if not shared:
            return self.latest(relay, time, moment)
        for fits in (Association.lived, Association.may_have):
            fitting = [each for each in shared if fits(each, time)]
            by_port = [each for each in fitting if port == each.port or (relay, host, port, each) in self.shown]
            without = [each for each in fitting if not each.port and not each.ports]
            if by_port:
                return max(by_port, key=lambda each: each.opened)
            if without:
                return min(without, key=lambda each: each.opened)
            if fitting:
                return max(fitting, key=lambda each: each.opened)
        return None

    def latest(self, relay: int, time: int, moment: int) -> Association | None:
        """The one whose reply came last and that lives then, or may have; before all replies, the first to come."""
        there = self.there(relay, moment)
        replied = [each for each in there if each.replied <= time]
        for fits in (Association.lived, Association.may_have):
            if found := [each for each in replied if fits(each, time)]:
                return max(found, key=lambda each: each.replied)
        first = min((each for each in there if each.replied > time), key=lambda each: each.replied, default=None)
        return first if first is not None and first.may_have(time) else None

    def coming(self, relay: int, host: int | None, time: int, moment: int) -> int:
        later = [each for each in self.there(relay, NEVER) if each.agreed > moment and each.may_have(time)]
        return min((each.agreed for each in later if host is None or host in each.hosts), default=NEVER)


def told_apart(all_: list[Association]) -> bool:
    """No two began at once, nor had their replies at once: between such nothing decides."""
    return all(len({getattr(each, name) for each in all_}) == len(all_) for name in ("opened", "replied"))


def changed(draw: Random, relays: Relays, plain: Plain, moment: int) -> None:
    """One association more or less, or something new of one."""
    what = draw.choice(["add", "add", "add", "learn", "learn", "adopt", "remove"])
    if what == "add" or not plain.all:
        fresh = association(draw, moment)
        if not told_apart([*plain.all, fresh]):
            return
        first = [relays.add(fresh, relay) for relay in fresh.relays]
        assert first == [not plain.there(relay, NEVER) for relay in fresh.relays]
        plain.all.append(fresh)
        return
    chosen = draw.choice(plain.all)
    if what == "learn":
        relay, host, port = draw.choice(chosen.relays), draw.choice(chosen.hosts), draw.choice([5, 6, 7])
        share = relays.share(relay, host | port)
        assert share is not None
        if port not in chosen.ports:
            plain.shown.append((relay, host, port, chosen))
        share.learn(chosen, port, moment)
    elif what == "adopt" and HOSTS[2] not in chosen.hosts:
        relays.adopt(chosen, HOSTS[2])
    elif what == "remove":
        plain.all.remove(chosen)
        last = [not plain.there(relay, NEVER) for relay in chosen.relays]
        assert relays.remove(chosen) == any(last)
        chosen.forgotten = True


@pytest.mark.parametrize("seed", range(40))
def test_owners_are_those_of_a_plain_list(seed: int) -> None:
    draw, relays, plain = Random(seed), Relays(), Plain()
    for moment in range(LAST):
        changed(draw, relays, plain, moment)
        for _ in range(20):
            relay, host, port = draw.choice(RELAYS), draw.choice(HOSTS), draw.choice([5, 6, 7, 8])
            time, then = at(draw), draw.choice([moment, LAST, draw.randrange(LAST)])
            share = relays.share(relay, host | port)
            assert relays.owner(relay, host | port, time, then) is plain.owner(relay, host, port, time, then)
            assert relays.latest(relay, time, then) is plain.latest(relay, time, then)
            assert [*relays.known(relay, then)] == plain.there(relay, then)[::-1]
            assert relays.coming(relay, time, then) == plain.coming(relay, None, time, then)
            assert (share is None) == (not plain.shared(relay, host, NEVER))
            if share is not None:
                assert share.knows(then) == bool(plain.shared(relay, host, then))
                assert share.coming(time, then) == plain.coming(relay, host, time, then)
                if share.knows(then):
                    check_how_long(draw, plain, relays, (relay, host, port), time, then)
        there = {relay for each in plain.all for relay in each.relays}
        assert set(relays.at) == there
        for relay in RELAYS:
            assert {*relays.of_address(relay)} == {other for other in there if other >> 16 == relay >> 16}


def check_how_long(
    draw: Random, plain: Plain, relays: Relays, where: tuple[int, int, int], time: int, then: int
) -> None:
    """As long as it is said to be, a datagram of the same port has the same owner, and hardly any longer."""
    relay, host, port = where
    share, owner = relays.share(relay, host | port), plain.owner(*where, time, then)
    assert share is not None
    if owner is None:
        return
    known = port == owner.port or (*where, owner) in plain.shown
    lasts = share.stays(owner, port, time, then)
    assert (lasts is None) == (not (known and owner.lived(time)) and len(share.all) > 1)
    begin, until, before = lasts or share.lasts(time, then)
    assert begin <= time <= until
    assert then < before
    for other in {begin, until, time, draw.randint(max(begin, -LAST * SLACK), min(until, 3 * LAST * SLACK))}:
        for moment in {then, min(before, LAST) - 1, before - 1}:
            if -NEVER < other < NEVER and moment >= then:
                assert plain.owner(*where, other, moment) is owner
