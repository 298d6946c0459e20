"""Conversations for the tests of sinks and commands: one typical, and a hypothesis strategy for any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from socks5sniff.record import (
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    ProxyHeader,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
    UdpDestination,
    UdpTraffic,
)

START = 1_782_000_000_123_456_789
"""2026-06-21T00:00:00.123456789Z"""


def sample(**changes: Any) -> Conversation:
    """A CONNECT with a user name that succeeded, with some fields changed."""
    conversation = Conversation(
        id=1,
        parent=None,
        capture="lo.pcapng",
        protocol="socks5",
        client=Endpoint("127.0.0.1", 50001),
        proxy=Endpoint("127.0.0.1", 1080),
        reversed=False,
        start_ns=START,
        end_ns=START + 1_500_000_000,
        phase="relay",
        outcome="succeeded",
        methods=["no-authentication", "username-password"],
        method="username-password",
        username="alice",
        password="********",
        authenticated=True,
        command="connect",
        destination=Target("domain", "example.com", 443),
        reply=ReplyCode(0, "succeeded"),
        bound=Target("ipv4", "192.0.2.7", 40000),
        peer_reply=None,
        peer=None,
        tunnel=Tunnel("tls", "example.com", ["h2", "http/1.1"], None),
        bytes=Traffic(517, 4096),
        udp=None,
        timing=Timing(0.0001, 0.0002, 0.0003, 0.0123, 0.5),
        close="fin",
        closed_by="client",
        packets=21,
        tcp_stream=0,
        community_id="1:wCb3OG7yAFWelaUydu0D+125CLM=",
        name_resolution="remote",
        first_frame=1,
        last_frame=21,
        frames=[
            FrameEntry(4, START + 1_000_000, "client", "greeting", 4, "no-authentication, username-password"),
            FrameEntry(5, START + 2_000_000, "proxy", "method-selection", 2, "username-password"),
            FrameEntry(6, START + 3_000_000, "client", "auth-request", 14, "alice"),
            FrameEntry(7, START + 4_000_000, "proxy", "auth-reply", 2, "success"),
            FrameEntry(8, START + 5_000_000, "client", "request", 18, "connect example.com:443"),
            FrameEntry(9, START + 6_000_000, "proxy", "reply", 10, "succeeded, bound 192.0.2.7:40000"),
        ],
        anomalies=[AnomalyEntry("cleartext-credentials", "warning", 6, "the password crossed in clear")],
    )
    return replace(conversation, **changes)


texts = st.text(max_size=20)
counts = st.integers(0, 2**40)
ports = st.integers(0, 65535)
seconds = st.floats(0, 1e6)
codes = st.integers(0, 255)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


endpoints = st.builds(Endpoint, texts, ports)
targets = maybe(st.builds(Target, st.sampled_from(["ipv4", "ipv6", "domain"]), texts, ports))
replies = maybe(st.builds(ReplyCode, codes, texts))
instants = st.integers(0, 2**62)
conversations = st.builds(
    Conversation,
    id=counts,
    parent=maybe(counts),
    capture=texts,
    protocol=maybe(st.sampled_from(["socks5", "socks4", "socks4a"])),
    client=endpoints,
    proxy=endpoints,
    reversed=st.booleans(),
    start_ns=instants,
    end_ns=instants,
    phase=maybe(texts),
    outcome=st.sampled_from(
        ["succeeded", "rejected", "auth-failed", "no-acceptable-method", "incomplete", "malformed"]
    ),
    methods=maybe(st.lists(texts, max_size=3)),
    method=maybe(texts),
    username=maybe(texts),
    password=maybe(texts),
    authenticated=maybe(st.booleans()),
    command=maybe(texts),
    destination=targets,
    reply=replies,
    bound=targets,
    peer_reply=replies,
    peer=targets,
    tunnel=maybe(st.builds(Tunnel, texts, maybe(texts), maybe(st.lists(texts, max_size=3)), maybe(texts))),
    bytes=maybe(st.builds(Traffic, counts, counts)),
    udp=maybe(
        st.builds(
            UdpTraffic,
            counts,
            counts,
            counts,
            counts,
            counts,
            st.lists(st.builds(UdpDestination, texts, ports, counts, counts), max_size=2),
        )
    ),
    timing=st.builds(Timing, *[maybe(seconds)] * 6),
    close=st.sampled_from(["reset", "fin", "open"]),
    closed_by=maybe(st.sampled_from(["client", "proxy"])),
    packets=counts,
    tcp_stream=counts,
    community_id=texts,
    name_resolution=maybe(texts),
    first_frame=counts,
    last_frame=counts,
    frames=st.lists(
        st.builds(FrameEntry, counts, instants, st.sampled_from(["client", "proxy"]), texts, counts, texts),
        max_size=3,
    ),
    anomalies=st.lists(st.builds(AnomalyEntry, texts, texts, counts, texts), max_size=2),
    upstream=maybe(st.dictionaries(texts, maybe(texts), max_size=2)),
    proxy_header=maybe(st.builds(ProxyHeader, st.integers(1, 2), maybe(endpoints), maybe(endpoints), counts)),
    network=maybe(texts),
    process=maybe(st.fixed_dictionaries({"pid": counts, "name": texts})),
)
