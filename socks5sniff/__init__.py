"""Capture and analyse SOCKS traffic.

    for conversation in socks5sniff.read("capture.pcapng"):
        print(conversation.client, conversation.destination, conversation.outcome)
    for stretch in socks5sniff.streams("capture.pcapng", 1):
        print(stretch.direction, stretch.offset, stretch.octets)

Names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socks5sniff.analysis import read
    from socks5sniff.payload.streams import streams
    from socks5sniff.record import Conversation

__version__ = "0.2.0"

__all__ = ["Conversation", "__version__", "read", "streams"]


def __getattr__(name: str) -> Any:
    if name == "read":
        from socks5sniff.analysis import read

        return read
    if name == "Conversation":
        from socks5sniff.record import Conversation

        return Conversation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """This package. A room is called `streams`, too; what users call by that name is the function.

    Rooms are imported by their whole names, so nobody misses the attribute that an import would set.
    """

    @property
    def streams(self) -> Any:
        from socks5sniff.payload.streams import streams

        return streams

    @streams.setter
    def streams(self, room: ModuleType) -> None:
        """The import of the room: it stays where imports find it, in `sys.modules`."""


sys.modules[__name__].__class__ = _Package
