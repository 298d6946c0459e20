"""What would have been seen had there been no proxy: tunnels as plain TCP, relayed datagrams as plain UDP.

Of conversations inside each other's tunnels the innermost one counts. Packets stand where the frames stood that made
their octets readable, among all other frames where these are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import IO, NamedTuple

import numpy as np

from socks5sniff.capture.batch import FrameBatch, Interface
from socks5sniff.capture.join import in_one_memory, rows_of
from socks5sniff.capture.source import Input
from socks5sniff.capture.writer import PcapngWriter
from socks5sniff.codec.text import escape_text
from socks5sniff.payload import Delivered, Tunnel, second_look

from .headers import LINK_HEADERS, RAW_IP, Packet, frames_of
from .plain import Plain


class Decapped(NamedTuple):
    """What was written, and what could not be.

    Attributes:
        connections, datagrams: TCP connections and UDP datagrams that were written.
        others: frames that were kept as they are.
        gaps: connections of which octets are not in the capture.
        unread: tunnels inside GSSAPI tokens that could not be read to their end.
        lost: fragments of datagrams that never got complete, and datagrams longer than UDP can hold.
        shared: names whose address another one has, too.
        mixed: frames of several link types are in the file, which libpcap cannot read.
    """

    connections: int
    datagrams: int
    others: int
    gaps: int
    unread: int
    lost: int
    shared: int
    mixed: bool


def decap(
    names: Sequence[Input],
    tunnels: Sequence[Tunnel],
    file: IO[bytes],
    *,
    others: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Decapped:
    """Write what conversations carried as a capture without SOCKS.

    Args:
        names: captures, as of `rewindable`.
        tunnels: the conversations, of a survey of these captures.
        file: where the pcapng file goes.
        others: copy all frames that are not these conversations', as they are. Those of conversations that carried
            nothing are copied, too.
        progress: see `read`.

    Raises:
        InputError: an input cannot be opened, or was changed since the survey.
        OutputError: the file cannot be written.
    """
    tunnels = innermost(tunnels)
    plain = Plain(tunnels)
    output = _Output(PcapngWriter(file), others)
    for delivered in second_look(names, tunnels, whole=others, progress=progress):
        packets = plain.packets(delivered)
        output.write(delivered, packets, plain.stand_ins.fresh())
    output.flush()
    return Decapped(
        len(plain.connections),
        plain.datagrams,
        output.others,
        sum(connection.has_gaps for connection in plain.connections.values()),
        sum(connection.unread for connection in plain.connections.values()),
        plain.lost,
        plain.stand_ins.shared,
        len(output.link_types) > 1,
    )


def innermost(tunnels: Sequence[Tunnel]) -> list[Tunnel]:
    """Those that carried something and are not around another one of them."""
    carrying = [tunnel for tunnel in tunnels if tunnel.carries or tunnel.datagram_count]
    around = {tunnel.conversation.parent for tunnel in carrying}
    return [tunnel for tunnel in carrying if tunnel.conversation.id not in around]


class _Output:
    """The file: packets that were made, and frames as they were.

    Attributes:
        others: frames that were written as they were.
        link_types: of all frames.
    """

    def __init__(self, writer: PcapngWriter, others: bool) -> None:
        self.others = 0
        self.link_types: set[int] = set()
        self._writer = writer
        self._keep_others = others
        self._interfaces: list[Interface] = []

    def write(self, delivered: Delivered, packets: Sequence[Packet], names: Mapping[bytes, str]) -> None:
        """Write what a batch comes to; `names` are those that are new in it."""
        self._begin(delivered.frames)
        if names:
            self._writer.names({address: escape_text(name) for address, name in names.items()})
        parts, numbers = [], []
        if packets:
            parts.append(frames_of(packets, self._interfaces[0].link_type))
            numbers.append(np.array([packet.frame for packet in packets]))
        if self._keep_others and delivered.frames is not None and not delivered.belonging.all():
            kept = np.flatnonzero(~delivered.belonging)
            parts.append(self._rest(rows_of(delivered.frames, kept)))
            numbers.append(kept + delivered.frames.first_number)
        if not parts:
            return
        # Packets stand before frames of the same number, and those of a frame in the order in which they were made.
        order = np.argsort(np.concatenate(numbers), kind="stable")
        batch = rows_of(in_one_memory(parts) if len(parts) > 1 else parts[0], order)
        batch.interfaces = self._interfaces
        place = np.argsort(order)[: len(packets)].tolist()
        comments = {row: packet.comment for row, packet in zip(place, packets, strict=True) if packet.comment}
        self._writer.write_blocks(self._writer.blocks(batch), comments)

    def flush(self) -> None:
        """All is written."""
        self._begin(None)
        self._writer.flush()

    def _begin(self, frames: FrameBatch | None) -> None:
        """Describe the interface of the packets: like that of the frames where these are kept and it can be."""
        if self._interfaces:
            return
        link_type = RAW_IP
        if self._keep_others and frames is not None:
            given = {interface.link_type for interface in frames.interfaces}
            link_type = given.pop() if len(given) == 1 and given <= LINK_HEADERS.keys() else RAW_IP
        self._interfaces.append(Interface("", "", link_type))
        self._writer.add_interfaces(self._interfaces)
        self.link_types.add(link_type)

    def _rest(self, frames: FrameBatch) -> FrameBatch:
        """Frames that are kept; their interfaces stand behind that of the packets."""
        self._interfaces += frames.interfaces[len(self._interfaces) - 1 :]
        self.link_types |= {frames.interfaces[number].link_type for number in np.unique(frames.interface).tolist()}
        self.others += len(frames)
        frames.interface = frames.interface + np.uint16(1)
        return frames
