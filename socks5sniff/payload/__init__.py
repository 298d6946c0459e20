"""What went through tunnels and associations: a second look at chosen conversations.

`survey` reads captures once and says where each tunnel lies; `second_look` reads them again and delivers the octets, in
order, each once. Both are bounded by what is open at a time, not by the captures' size.
"""

from __future__ import annotations

from .chunks import CLIENT, DESTINATION, UNKNOWN_LENGTH, Chunk, Chunks, Closing, Datagram, Datagrams
from .inputs import rewindable
from .look import Delivered, second_look
from .survey import Survey, Tunnel, survey

__all__ = [
    "CLIENT",
    "DESTINATION",
    "UNKNOWN_LENGTH",
    "Chunk",
    "Chunks",
    "Closing",
    "Datagram",
    "Datagrams",
    "Delivered",
    "Survey",
    "Tunnel",
    "rewindable",
    "second_look",
    "survey",
]
