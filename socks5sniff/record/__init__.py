"""The conversation record: what the analyser produces and every sink prints."""

from __future__ import annotations

from .conversation import (
    MASKED_PASSWORD,
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
    iso_time,
    plain,
)

__all__ = [
    "MASKED_PASSWORD",
    "AnomalyEntry",
    "Conversation",
    "Endpoint",
    "FrameEntry",
    "ProxyHeader",
    "ReplyCode",
    "Target",
    "Timing",
    "Traffic",
    "Tunnel",
    "UdpDestination",
    "UdpTraffic",
    "iso_time",
    "plain",
]
