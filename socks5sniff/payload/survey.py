"""The first look: which conversations there are, and where the tunnel of each lies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from socks5sniff.analysis.extents import Extent
from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.reading import Reading, UnknownLink
from socks5sniff.capture.source import Input
from socks5sniff.errors import InputError, Socks5sniffError
from socks5sniff.record import Conversation

Test = Callable[[Conversation], bool]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A conversation, and what is known of the octets that it carried. Directions are CLIENT and DESTINATION.

    Attributes:
        conversation: its record.
        extent: where its tunnel lies in the TCP connection.
    """

    conversation: Conversation
    extent: Extent

    @property
    def carries(self) -> bool:
        """There is a tunnel whose octets can be told from the handshake's."""
        return self.extent.start is not None

    @property
    def enclosed(self) -> bool:
        """It goes in GSSAPI tokens: how many octets are inside is not known before they are unwrapped."""
        return bool(self.extent.skips)

    @property
    def framing(self) -> str | None:
        """Whose way of putting datagrams on the tunnel's stream it is; None where it carries a stream."""
        return self.extent.framing

    @property
    def datagram_count(self) -> int:
        """Datagrams of the association; those inside TCP are not counted here."""
        return 0 if self.extent.datagrams is None else len(self.extent.datagrams)

    @property
    def end(self) -> tuple[int, int]:
        """Octets by direction, gaps included; (0, 0) where they are not known before."""
        start, end = self.extent.start, self.extent.end
        return (0, 0) if start is None or self.enclosed else (end[0] - start[0], end[1] - start[1])

    @property
    def missing(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """By direction, offset and length of what is not in the capture; empty where it is not known before."""
        start = self.extent.start
        if start is None or self.enclosed:
            return [], []
        client, destination = (
            [(begin - at, end - begin) for begin, end in holes]
            for at, holes in zip(start, self.extent.holes, strict=True)
        )
        return client, destination


@dataclass(slots=True)
class Survey:
    """What the first look came to.

    Attributes:
        tunnels: the conversations that were wanted, by id.
        packets, conversations, skipped, evicted, unknown_links: of the whole reading, see `Reading`.
        fault: what the input ended with, None where it was read to its end.
        faults: errors of this program that were contained in single connections; None before the reading.
    """

    tunnels: list[Tunnel] = field(default_factory=list)
    packets: int = 0
    conversations: int = 0
    skipped: int = 0
    evicted: int = 0
    unknown_links: Sequence[UnknownLink] = ()
    fault: Socks5sniffError | None = None
    faults: Faults | None = None


def _nowhere(c: Conversation, depth: int) -> Extent:
    """That of a conversation that opened no tunnel."""
    return Extent(c.tcp_stream, depth, c.first_frame, c.last_frame, (-1, -1))


def survey(
    names: Sequence[Input],
    *,
    keep: Test | None = None,
    last: Test | None = None,
    ports: Collection[int] = (),
    show_passwords: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Read captures, and find the conversations that `keep` lets through (None: all).

    Args:
        names: captures, as of `rewindable`.
        last: whether a conversation is the last one that is wanted; nothing behind it is read. None for all.
        ports, show_passwords, progress: see `read`.

    Raises:
        InputError: an input cannot be opened, and no conversation was found.
    """
    found = Survey()
    reading = Reading(names, ports=ports, show_passwords=show_passwords, progress=progress, extents=True)
    depths: dict[int, int] = {}
    try:
        for conversation in reading:
            depth = 1
            if conversation.parent is not None:
                depth = depths[conversation.id] = depths.get(conversation.parent, 1) + 1
            extent = reading.extent(conversation.tcp_stream, depth)
            if keep is None or keep(conversation):
                found.tunnels.append(Tunnel(conversation, extent or _nowhere(conversation, depth)))
            if last is not None and last(conversation):
                break
        if isinstance(reading.fault, Socks5sniffError):
            raise reading.fault
    except Socks5sniffError as error:
        if isinstance(error, InputError) and not reading.conversations:
            raise
        found.fault = error
    found.tunnels.sort(key=lambda tunnel: tunnel.conversation.id)
    found.packets, found.conversations = reading.packets, reading.conversations
    found.faults = reading.faults
    found.skipped, found.evicted, found.unknown_links = reading.skipped, reading.evicted, reading.unknown_links
    return found
