"""The filter options: what each value matches, how they combine, what a bad one is told."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.cli.filters import OPTIONS, conversation_filter
from socks5sniff.record import AnomalyEntry, Conversation, Endpoint, Target, UdpDestination, UdpTraffic
from tests.sinks.samples import sample


def passes(conversation: Conversation, **options: str | list[str]) -> bool:
    values = {name: [value] if isinstance(value, str) else value for name, value in options.items()}
    test = conversation_filter(values)
    assert test is not None
    return test(conversation)


def test_no_option_is_no_filter() -> None:
    assert conversation_filter(dict.fromkeys(OPTIONS, ())) is None


@pytest.mark.parametrize(
    ("value", "address", "port", "matches"),
    [
        ("192.0.2.1", "192.0.2.1", 5, True),
        ("192.0.2.1", "192.0.2.10", 5, False),
        ("192.0.2.1:5", "192.0.2.1", 5, True),
        ("192.0.2.1:5", "192.0.2.1", 6, False),
        ("192.0.2.0/24", "192.0.2.77", 5, True),
        ("192.0.2.9/24", "192.0.2.77", 5, True),
        ("192.0.2.0/24", "192.0.3.1", 5, False),
        ("192.0.2.0/24:5", "192.0.2.77", 5, True),
        ("192.0.2.0/24:6", "192.0.2.77", 5, False),
        ("192.0.2.0/24", "2001:db8::1", 5, False),
        (":5", "192.0.2.1", 5, True),
        (":5", "2001:db8::1", 6, False),
        ("192.0.*", "192.0.2.1", 5, True),
        ("*:5", "2001:db8::1", 5, True),
        ("192.0.2.?:*", "192.0.2.1", 5, True),
        ("2001:db8::1", "2001:db8::1", 5, True),
        ("2001:DB8:0::1", "2001:db8::1", 5, True),
        ("[2001:db8::1]:5", "2001:db8::1", 5, True),
        ("[2001:db8::1]:6", "2001:db8::1", 5, False),
        ("[2001:db8::1]", "2001:db8::1", 5, True),
        ("2001:db8::/32", "2001:db8::77", 5, True),
        ("[2001:db8::/32]:5", "2001:db8::77", 5, True),
    ],
)
def test_endpoints(value: str, address: str, port: int, matches: bool) -> None:
    assert passes(sample(client=Endpoint(address, port)), client=value) is matches
    assert passes(sample(proxy=Endpoint(address, port)), proxy=value) is matches
    kind = "ipv6" if ":" in address else "ipv4"
    assert passes(sample(destination=Target(kind, address, port)), destination=value) is matches


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ("www.example.com", True),
        ("WWW.Example.COM", True),
        ("www.example.com:443", True),
        ("www.example.com:80", False),
        ("*.example.com", True),
        ("*example.com:443", True),
        ("example.com", False),
        (":443", True),
        ("*", True),
        ("www.example.comx", False),
        ("wwwxexample.com", False),
        ("192.0.2.0/24", False),
    ],
)
def test_host_names(value: str, matches: bool) -> None:
    assert passes(sample(destination=Target("domain", "www.example.com", 443)), destination=value) is matches


def test_an_unseen_destination_matches_nothing() -> None:
    assert not passes(sample(destination=None), destination="*")


def test_a_destination_of_an_association_is_any_remote_party() -> None:
    udp = UdpTraffic(1, 1, 1, 1, 0, [UdpDestination("192.0.2.7", 53, 1, 1)])
    conversation = sample(destination=Target("ipv4", "0.0.0.0", 0), udp=udp)
    assert passes(conversation, destination="192.0.2.7:53")
    assert passes(conversation, destination="0.0.0.0")
    assert not passes(conversation, destination="192.0.2.8")


@pytest.mark.parametrize(
    "value",
    ["", " ", "a b", "x/y", "192.0.2.0/33", "192.0.2.1:65536", "192.0.2.1:x", "256.1.1.1", ":", "[2001:db8::1", "1:2"],
)
@pytest.mark.parametrize("option", ["client", "proxy", "destination"])
def test_a_bad_endpoint_is_told_what_is_allowed(option: str, value: str) -> None:
    with pytest.raises(click.BadParameter, match="CIDR block") as caught:
        passes(sample(), **{option: value})
    assert caught.value.param_hint == f"--{option}"


@pytest.mark.parametrize(
    ("value", "user", "matches"),
    [
        ("alice", "alice", True),
        ("alice", "Alice", False),
        ("ali*", "alice", True),
        ("a?ice", "alice", True),
        ("*", "", True),
        ("*", None, False),
        ("", "", True),
        ("a.ice", "alice", False),
    ],
)
def test_user_names(value: str, user: str | None, matches: bool) -> None:
    assert passes(sample(username=user), user=value) is matches


def test_commands() -> None:
    assert passes(sample(command="connect"), command="connect")
    assert not passes(sample(command="bind"), command="connect")
    assert not passes(sample(command=None), command="connect")
    assert passes(sample(command="unknown-0x99"), command="unknown-0x99")
    assert passes(sample(command="unknown-0x99"), command="unknown")
    assert not passes(sample(command="connect"), command="unknown")


def test_outcomes() -> None:
    assert passes(sample(outcome="rejected"), outcome="rejected")
    assert not passes(sample(outcome="succeeded"), outcome="rejected")


def test_anomalies_by_code_severity_or_any() -> None:
    odd = sample(anomalies=[AnomalyEntry("early-data", "note", 3, "…")])
    assert passes(odd, anomaly="early-data")
    assert passes(odd, anomaly="note")
    assert passes(odd, anomaly="any")
    assert not passes(odd, anomaly="warning")
    assert not passes(odd, anomaly="bad-version")
    assert not passes(sample(anomalies=[]), anomaly="any")


def test_values_of_an_option_are_alternatives() -> None:
    assert passes(sample(outcome="rejected"), outcome=["succeeded", "rejected"])
    assert not passes(sample(outcome="malformed"), outcome=["succeeded", "rejected"])


def test_options_must_all_match() -> None:
    assert passes(sample(outcome="rejected"), outcome="rejected", user="alice")
    assert not passes(sample(outcome="rejected"), outcome="rejected", user="bob")


@given(st.text(max_size=30), st.sampled_from(OPTIONS))
def test_any_value_is_a_filter_or_a_clear_refusal(value: str, option: str) -> None:
    refusal = ""
    passed = None
    try:
        passed = passes(sample(), **{option: value})
    except click.BadParameter as error:
        refusal = error.message
    assert (passed is None) == bool(refusal)
