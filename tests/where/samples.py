"""The conversation that expressions are tried on, in Python and in the page."""

from __future__ import annotations

from socks5sniff.record import (
    AnomalyEntry,
    Endpoint,
    FrameEntry,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
    UdpDestination,
    UdpTraffic,
)

from ..sinks.samples import sample

SECOND = 1_000_000_000
START = 1_795_336_741 * SECOND
"""2026-11-22T08:39:01Z."""

SAMPLE = sample(
    id=7,
    parent=None,
    protocol="socks5",
    client=Endpoint("192.0.2.10", 50000),
    proxy=Endpoint("2001:db8::1", 1080),
    reversed=False,
    start_ns=START + SECOND // 2,
    end_ns=START + 3 * SECOND,
    phase="request",
    outcome="rejected",
    methods=["no-authentication", "username-password", "private-0x91"],
    method="username-password",
    username="Alice",
    authenticated=True,
    command="connect",
    destination=Target("domain", "www.Example.com", 443),
    reply=ReplyCode(5, "connection refused"),
    bound=Target("ipv4", "10.1.2.3", 0),
    peer=None,
    tunnel=Tunnel("tls", "www.example.com", ["h2", "http/1.1"], "TLS 1.3"),
    bytes=Traffic(100, 0),
    udp=None,
    timing=Timing(request=0.25),
    close="fin",
    closed_by="proxy",
    frames=[
        FrameEntry(4, START + SECOND, "client", "greeting", 4, "greeting"),
        FrameEntry(9, START + 2 * SECOND, "proxy", "reply", 10, "reply"),
    ],
    anomalies=[
        AnomalyEntry("cleartext-credentials", "warning", 6, "a password crossed"),
        AnomalyEntry("late-close", "note", 12, "open 11 s"),
    ],
    process={"pid": 42, "name": "curl"},
)
UDP = UdpTraffic(3, 1, 30, 10, 0, [UdpDestination("10.0.0.1", 53, 1, 1), UdpDestination("10.0.0.2", 123, 2, 0)])
