"""What is right of the captures in captures/ and not read so yet, in one place, with the reason.

A truth says what is right by the record's contract. Where reading still says something else, a row here lets the test
pass; as soon as reading is right, the test fails until the row is taken out.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Later(NamedTuple):
    """Keys of some scenarios' records."""

    scenarios: str
    """Names, with `*`."""
    key: str
    """Of the record, or of an object in it after a dot; `conversations` is their number."""
    reason: str


LATER = (
    Later("*", "upstream", "the proxy's own connection is not looked for"),
    Later("*", "timing.upstream_handshake", "likewise"),
    Later("address-type-unknown", "outcome", "a request of no known form ends the dialogue"),
    Later("address-type-unknown", "command", "likewise"),
    Later("address-type-unknown", "reply", "likewise"),
    Later("address-type-unknown", "bound", "likewise"),
    Later("reset-in-relay", "anomalies", "no closed-without-data"),
    Later("server-first", "timing.negotiation", "a step can be negative"),
    Later("udp-fragments*", "udp.datagrams_*", "a fragmented datagram counts as one"),
    Later("udp-fragments*", "udp.destinations", "likewise"),
    Later("udp-fragments-disordered", "udp.bytes_sent", "what is given up does not count"),
    Later("udp-fragments-disordered", "anomalies", "no udp-fragments-incomplete"),
    Later("udp-no-header", "anomalies", "no udp-no-header"),
)


def rows_for(scenario: str) -> list[Later]:
    """The rows that speak of a scenario."""
    return [row for row in LATER if fnmatchcase(scenario, row.scenarios)]


def covers(row: Later, key: str) -> bool:
    """Whether a row speaks of a key or of one inside it."""
    return fnmatchcase(key, row.key) or fnmatchcase(key, row.key + ".*")


UNJUDGED = {
    "address-type-unknown": {"frames", "timing.request"},
    "greeting-lying-length": {"anomalies"},
    "gssapi-confidentiality": {"frames", "timing"},
    "gssapi-integrity": {"frames", "timing"},
    "gssapi-nec": {"frames", "timing"},
    "method-not-offered": {"phase"},
    "reply-lying-length": {"reply", "anomalies"},
    "slow-loris": {"anomalies"},
    "split-octets": {"timing.authentication"},
    "tcp-lost-request": {
        "frames", "timing", "phase", "outcome", "command", "name_resolution", "reply", "bound", "tunnel", "bytes",
    },
    "udp-name": {"udp.destinations"},
    "udp-no-header": {"udp"},
}
"""Keys that a truth does not state, since the contract leaves them open."""
