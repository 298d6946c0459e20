"""Which addresses a client has learned from DNS: one that asks a proxy for such an address has resolved a name itself.

Only answers of a server's port 53 over UDP are read, those that went straight to the client. Of an answer the
question's name counts, and every A and AAAA record whatever its owner, since that may be an alias (RFC 1034 s3.6.2).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from socks5sniff.codec import decode_text, ipv4_text, ipv6_text
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams, payload_octet, payload_octets
from socks5sniff.record import Conversation

from .anomalies import anomaly, by_frame

MAX_LEARNED = 65_536
"""Addresses remembered; above it, the one that no answer has given for the longest time is forgotten."""
MAX_ANSWER = 4096
"""Octets of an answer that are read: what resolvers ask for at most (RFC 6891 s6.2.5)."""

_PORT = 53
_RESPONSE = 0x80
_CUT = MAX_ANSWER + 1
_HEADER = struct.Struct(">4x4H")
_RECORD = struct.Struct(">HHIH")
_IN = 1
_UNSPECIFIED = ("0.0.0.0", "::")
"""Also what filters answer with."""
_SIZES = {1: 4, 28: 16}
"""Octets of an A and of an AAAA record (RFC 1035 s3.4.1, RFC 3596 s2.2)."""


class Names:
    """Who learned which addresses, from which names."""

    def __init__(self, book: AddressBook) -> None:
        self._book = book
        # By client and address, both as text: the name, and the frame of the first answer that gave the address.
        self._learned: OrderedDict[tuple[str, str], tuple[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        """Number of addresses remembered, each client's by itself."""
        return len(self._learned)

    def learn(self, datagrams: Datagrams, relayed: Callable[[int, int, int], bool]) -> None:
        """Read the DNS answers of a batch.

        Args:
            relayed: whether a datagram (source, destination, ns) goes through an association.
        """
        rows = np.flatnonzero((datagrams.source & np.uint64(0xFFFF)) == _PORT)
        if not len(rows):
            return
        rows = rows[payload_octet(datagrams, rows, 2) >= _RESPONSE]
        learned = self._learned
        for row, frame, time, source, destination in zip(
            rows.tolist(),
            datagrams.frame[rows].tolist(),
            datagrams.time[rows].tolist(),
            datagrams.source[rows].tolist(),
            datagrams.destination[rows].tolist(),
            strict=True,
        ):
            name, addresses = read_answer(payload_octets(datagrams, row, MAX_ANSWER))
            if not addresses or relayed(source, destination, time):
                continue
            client = self._book.endpoint_address(destination)
            for address in addresses:
                key = client, ipv4_text(address) if len(address) == 4 else ipv6_text(address)
                if learned.setdefault(key, (name, frame))[1] != frame:
                    learned.move_to_end(key)
            while len(learned) > MAX_LEARNED:
                learned.popitem(last=False)

    def knows(self, client: str, host: str, asked: int) -> bool:
        """Whether a client had learned of an address before it asked for it in this frame."""
        found = self._learned.get((client, host))
        return found is not None and found[1] < asked

    def judge(self, record: Conversation, asked: int | None) -> None:
        """Say so in a record whose client knew the address it asks for from DNS.

        Args:
            asked: the request's frame number.
        """
        destination = record.destination if self._learned else None
        if destination is None or destination.type == "domain":
            return
        found = self._learned.get((record.client.address, destination.host))
        if found is None or asked is None or found[1] >= asked or not _names_a_place(record.command, destination.host):
            return
        record.name_resolution = "local"
        message = f"a DNS answer gave {destination.host} for {decode_text(found[0])}"
        record.anomalies.append(anomaly("local-dns", asked, message))
        record.anomalies.sort(key=by_frame)


def _names_a_place(command: str | None, host: str) -> bool:
    """Whether DST is where the client wants to go: UDP ASSOCIATE's is where it comes from, and 0.0.0.0 may be any."""
    return command == "connect" or (command != "udp-associate" and host not in _UNSPECIFIED)


def read_answer(octets: bytes) -> tuple[bytes, list[bytes]]:
    """What a DNS message answers (RFC 1035 s4.1): the question's name, and the addresses, of 4 or 16 octets.

    There is no address in a query, nor behind damage or the end of what was captured.
    """
    found: list[bytes] = []
    if len(octets) < 12 or not octets[2] & _RESPONSE:
        return b"", found
    questions, *counts = _HEADER.unpack_from(octets)
    name = _first_name(octets)
    if not questions or name is None:
        return b"", found
    at = 12
    for _ in range(questions):
        at = _behind_name(octets, at) + 4
        if at > len(octets):
            return name, found
    for _ in range(sum(counts)):
        at = _behind_name(octets, at)
        if at + _RECORD.size > len(octets):
            break
        kind, kind_class, _, size = _RECORD.unpack_from(octets, at)
        at += _RECORD.size
        address = octets[at : at + size]
        at += size
        if at > len(octets):
            break
        if kind_class == _IN and _SIZES.get(kind) == size:
            found.append(address)
    return name, found


def _first_name(octets: bytes) -> bytes | None:
    """The name in the first question; nothing comes before it that it could be compressed with."""
    labels = []
    at = 12
    while at < len(octets) and octets[at]:
        if octets[at] > 63:
            return None
        labels.append(octets[at + 1 : at + 1 + octets[at]])
        at += 1 + octets[at]
    return b".".join(labels) or b"." if at < min(len(octets), 12 + 255) else None


def _behind_name(octets: bytes, at: int) -> int:
    """Where a name ends: at its empty label or its first pointer, which is not followed. Of a damaged one, too far."""
    while at < len(octets):
        length = octets[at]
        if not length:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            break
        at += 1 + length
    return _CUT
