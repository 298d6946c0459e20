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


LATER: tuple[Later, ...] = ()


def rows_for(scenario: str) -> list[Later]:
    """The rows that speak of a scenario."""
    return [row for row in LATER if fnmatchcase(scenario, row.scenarios)]


def covers(row: Later, key: str) -> bool:
    """Whether a row speaks of a key or of one inside it."""
    return fnmatchcase(key, row.key) or fnmatchcase(key, row.key + ".*")


UNJUDGED = {
    "address-type-unknown": {"frames", "timing.request"},
    "auth-unasked": {"phase", "outcome"},
    "fwd-udp*": {"tunnel", "timing.first_byte"},
    "fwd-udp-wrong-length": {"udp", "anomalies"},
    "greeting-lying-length": {"anomalies"},
    "gssapi-confidentiality": {"frames", "timing"},
    "gssapi-integrity": {"frames", "timing"},
    "gssapi-nec": {"frames", "timing"},
    "half-request": {"phase"},
    "method-not-offered": {"phase"},
    "reply-lying-length": {"reply", "anomalies"},
    "slow-loris": {"anomalies"},
    "socks4-no-nul": {"phase", "command", "username", "anomalies"},
    "socks4a-name-missing": {"phase", "command", "username", "anomalies"},
    "socks4a-two-nuls": {"frames", "timing", "destination", "tunnel", "bytes", "anomalies"},
    "split-octets": {"timing.authentication"},
    "tcp-lost-request": {
        "frames", "timing", "phase", "outcome", "command", "name_resolution", "reply", "bound", "tunnel", "bytes",
        "upstream",
    },
    "udp-after-close": {"udp"},
    "udp-answer-no-header": {"udp"},
    "udp-name": {"udp.destinations"},
    "udp-names-client": {"udp.destinations"},
    "udp-no-header": {"udp"},
    "udp-other-port": {"udp"},
    "udp-over-tcp*": {"tunnel", "timing.first_byte"},
    "udp-over-tcp-wrong-length": {"udp", "anomalies"},
}
"""Keys that a truth does not state, since the contract leaves them open: by names of scenarios, with `*`."""


def unjudged(scenario: str) -> set[str]:
    """The keys that the truth of a scenario need not state."""
    return {key for names, keys in UNJUDGED.items() if fnmatchcase(scenario, names) for key in keys}
