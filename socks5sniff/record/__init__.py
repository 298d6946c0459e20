"""The conversation record: `conversation` is the contract, `regular` a way to keep records that are alike."""

from __future__ import annotations

from .conversation import (
    MASKED_PASSWORD,
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
    UdpDestination,
    UdpTraffic,
    iso_time,
)

__all__ = [
    "MASKED_PASSWORD",
    "AnomalyEntry",
    "Conversation",
    "Endpoint",
    "FrameEntry",
    "ReplyCode",
    "Target",
    "Timing",
    "Traffic",
    "Tunnel",
    "UdpDestination",
    "UdpTraffic",
    "iso_time",
]
