"""Short forms of `--where`: each option's value as the part of the tree that an expression would give.

There is one way of choosing: `--client 10.0.0.0/8:5` is `client[address in 10.0.0.0/8 and port == 5]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network

import click

from socks5sniff.record.fields import find
from socks5sniff.where import Expression, ExpressionError
from socks5sniff.where.tree import Comparison, Group, Literal, Name, Node

_ENDPOINT_FORMS = (
    "an address (192.0.2.1, 2001:db8::1), a CIDR block (10.0.0.0/8), a host name, any of these with a port "
    "(example.com:443, [2001:db8::1]:443), a port (:443), or a host with * and ? as wildcards (*.example.com)"
)


def expression(options: Mapping[str, Sequence[str]], where: Expression | None) -> Expression:
    """One test out of the options' values, and of `where` where that is given too.

    Raises:
        click.BadParameter: a value is not understood; the message says what would be.
    """
    parts = [_group("or", [_MAKERS[option](value, f"--{option}") for value in options[option]]) for option in options]
    if where is not None:
        parts.append(where.tree)
    try:
        return Expression("the filter options", _group("and", parts))
    except ExpressionError as mistake:
        raise click.BadParameter(f"{mistake.reason}.") from None


def _client(value: str, option: str) -> Node:
    return _with("client", _endpoint(value, option, "address"))


def _proxy(value: str, option: str) -> Node:
    return _with("proxy", _endpoint(value, option, "address"))


def _destination(value: str, option: str) -> Node:
    """The request's destination, or any remote party of a UDP association."""
    conditions = _endpoint(value, option, "host")
    return Group("or", (_with("destination", conditions), _with("udp.destinations", conditions)))


def _user(value: str, option: str) -> Node:
    return _matches("username", f"(?-i:{_wildcards(value)})")


def _command(value: str, option: str) -> Node:
    return _matches("command", "unknown-.*") if value == "unknown" else _is("command", value)


def _outcome(value: str, option: str) -> Node:
    return _is("outcome", value)


def _anomaly(value: str, option: str) -> Node:
    if value == "any":
        return Comparison(Name("anomalies", 0))
    return _is("anomalies.severity" if value in find("anomalies.severity").words else "anomalies.code", value)


_MAKERS: dict[str, Callable[[str, str], Node]] = {
    "client": _client,
    "proxy": _proxy,
    "destination": _destination,
    "user": _user,
    "command": _command,
    "outcome": _outcome,
    "anomaly": _anomaly,
}


def _group(operator: str, parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Group(operator, tuple(parts))


def _with(name: str, conditions: list[Node]) -> Node:
    """A key whose inner keys fulfil all conditions."""
    return Comparison(Name(name, 0, _group("and", conditions) if conditions else None))


def _is(name: str, text: str, sort: str = "string") -> Node:
    return Comparison(Name(name, 0), "==", (Literal(text, sort, 0),))


def _matches(name: str, pattern: str) -> Node:
    """The whole value fits a pattern, in any case."""
    return Comparison(Name(name, 0), "matches", (Literal(rf"(?s:\A(?:{pattern})\Z)", "string", 0),))


def _endpoint(value: str, option: str, name: str) -> list[Node]:
    """Conditions that a pattern puts on the key called `name` and on `port`."""
    host, port = _split(value)
    conditions = _host(host, name)
    if conditions is None or not (port is None or (port.isascii() and port.isdigit() and int(port) <= 65535)):
        raise click.BadParameter(f"{value!r} is not understood; allowed: {_ENDPOINT_FORMS}.", param_hint=option)
    return conditions if port is None else [*conditions, _is("port", str(int(port)), "number")]


def _split(value: str) -> tuple[str, str | None]:
    """Host and port of `host:port`, `[host]:port`, `:port`, or a host alone; an IPv6 address is a host alone."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", value)
    if bracketed:
        return bracketed[1], bracketed[2]
    host, colon, port = value.rpartition(":")
    if not colon or ":" in host:
        return value, None
    return host or "*", None if port == "*" else port


def _host(host: str, name: str) -> list[Node] | None:
    """Conditions that a host pattern puts on a key, None where it can't be one."""
    if host == "*":
        return []
    try:
        ip_network(host, strict=False) if "/" in host else ip_address(host)
    except ValueError:
        if "/" in host:
            return None
    else:
        return [_is(name, host, "address")]
    if not host or any(character.isspace() or character in "[]" for character in host):
        return None
    if re.fullmatch(r"[\d.]+", host) or (":" in host and "*" not in host and "?" not in host):
        return None  # meant as an address, and not one
    return [_matches(name, _wildcards(host))]


def _wildcards(text: str) -> str:
    """A pattern in which `*` stands for any characters and `?` for one."""
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
