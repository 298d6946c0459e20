"""Code points and their names."""

from __future__ import annotations

from enum import IntEnum

import pytest

from socks5sniff.codec import (
    ADDRESS_TYPES,
    ANOMALIES,
    AUTH_STATUSES,
    COMMAND_OWNERS,
    COMMANDS,
    GSSAPI_MESSAGES,
    METHOD_OWNERS,
    METHODS,
    PROTECTION_LEVELS,
    REPLIES,
    SOCKS4_COMMANDS,
    SOCKS4_REPLIES,
    AddressType,
    AuthStatus,
    Command,
    GssapiMessageType,
    Method,
    ProtectionLevel,
    ReplyStatus,
    Socks4Status,
    address_type_name,
    auth_status_name,
    command_name,
    gssapi_message_name,
    method_name,
    protection_level_name,
    reply_name,
    socks4_reply_name,
)


@pytest.mark.parametrize(
    ("members", "registry"),
    [
        (Method, METHODS),
        (Command, COMMANDS),
        (AddressType, ADDRESS_TYPES),
        (ReplyStatus, REPLIES),
        (Socks4Status, SOCKS4_REPLIES),
        (AuthStatus, AUTH_STATUSES),
        (GssapiMessageType, GSSAPI_MESSAGES),
        (ProtectionLevel, PROTECTION_LEVELS),
    ],
)
def test_constants_and_registry_hold_the_same_values(members: type[IntEnum], registry: dict[int, str]) -> None:
    assert [int(member) for member in members] == list(registry)
    assert len(set(registry.values())) == len(registry)


def test_iana_methods() -> None:
    assert [method_name(method) for method in range(0x0B)] == [
        "no-authentication",
        "gssapi",
        "username-password",
        "chap",
        "unassigned-0x04",
        "challenge-response",
        "ssl",
        "nds",
        "multi-authentication-framework",
        "json-parameter-block",
        "unassigned-0x0a",
    ]
    assert method_name(0x42) == "unassigned-0x42"
    assert method_name(0x7F) == "unassigned-0x7f"
    assert method_name(0x80) == "private-0x80"
    assert method_name(0x91) == "private-0x91"
    assert method_name(0xFE) == "private-0xfe"
    assert method_name(0xFF) == "no-acceptable-method"


def test_command_names() -> None:
    assert [command_name(command) for command in (1, 2, 3, 0xF0, 0xF1)] == [
        "connect",
        "bind",
        "udp-associate",
        "resolve",
        "resolve-ptr",
    ]
    assert command_name(0x99) == "unknown-0x99"
    assert command_name(0) == "unknown-0x00"
    assert set(COMMANDS) > SOCKS4_COMMANDS


def test_owners() -> None:
    assert set(COMMAND_OWNERS) == set(COMMANDS)
    assert all(0x80 <= method <= 0xFE for method in METHOD_OWNERS)


def test_reply_names() -> None:
    assert reply_name(0) == "succeeded"
    assert reply_name(1) == "general SOCKS server failure"
    assert reply_name(5) == "connection refused"
    assert reply_name(0xF0) == "onion service descriptor not found"
    assert reply_name(0xF6) == "invalid onion address"
    assert reply_name(0x33) == "unassigned 0x33"
    assert [socks4_reply_name(code) for code in range(90, 95)] == [
        "request granted",
        "request rejected or failed",
        "no identd reachable",
        "identd mismatch",
        "unassigned 0x5e",
    ]


def test_other_names() -> None:
    assert [address_type_name(kind) for kind in (1, 3, 4, 7)] == ["ipv4", "domain", "ipv6", "unknown-0x07"]
    assert [auth_status_name(status) for status in (0, 1, 0xFF)] == ["success", "failure", "failure"]
    assert gssapi_message_name(0xFF) == "abort"
    assert gssapi_message_name(7) == "unknown 0x07"
    assert protection_level_name(1) == "integrity"
    assert protection_level_name(9) == "unknown 0x09"


@pytest.mark.parametrize(
    "name",
    [
        method_name,
        command_name,
        address_type_name,
        reply_name,
        socks4_reply_name,
        auth_status_name,
        gssapi_message_name,
        protection_level_name,
    ],
)
def test_every_octet_has_a_name(name: object) -> None:
    assert callable(name)
    assert all(name(value) for value in range(256))


def test_anomalies() -> None:
    assert {anomaly.severity for anomaly in ANOMALIES.values()} == {"note", "warning", "error"}
    assert all(code == code.lower() and " " not in code for code in ANOMALIES)
    assert {code for code, anomaly in ANOMALIES.items() if anomaly.severity == "error"} == {
        "internal-error",
        "bad-version",
        "method-not-offered",
        "unknown-address-type",
        "domain-has-nul",
        "server-spoke-first",
        "reply-before-request",
        "handshake-gap",
        "auth-unasked",
        "udp-no-header",
    }
    assert ANOMALIES["cleartext-credentials"].severity == "warning"
    assert ANOMALIES["split-frame"].severity == "note"
