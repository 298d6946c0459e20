"""An input that fails made as small as it can be while it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from .scripts import Script, Step

T = TypeVar("T")
Failure = Callable[[Any], str | None]
"""What kind of failure an input gives, None where it gives none."""


def kind_of(fault: BaseException) -> str:
    """What two faults have in common that are the same one."""
    where = fault.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    if isinstance(fault, AssertionError):
        return str(fault).partition(":")[0][:60]
    return f"{type(fault).__name__} in line {where.tb_lineno if where else 0}"


TRIES = 200
"""So often an input is tried: what is left then is small enough."""


def reduced(inputs: Sequence[Any], failing: Failure) -> list[Any]:
    """Fewer inputs: of scripts fewer and shorter steps, of frames fewer ones; no accidents where they do not matter."""
    kind, tries = failing(inputs), 0

    def failure(attempt: Sequence[Any]) -> str | None:
        nonlocal tries
        tries += 1
        return failing(attempt) if tries < TRIES else None

    found = _fewer(list(inputs), lambda rest: failure(rest) == kind)
    for at, each in enumerate(found):
        if isinstance(each, list):
            found[at] = _fewer(each, lambda rest, at=at: failure([*found[:at], rest, *found[at + 1 :]]) == kind)
    changed = True
    while changed:
        changed = False
        for at, script in enumerate(found):
            for simpler in _simpler(script) if isinstance(script, Script) else ():
                attempt = [*found[:at], simpler, *found[at + 1 :]]
                if failure(attempt) == kind:
                    found, changed = attempt, True
                    break
    return found


def _fewer(items: list[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Delta debugging by halves, quarters and so on."""
    size = max(len(items) // 2, 1)
    while size:
        at = 0
        while at < len(items) and len(items) > 1:
            rest = items[:at] + items[at + size :]
            if rest and fails(rest):
                items = rest
            else:
                at += size
        size //= 2
    return items


def _simpler(script: Script) -> Iterator[Script]:
    for at in range(len(script.steps)):
        if len(script.steps) > 1:
            yield script._replace(steps=script.steps[:at] + script.steps[at + 1 :])
    if script.accident:
        yield script._replace(accident="")
    if script.closing:
        yield script._replace(closing="")
    if not script.opening:
        yield script._replace(opening=True)
    if script.version == 6:
        yield script._replace(version=4)
    if script.port != 1080:
        yield script._replace(port=1080)
    for at, step in enumerate(script.steps):
        for shorter in _shorter(step):
            yield script._replace(steps=[*script.steps[:at], shorter, *script.steps[at + 1 :]])


def _shorter(step: Step) -> Iterator[Step]:
    size = len(step.octets) // 2
    while size:
        yield step._replace(octets=step.octets[:-size])
        size //= 2
