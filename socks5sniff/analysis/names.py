"""Which addresses a client has learned from DNS: one that asks a proxy for such an address has resolved a name itself.

Only answers of a server's port 53 are read, over UDP and over TCP, those that went straight to the client, whatever
their time to live: programs keep what they have learned. Of an answer the question's name counts, and every A and
AAAA record whatever its owner, since that may be an alias (RFC 1034 s3.6.2).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from socks5sniff.codec import Address, AddressType, decode_text, ipv4_text, ipv6_text
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import Datagrams, Segments, payload_octet, payload_octets
from socks5sniff.record import Conversation

from .anomalies import anomaly, by_frame
from .dns_streams import MAX_MESSAGE, PORT, DnsStreams

MAX_LEARNED = 65_536
"""Addresses remembered; above it, the one that no answer has given for the longest time is forgotten."""
MAX_ANSWER = MAX_MESSAGE
"""Octets of an answer that are read."""
MAX_ADDRESSES = 32
"""Addresses remembered of one name."""
MAX_ANSWERS = 8
"""Answers remembered that gave one address."""

_RESPONSE = 0x80
_HEADER = struct.Struct(">4x4H")
_RECORD = struct.Struct(">HHIH")
_IN = 1
_UNSPECIFIED = ("0.0.0.0", "::")
"""Also what filters answer with."""
_SIZES = {1: 4, 28: 16}
"""Octets of an A and of an AAAA record (RFC 1035 s3.4.1, RFC 3596 s2.2)."""


class Learned:
    """An address that a client got from DNS.

    Attributes:
        name: in the question of the first answer that gave it.
        answers: frame number and time (ns) of that answer, and of the latest ones that gave it for the same name.
    """

    __slots__ = ("answers", "name")

    def __init__(self, name: bytes, frame: int, time: int) -> None:
        self.name = name
        self.answers = [(frame, time)]

    def add(self, name: bytes, frame: int, time: int) -> None:
        """Another answer has given it."""
        if name == self.name:
            self.answers = [*self.answers[:1], *self.answers[1:][1 - MAX_ANSWERS :], (frame, time)]

    def before(self, frame: int) -> tuple[int, int] | None:
        """The latest answer that came before a frame."""
        return max((answer for answer in self.answers if answer[0] < frame), default=None)


class _Answer(NamedTuple):
    """What DNS told a client (an endpoint)."""

    frame: int
    time: int
    client: int
    name: bytes
    addresses: list[bytes]


class Names:
    """Who learned which addresses, from which names."""

    def __init__(self, book: AddressBook) -> None:
        self._book = book
        self._streams = DnsStreams()
        self._told: list[_Answer] = []
        # By client and address, both as text.
        self._learned: OrderedDict[tuple[str, str], Learned] = OrderedDict()
        # By client and name: frames of answers, and addresses in them.
        self._resolved: OrderedDict[tuple[str, bytes], list[tuple[int, bytes]]] = OrderedDict()
        # By proxy and name: the frame of the first request for it from the proxy's own machine, where it resolves it.
        self._requested: OrderedDict[tuple[str, bytes], int] = OrderedDict()

    def name_of(self, client: str, host: str) -> str | None:
        """The name for which DNS gave a client an address."""
        found = self._learned.get((client, host))
        return None if found is None else decode_text(found.name)

    def resolved(self, client: str, name: str, before: int) -> list[bytes]:
        """The addresses that DNS gave a client for a name, in answers that came before a frame."""
        found = self._resolved.get((client, name.lower().rstrip(".").encode()), ())
        return [address for frame, address in found if frame < before]

    def __len__(self) -> int:
        """Number of addresses remembered, each client's by itself."""
        return len(self._learned)

    def learn_from_streams(self, segments: Segments) -> None:
        """Read the DNS answers among a batch's segments, for `learn`."""
        for message in self._streams.messages(segments):
            name, addresses = read_answer(message.octets)
            if addresses:
                self._told.append(_Answer(message.frame, message.time, message.destination, name, addresses))

    def learn(self, datagrams: Datagrams, relayed: Callable[[int, int, int, int], bool]) -> None:
        """Learn, in the order of the capture, what a batch's segments and datagrams answer.

        Args:
            relayed: whether a datagram (source, destination, ns, frame number) goes through an association.
        """
        answers, self._told = self._told, []
        rows = np.flatnonzero((datagrams.source & np.uint64(0xFFFF)) == PORT)
        if len(rows):
            rows = rows[payload_octet(datagrams, rows, 2) >= _RESPONSE]
        for row, frame, time, source, destination in zip(
            rows.tolist(),
            datagrams.frame[rows].tolist(),
            datagrams.time[rows].tolist(),
            datagrams.source[rows].tolist(),
            datagrams.destination[rows].tolist(),
            strict=True,
        ):
            name, addresses = read_answer(payload_octets(datagrams, row, MAX_ANSWER))
            if addresses and not relayed(source, destination, time, frame):
                answers.append(_Answer(frame, time, destination, name, addresses))
        for answer in sorted(answers, key=itemgetter(0)):
            self._keep(answer)

    def request(self, proxy: str, destination: Address | None, frame: int) -> None:
        """A proxy was asked for a destination from its own machine: it may resolve the name itself."""
        if destination is None or destination.type != AddressType.DOMAIN:
            return
        key = proxy, destination.host.lower().rstrip(b".")
        self._requested[key] = min(frame, self._requested.get(key, frame))
        if len(self._requested) > MAX_LEARNED:
            self._requested.popitem(last=False)

    def requested(self) -> dict[tuple[str, bytes], int]:
        """The names that proxies were asked for, each with the frame of the first request for it."""
        return dict(self._requested)

    def learned(self, clients: Collection[str]) -> frozenset[tuple[str, str]]:
        """Which of these clients, and addresses that they got from DNS."""
        return frozenset(key for key in self._learned if key[0] in clients)

    def note_requests(self, requested: Mapping[tuple[str, bytes], int]) -> None:
        """Proxies were asked for these names, too."""
        for key, frame in requested.items():
            self._requested[key] = min(frame, self._requested.get(key, frame))
            if len(self._requested) > MAX_LEARNED:
                self._requested.popitem(last=False)

    def knows(self, client: str, host: str, asked: int) -> bool:
        """Whether a client had learned of an address before it asked for it in this frame."""
        found = self._learned.get((client, host))
        return found is not None and found.before(asked) is not None

    def judge(self, record: Conversation, asked: int, time: int) -> None:
        """Say so in a record whose client knew the address it asks for from DNS.

        Args:
            asked, time: frame number and time (ns) of the request.
        """
        destination = record.destination if self._learned else None
        if destination is None or destination.type == "domain":
            return
        found = self._learned.get((record.client.address, destination.host))
        if found is None or not _names_a_place(record.command, destination.host):
            return
        answer = found.before(asked)
        if answer is None or self._is_the_proxy_s(record, found.name, answer[0]):
            return
        record.name_resolution = "local"
        frame, answered = answer
        age = max(time - answered, 0) / 1e9
        message = (
            f"a DNS answer gave {destination.host} for {decode_text(found.name)} "
            f"(frame {frame}, {age:.3f} s before the request)"
        )
        record.anomalies.append(anomaly("local-dns", asked, message))
        record.anomalies.sort(key=by_frame)

    def _is_the_proxy_s(self, record: Conversation, name: bytes, frame: int) -> bool:
        """Whether an answer is rather the proxy's, on one machine with its client, that had been asked for the name."""
        if record.client.address != record.proxy.address:
            return False
        return self._requested.get((record.proxy.address, name.lower().rstrip(b".")), frame) < frame

    def _keep(self, answer: _Answer) -> None:
        frame, time, client, name, addresses = answer
        learned, host = self._learned, self._book.endpoint_address(client)
        resolved = self._resolved.setdefault((host, name.lower().rstrip(b".")), [])
        resolved += [(frame, address) for address in addresses]
        del resolved[:-MAX_ADDRESSES]
        if len(self._resolved) > MAX_LEARNED:
            self._resolved.popitem(last=False)
        for address in addresses:
            key = host, ipv4_text(address) if len(address) == 4 else ipv6_text(address)
            known = learned.get(key)
            if known is None:
                learned[key] = Learned(name, frame, time)
            else:
                known.add(name, frame, time)
                learned.move_to_end(key)
        while len(learned) > MAX_LEARNED:
            learned.popitem(last=False)


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
    """Where a name ends: at its empty label or first pointer, which is not followed; a damaged one, with the octets."""
    while at < len(octets):
        length = octets[at]
        if not length:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            break
        at += 1 + length
    return len(octets)
