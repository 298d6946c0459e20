"""What browsers are told: all of it while they keep up, and what they missed when they do not."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from socks5sniff.web import Publisher

HEALTH = {"packets": 10, "dropped": 0, "open": 1}


def records(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number, "username": "a\nb\u2028\x00"} for number in numbers]


def parsed(event: bytes) -> tuple[str, str, Any]:
    """Kind, id and value of a server-sent event."""
    fields = dict(line.split(": ", 1) for line in event.decode().splitlines() if line and line[0] != ":")
    return fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "null"))


async def everything(stream: AsyncIterator[bytes], kinds: tuple[str, ...]) -> list[tuple[str, str, Any]]:
    found = [each for event in [event async for event in stream] for each in map(parsed, split(event))]
    return [each for each in found if each[0] in kinds]


def split(event: bytes) -> list[bytes]:
    return [part + b"\n\n" for part in event.split(b"\n\n") if part]


def told(publisher: Publisher, after: int = 0, kinds: tuple[str, ...] = ("records", "missed", "end")) -> list[Any]:
    publisher.close()
    return [(kind, value) for kind, _, value in asyncio.run(everything(publisher.events(after), kinds))]


def ids(events: list[Any]) -> list[int]:
    return [record["id"] for kind, value in events if kind == "records" for record in value]


def test_a_browser_gets_what_was_before_it_came() -> None:
    publisher = Publisher()
    publisher.publish(records(1, 2), [], HEALTH)
    publisher.publish([], [], HEALTH)
    publisher.publish(records(3), [], HEALTH)
    events = told(publisher)
    assert ids(events) == [1, 2, 3]
    assert events[-1] == ("end", {})


def test_an_event_is_one_line_of_data_whatever_is_in_it() -> None:
    publisher = Publisher()
    publisher.publish(records(1), [], HEALTH)
    ((_, value),) = told(publisher, kinds=("records",))
    assert value == records(1)


def test_records_may_be_json_already() -> None:
    publisher = Publisher()
    publisher.publish([json.dumps(records(1)[0]), records(2)[0]], [], HEALTH)
    assert told(publisher)[0] == ("records", records(1, 2))


def test_one_that_comes_back_gets_what_it_has_not_had() -> None:
    publisher = Publisher()
    for number in range(1, 6):
        publisher.publish(records(number), [], HEALTH)
    assert ids(told(publisher, after=3)) == [4, 5]
    assert ids(told(publisher, after=5)) == []


def test_one_from_another_run_gets_everything() -> None:
    publisher = Publisher()
    publisher.publish(records(1), [], HEALTH)
    assert ids(told(publisher, after=999)) == [1]


def test_what_the_ring_does_not_hold_any_more_is_told_as_missed() -> None:
    publisher = Publisher(kept=1000)
    for number in range(1, 101):
        publisher.publish(records(number), [], HEALTH)
    events = told(publisher, after=10)
    missed = [value["conversations"] for kind, value in events if kind == "missed"]
    assert events[0][0] == "missed"
    assert missed == [ids(events)[0] - 11]
    assert ids(events)[-1] == 100


def test_the_ring_is_bounded_however_much_comes() -> None:
    publisher = Publisher(kept=100_000)
    for number in range(3000):
        publisher.publish(records(*range(number, number + 10)), [], HEALTH)
    assert sum(len(batch.event) for batch in publisher._batches) <= 100_000
    assert len(publisher._batches) < 400


def test_a_slow_browser_loses_batches_and_nobody_waits_for_it() -> None:
    async def slow() -> list[Any]:
        publisher = Publisher(kept=2000)
        stream = publisher.events(0)
        publisher.publish(records(1), [], HEALTH)
        await anext(stream)
        begin = time.monotonic()
        for number in range(2, 1002):
            publisher.publish(records(number), [], HEALTH)
        assert time.monotonic() - begin < 30
        publisher.close()
        return await everything(stream, ("records", "missed"))

    events = [(kind, value) for kind, _, value in asyncio.run(slow())]
    missed = sum(value["conversations"] for kind, value in events if kind == "missed")
    assert missed + len(ids(events)) == 1001
    assert missed > 900


def test_events_come_while_another_thread_publishes() -> None:
    async def watched() -> list[int]:
        publisher = Publisher()

        def publish() -> None:
            for number in range(1, 21):
                publisher.publish(records(number), [], HEALTH)
                time.sleep(0.01)
            publisher.close()

        threading.Thread(target=publish).start()
        return ids([(kind, value) for kind, _, value in await everything(publisher.events(0), ("records",))])

    assert asyncio.run(watched()) == list(range(1, 21))


def test_open_conversations_and_health_are_only_the_latest() -> None:
    publisher = Publisher()
    for number in range(5):
        publisher.publish([], records(number), {**HEALTH, "packets": number, "open": 70})
    events = told(publisher, kinds=("current", "health"))
    assert [value["packets"] for kind, value in events if kind == "health"] == [4]
    ((_, state),) = [each for each in events if each[0] == "current"]
    assert (state["count"], state["conversations"]) == (70, records(4))


def test_it_knows_whether_somebody_watches() -> None:
    async def watch() -> list[bool]:
        publisher = Publisher()
        seen = [publisher.watched]
        stream = publisher.events(0)
        await anext(stream)
        seen.append(publisher.watched)
        await stream.aclose()
        return [*seen, publisher.watched]

    assert asyncio.run(watch()) == [False, True, False]


def test_attempts_and_bypasses_are_told_once_to_each_browser() -> None:
    async def heard() -> list[Any]:
        publisher = Publisher()
        publisher.publish([], [], HEALTH, {"attempts": [1]})
        first = publisher.events(0)
        found = [await anext(first) for _ in range(4)]
        publisher.publish([], [], HEALTH)
        publisher.publish([], [], HEALTH, {"attempts": [1, 2]})
        publisher.close()
        found += [event async for event in first]
        found += [event async for event in publisher.events(0)]
        return [value for event in found for kind, _, value in map(parsed, split(event)) if kind == "besides"]

    assert asyncio.run(heard()) == [{"attempts": [1]}, {"attempts": [1, 2]}, {"attempts": [1, 2]}]
