"""The table of keys, and everything that repeats it: the record's attributes, the manual, the page's columns."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings

from socks5sniff import manual
from socks5sniff.record import Conversation
from socks5sniff.record.fields import COLUMNS, RECORD, Key, Kind, find, names
from socks5sniff.report.conversations import KEYS, LISTS
from tests.sinks.samples import conversations

_PYTHON = {Kind.NUMBER: int, Kind.TRUTH: bool}


def assert_fits(value: Any, key: Key, path: str) -> None:
    """What a record says is what the table promises, names and their order included."""
    if value is None:
        assert key.null, path
    elif key.many:
        assert isinstance(value, list), path
        for item in value:
            assert_one(item, key, path)
    else:
        assert_one(value, key, path)


def assert_one(value: Any, key: Key, path: str) -> None:
    if key.inside:
        there = {name: inner for name, inner in key.inside.items() if name in value or not inner.optional}
        assert list(value) == list(there), path
        for name, inner in there.items():
            assert_fits(value[name], inner, f"{path}.{name}")
    else:
        assert type(value) is (float if key.seconds else _PYTHON.get(key.kind, str)), path


@settings(max_examples=20, deadline=None)
@given(conversations)
def test_a_record_is_what_the_table_says(conversation: Conversation) -> None:
    record = conversation.as_dict()
    record |= {"upstream": None, "process": None}  # plain dictionaries, which the strategy makes up
    assert_fits(record, RECORD, "record")


def test_each_attribute_is_a_key_in_its_order() -> None:
    """A time is kept as nanoseconds; `duration` is made of two of them."""
    sources = [key.source or name for name, key in RECORD.inside.items() if name != "duration"]
    optional = [field.name for field in fields(Conversation)]
    assert sources == optional


@pytest.mark.parametrize("name", list(names(RECORD)))
def test_each_key_says_what_it_means_in_one_line(name: str) -> None:
    assert re.fullmatch(r"[^\n|]+[^.]", find(name).meaning)


def shape(key: Key) -> str:
    """What the manual says of the type."""
    if key.inside:
        found = f"`{', '.join(key.inside)}`"
    elif key.seconds:
        found = "seconds"
    else:
        text = {Kind.HOST: "text", Kind.ADDRESS: "text", Kind.TRUTH: "true or false"}
        found = text.get(key.kind, key.kind.value.removeprefix("a "))
    return ("list of " if key.many else "") + found + (", or `null`" if key.null else "")


def test_the_manual_has_the_table() -> None:
    rows = [f"| `{name}` | {key.meaning} | {shape(key)} |" for name, key in RECORD.inside.items()]
    assert "\n".join(["| key | what it says | what it is |", "| --- | --- | --- |", *rows, ""]) in manual.text("record")


def test_the_page_keeps_every_key() -> None:
    """Columns of their own, objects whole, or lists; what it makes of others it says itself."""
    kept = {name for name, _ in KEYS} | {f"{name}.{part}" for name, parts in LISTS.items() for part, _ in parts}
    told = {"start", "end", "last_frame", "community_id"}
    told |= {"interim"}  # which no record of a page has
    for name in names(RECORD):
        whole = any(name == key or name.startswith(f"{key}.") for key in kept | told)
        assert whole or find(name).inside, name
    unknown = {name.partition(".")[0] for name in kept} - set(RECORD.inside)
    assert unknown == {"findings"}


def test_columns_are_the_keys_spread() -> None:
    assert set(COLUMNS) <= set(names(RECORD))
    assert list(dict.fromkeys(column.partition(".")[0] for column in COLUMNS)) == list(RECORD.inside)
