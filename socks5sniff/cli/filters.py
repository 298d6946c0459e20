"""Which conversations to show: `--client`, `--destination`, `--outcome` and so on, made into one test.

Values of one option are alternatives; a conversation must pass every option that is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import click

from socks5sniff.record import Conversation, Target

Test = Callable[[Conversation], bool]
HostTest = Callable[[str], bool]

OUTCOMES = ("succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed")
SEVERITIES = ("note", "warning", "error")

_ENDPOINT_FORMS = (
    "an address (192.0.2.1, 2001:db8::1), a CIDR block (10.0.0.0/8), a host name, any of these with a port "
    "(example.com:443, [2001:db8::1]:443), a port (:443), or a host with * and ? as wildcards (*.example.com)"
)


def conversation_filter(options: Mapping[str, Sequence[str]]) -> Test | None:
    """One test out of the options' values, None when there are none.

    Args:
        options: values by option name, `client`, `proxy`, `destination`, `user`, `command`, `outcome` or `anomaly`;
            words of the last three are known to be right.

    Raises:
        click.BadParameter: an endpoint is not understood; the message says what would be.
    """
    groups = [
        [_MAKERS[option](value, f"--{option}") for value in values] for option, values in options.items() if values
    ]
    if not groups:
        return None
    return lambda conversation: all(any(test(conversation) for test in group) for group in groups)


def _client(value: str, option: str) -> Test:
    host, port = _endpoint(value, option)
    return lambda c: port in (None, c.client.port) and host(c.client.address)


def _proxy(value: str, option: str) -> Test:
    host, port = _endpoint(value, option)
    return lambda c: port in (None, c.proxy.port) and host(c.proxy.address)


def _destination(value: str, option: str) -> Test:
    """The request's destination, or any remote party of a UDP association."""
    host, port = _endpoint(value, option)

    def reached(target: Target | None) -> bool:
        return target is not None and port in (None, target.port) and host(target.host)

    def test(c: Conversation) -> bool:
        if c.udp is None:
            return reached(c.destination)
        return any(port in (None, party.port) and host(party.host) for party in c.udp.destinations) or reached(
            c.destination
        )

    return test


def _user(value: str, option: str) -> Test:
    pattern = _wildcards(value)
    return lambda c: c.username is not None and pattern.fullmatch(c.username) is not None


def _command(value: str, option: str) -> Test:
    if value == "unknown":
        return lambda c: c.command is not None and c.command.startswith("unknown-")
    return lambda c: c.command == value


def _outcome(value: str, option: str) -> Test:
    return lambda c: c.outcome == value


def _anomaly(value: str, option: str) -> Test:
    if value == "any":
        return lambda c: bool(c.anomalies)
    if value in SEVERITIES:
        return lambda c: any(anomaly.severity == value for anomaly in c.anomalies)
    return lambda c: any(anomaly.code == value for anomaly in c.anomalies)


_MAKERS: dict[str, Callable[[str, str], Test]] = {
    "client": _client,
    "proxy": _proxy,
    "destination": _destination,
    "user": _user,
    "command": _command,
    "outcome": _outcome,
    "anomaly": _anomaly,
}
OPTIONS = tuple(_MAKERS)
"""Names of the filter options."""


def _endpoint(value: str, option: str) -> tuple[HostTest, int | None]:
    """The test of the host and the port (None for any) that a pattern asks for."""
    host, port = _split(value)
    test = _host(host)
    if test is None or not (port is None or (port.isascii() and port.isdigit() and int(port) <= 65535)):
        raise click.BadParameter(f"{value!r} is not understood; allowed: {_ENDPOINT_FORMS}.", param_hint=option)
    return test, None if port is None else int(port)


def _split(value: str) -> tuple[str, str | None]:
    """Host and port of `host:port`, `[host]:port`, `:port`, or a host alone; an IPv6 address is a host alone."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", value)
    if bracketed:
        return bracketed[1], bracketed[2]
    host, colon, port = value.rpartition(":")
    if not colon or ":" in host:
        return value, None
    return host or "*", None if port == "*" else port


def _host(host: str) -> HostTest | None:
    """The test of a host pattern, None where it can't be one."""
    if "/" in host:
        try:
            network = ip_network(host, strict=False)
        except ValueError:
            return None
        return lambda text: (address := _address(text)) is not None and address in network
    wanted = _address(host)
    if wanted is not None:
        return lambda text: _address(text) == wanted
    if not host or any(character.isspace() or character in "[]" for character in host):
        return None
    if re.fullmatch(r"[\d.]+", host) or (":" in host and "*" not in host and "?" not in host):
        return None  # meant as an address, and not one
    pattern = _wildcards(host, re.IGNORECASE)
    return lambda text: pattern.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _wildcards(text: str, flags: int = 0) -> re.Pattern[str]:
    """A pattern in which `*` stands for any characters and `?` for one."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), flags | re.DOTALL)
