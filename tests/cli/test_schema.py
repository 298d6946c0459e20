"""The schema that `socks5sniff help record --schema` prints, and every record of every capture beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.cli.schema import schema
from socks5sniff.codec.codes import ANOMALIES
from socks5sniff.record import Conversation
from tests.sinks.samples import conversations, sample

CAPTURES = sorted(Path(__file__).resolve().parents[2].joinpath("captures").glob("*.pcapng"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "record", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_it_has_the_keys_of_the_record_in_their_order_and_says_what_they_mean() -> None:
    properties = schema()["properties"]
    assert list(properties) == [*sample().as_dict(), "interim"]
    assert [key for key, what in properties.items() if "description" not in what] == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_record_of_every_capture_conforms(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    for conversation in socks5sniff.read(path, udp_frames=True):
        validator.validate(json.loads(json.dumps(conversation.as_dict())))
        assert_all_described(conversation.as_dict(), schema())


def assert_all_described(value: Any, what: dict[str, Any], path: str = "record") -> None:
    """No key without a property, at any depth."""
    if isinstance(value, dict):
        assert {*what["required"]} <= {*value} <= {*what["properties"]}, path
        for key, inner in value.items():
            assert_all_described(inner, what["properties"][key], f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            assert_all_described(item, what["items"], f"{path}[]")


def wrongs() -> Iterator[dict[str, Any]]:
    record = json.loads(json.dumps(sample().as_dict()))
    for key in record:
        yield {name: value for name, value in record.items() if name != key}
    for key, value in (
        ("id", "1"),
        ("id", None),
        ("outcome", "fine"),
        ("outcome", None),
        ("start", "2026-06-21"),
        ("duration", "1"),
        ("client", {"address": "192.0.2.1"}),
        ("destination", {"type": "dns", "host": "x", "port": 1}),
        ("methods", "none"),
        ("bytes", {"sent": 1.5, "received": 0}),
        ("frames", None),
        ("authenticated", 1),
        ("anomalies", [{"code": "unheard-of", "severity": "note", "frame": 1, "message": ""}]),
        ("process", {"pid": 1}),
        ("reply", {"code": "0", "name": "succeeded"}),
    ):
        yield {**record, key: value}


@pytest.mark.parametrize("record", list(wrongs()))
def test_what_is_no_record_does_not(record: dict[str, Any], validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(record)


@settings(max_examples=50, deadline=None)
@given(conversations)
def test_whatever_the_wire_says_is_allowed(conversation: Conversation) -> None:
    """But for words that are ours, which the strategy makes up."""
    found = schema()
    for key in ("phase", "name_resolution", "upstream", "frames", "anomalies", "duration"):
        found["properties"][key] = {}
    jsonschema.Draft202012Validator(found).validate(conversation.as_dict())
    assert set(ANOMALIES) <= set(schema()["properties"]["anomalies"]["items"]["properties"]["code"]["enum"])
