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
    Later("auth-unasked", "username", "credentials that nobody asked for are not read"),
    Later("auth-unasked", "password", "likewise"),
    Later("auth-unasked", "frames", "likewise"),
    Later("auth-unasked", "anomalies", "likewise"),
    Later("reset-in-relay", "anomalies", "no closed-without-data"),
    Later("closed-without-data", "anomalies", "no closed-without-data"),
    Later("domain-url", "anomalies", "no odd-destination"),
    Later("domain-with-port", "anomalies", "no odd-destination"),
    Later("domain-*-address", "anomalies", "no odd-destination"),
    Later("half-*", "anomalies", "no half-frame"),
    Later("reset-text", "bytes.received", "an RST's payload counts"),
    Later("reset-text-before-reply", "outcome", "an RST's payload is read"),
    Later("reset-text-before-reply", "anomalies", "likewise"),
    Later("server-first", "timing.negotiation", "a step can be negative"),
    Later("socks4-reply-version-7777", "conversations", "VN 04 in a reply is taken for an echo at an unusual port"),
    Later("socks4a-no-name-7777", "conversations", "an empty host name is not believed at an unusual port"),
    Later("socks4a-name-missing", "protocol", "0.0.0.x without its name is not known for SOCKS4A"),
    Later("proxy-header-*", "*", "a PROXY protocol header is not skipped"),
    Later("fwd-udp", "udp", "datagrams on the TCP stream are not read"),
    Later("fwd-udp-split", "udp", "likewise"),
    Later("udp-over-tcp", "udp", "likewise"),
    Later("udp-over-tcp-split", "udp", "likewise"),
    Later("udp-over-tcp-announced*", "udp", "likewise"),
    Later("udp-fragments*", "udp.datagrams_*", "a fragmented datagram counts as one"),
    Later("udp-fragments*", "udp.destinations", "likewise"),
    Later("udp-fragments-disordered", "udp.bytes_sent", "what is given up does not count"),
    Later("udp-fragments-unfinished", "udp.bytes_sent", "likewise"),
    Later("udp-fragments-disordered", "anomalies", "no udp-fragments-incomplete"),
    Later("udp-fragments-unfinished", "anomalies", "likewise"),
    Later("udp-after-close", "anomalies", "no udp-after-close"),
    Later("udp-answer-no-header", "anomalies", "no udp-no-header"),
    Later("udp-no-header", "anomalies", "no udp-no-header"),
    Later("udp-bound-loopback", "anomalies", "no unreachable-bound"),
    Later("udp-bound-no-port", "anomalies", "likewise"),
    Later("udp-bound-private", "anomalies", "likewise"),
    Later("udp-names-client", "anomalies", "no udp-names-client"),
    Later("udp-one-way", "anomalies", "no udp-one-way"),
    Later("udp-other-port", "anomalies", "likewise"),
)


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
