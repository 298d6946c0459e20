"""Capture and analyse SOCKS traffic.

    for conversation in socks5sniff.read("capture.pcapng"):
        print(conversation.client, conversation.destination, conversation.outcome)

Names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socks5sniff.analysis import read
    from socks5sniff.record import Conversation

__version__ = "0.2.0"

__all__ = ["Conversation", "__version__", "read"]


def __getattr__(name: str) -> Any:
    if name == "read":
        from socks5sniff.analysis import read

        return read
    if name == "Conversation":
        from socks5sniff.record import Conversation

        return Conversation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
