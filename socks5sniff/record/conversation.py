"""The conversation record: what the analyser produces and every sink prints.

Names and types are a contract. Values that were not seen are None, never a made-up default. Times are kept as
integer nanoseconds since 1970-01-01 UTC (`start_ns`, …) and shown as ISO 8601 strings (`start`, …), so that no
precision is lost on the way. Strings that came from the wire (user names, host names) are kept as they were
decoded: sinks escape them on the way out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import gmtime, strftime
from typing import Any, NamedTuple

from .fields import RECORD

MASKED_PASSWORD = "********"
_FRAME = tuple(RECORD.inside["frames"].inside)


def iso_time(nanoseconds: int) -> str:
    """UTC, ISO 8601 with nanoseconds: `2026-11-22T08:39:01.123456789Z`."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{fraction:09d}Z"


class Endpoint(NamedTuple):
    """An IP address in text and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Target(NamedTuple):
    """DST.ADDR/DST.PORT or BND.ADDR/BND.PORT of a SOCKS frame."""

    type: str
    """`ipv4`, `ipv6` or `domain`."""
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.type == "ipv6" else f"{self.host}:{self.port}"


class ReplyCode(NamedTuple):
    """REP of a reply (SOCKS4: CD, 90 to 93) and its name."""

    code: int
    name: str


class Tunnel(NamedTuple):
    """What the first octets through the relay are."""

    protocol: str
    """`tls`, `http`, `ssh`, `socks5`, … or `unknown`."""
    server_name: str | None = None
    """SNI or Host."""
    alpn: list[str] | None = None
    """ALPN protocols offered, for TLS."""
    detail: str | None = None
    """One short line: the HTTP request line, the SSH banner, …"""


class Traffic(NamedTuple):
    """Octets through the tunnel, each counted once however often it was retransmitted."""

    sent: int
    """From the client."""
    received: int
    """To the client."""


class UdpDestination(NamedTuple):
    """One remote party of a UDP association."""

    host: str
    port: int
    datagrams_sent: int
    datagrams_received: int
    dns: str | None = None
    """The first question that was asked of it, and what was answered."""
    server_name: str | None = None
    """The name in QUIC's ClientHello."""
    quic: str | None = None
    """QUIC's version, and the ClientHello's JA4 where it can be read."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON writes it: what the datagrams carry is there where it has a name."""
        found = self._asdict()
        for name in ("dns", "server_name", "quic"):
            if found[name] is None:
                del found[name]
        return found


class UdpTraffic(NamedTuple):
    """What went through a UDP association; octets are those of DATA, without the SOCKS header."""

    datagrams_sent: int
    datagrams_received: int
    bytes_sent: int
    bytes_received: int
    fragments: int
    destinations: list[UdpDestination]


class Timing(NamedTuple):
    """Seconds each step took, None where it did not happen or was not seen whole."""

    tcp_handshake: float | None = None
    """SYN to SYN/ACK."""
    negotiation: float | None = None
    """Greeting to method selection."""
    authentication: float | None = None
    """First to last octet of the sub-negotiation."""
    request: float | None = None
    """Request to reply."""
    first_byte: float | None = None
    """Reply to the first octet from the destination."""
    upstream_handshake: float | None = None
    """The proxy's own SYN to its SYN/ACK, where `upstream` is known."""


class ProxyHeader(NamedTuple):
    """A PROXY protocol header in front of the greeting."""

    version: int
    """1 or 2."""
    source: Endpoint | None
    """The client that it states; None where it names no addresses (UNKNOWN, LOCAL)."""
    destination: Endpoint | None
    length: int
    """Octets of the header."""


class FrameEntry(NamedTuple):
    """One SOCKS frame as the record lists it."""

    frame: int
    """Number of the packet that completed it, as Wireshark counts."""
    time_ns: int
    sender: str
    """`client` or `proxy`."""
    type: str
    """`greeting`, `method-selection`, `auth-request`, `auth-reply`, `gssapi`, `request`, `reply`, `udp`."""
    length: int
    """Octets of the SOCKS frame."""
    summary: str

    @property
    def time(self) -> str:
        """UTC, ISO 8601 with nanoseconds."""
        return iso_time(self.time_ns)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FRAME}


class AnomalyEntry(NamedTuple):
    """One thing that was odd, with a code of the codec's registry."""

    code: str
    severity: str
    """`note`, `warning` or `error`."""
    frame: int
    message: str


@dataclass(slots=True)
class Conversation:
    """One SOCKS conversation. `fields.RECORD` says what each key means."""

    id: int
    parent: int | None
    capture: str
    protocol: str | None
    client: Endpoint
    proxy: Endpoint
    reversed: bool
    start_ns: int
    end_ns: int
    phase: str | None
    outcome: str
    methods: list[str] | None
    method: str | None
    username: str | None
    password: str | None
    authenticated: bool | None
    command: str | None
    destination: Target | None
    reply: ReplyCode | None
    bound: Target | None
    peer_reply: ReplyCode | None
    peer: Target | None
    tunnel: Tunnel | None
    bytes: Traffic | None
    udp: UdpTraffic | None
    timing: Timing
    close: str
    closed_by: str | None
    packets: int
    tcp_stream: int
    community_id: str
    name_resolution: str | None
    first_frame: int
    last_frame: int
    frames: list[FrameEntry] = field(default_factory=list)
    anomalies: list[AnomalyEntry] = field(default_factory=list)
    upstream: dict[str, Any] | None = None
    proxy_header: ProxyHeader | None = None
    network: str | None = None
    process: dict[str, Any] | None = None
    interim: bool = False

    @property
    def start(self) -> str:
        """Time of the connection's first packet, UTC, ISO 8601 with nanoseconds."""
        return iso_time(self.start_ns)

    @property
    def end(self) -> str:
        """Time of the connection's last packet."""
        return iso_time(self.end_ns)

    @property
    def duration(self) -> float:
        """Seconds from `start` to `end`."""
        return (self.end_ns - self.start_ns) / 1e9

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values, in the contract's order; `json.dumps` of it is the JSON output."""
        found = {name: plain(getattr(self, name)) for name in RECORD.inside}
        if not self.interim:
            del found["interim"]
        return found


def plain(value: Any) -> Any:
    """A value of the record as JSON writes it: objects by their keys, not by place."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, (FrameEntry, UdpDestination)):
        return value.as_dict()
    if isinstance(value, tuple):
        return dict(zip(value._fields, map(plain, value), strict=True))  # type: ignore[attr-defined]
    return value
