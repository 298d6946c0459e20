"""The frames of many dialogues at once: where each begins and ends, and what it says, as columns.

Everything here is by dialogue of an `Exchanges`. What a dialogue does not have gives numbers that mean nothing; the
flags tell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from socks5sniff.codec import AddressType, Command, ipv6_text
from socks5sniff.record import text
from socks5sniff.record.text import Text

from .exchanges import CLIENT_OCTETS, PROXY_OCTETS, Exchanges

FRAMES = 4
"""That a side has at most."""
NAME = 64
"""Octets of the longest name that is read here."""
_NEVER = 1 << 20

_WIDTHS = (np.arange(NAME) < np.arange(NAME + 1)[:, None]).astype(np.uint8)

# What octets say of the name that they are in. Names are read here that hold nothing but letters, digits and a few
# marks, and at least one letter that no notation of a number has.
_LETTER, _NUMERIC, _ODD = 1, 2, 4
_CLASSES = np.full(256, _ODD, np.uint8)
_CLASSES[0] = 0
_CLASSES[list(b"0123456789.abcdefABCDEFxX")] = _NUMERIC
_CLASSES[list(b"ghijklmnopqrstuvwyzGHIJKLMNOPQRSTUVWYZ-_")] = _LETTER


class Frames(NamedTuple):
    """What the frames of dialogues say.

    Attributes:
        socks4: the client begins with VER 4.
        login: a user name and password were asked for.
        client_ends, proxy_ends: int64[FRAMES, n]: where greeting, login and request end in the client's octets;
            selection, verdict, reply and BIND's second reply in the proxy's. What there is not ends where the frame
            before it ends.
        named, named4: DST is a name; a SOCKS4A one.
        user: there is a user name.
        opens: a tunnel is open; associates: a UDP association is.
        asks_udp: UDP ASSOCIATE is asked for.
        unspecified, bound_unspecified: DST of UDP ASSOCIATE, BND of its success are zeros.
        odd: something is out of what is read here.
        destination, bound, peer, username: text columns.
        destination4, bound4: the same where they are IPv4 addresses, as numbers.
        destination_port, bound_port, peer_port: numbers.
    """

    socks4: NDArray[np.bool_]
    login: NDArray[np.bool_]
    client_ends: NDArray[np.int64]
    proxy_ends: NDArray[np.int64]
    named4: NDArray[np.bool_]
    user: NDArray[np.bool_]
    opens: NDArray[np.bool_]
    associates: NDArray[np.bool_]
    asks_udp: NDArray[np.bool_]
    unspecified: NDArray[np.bool_]
    bound_unspecified: NDArray[np.bool_]
    odd: NDArray[np.bool_]
    destination: Text
    destination4: NDArray[np.int64]
    destination_port: NDArray[np.int64]
    bound: Text
    bound4: NDArray[np.int64]
    bound_port: NDArray[np.int64]
    peer: Text
    peer_port: NDArray[np.int64]
    username: Text
    fixed: NDArray[np.uint8]
    """uint8[n, 16]: octets of login, verdict, request and replies that do not vary with names and addresses."""


class _Octets:
    """Octets of one side at positions of their own."""

    def __init__(self, matrix: NDArray[np.uint8]) -> None:
        self._matrix = matrix
        self._rows = np.arange(len(matrix))

    def __call__(self, at: int | NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._matrix[self._rows, np.minimum(at, self._matrix.shape[1] - 1)].astype(np.int64)
        return found

    def number(self, at: int | NDArray[np.int64], octets: int) -> NDArray[np.int64]:
        """A big-endian number."""
        value = self(at)
        for more in range(1, octets):
            value = value << 8 | self(at + more)
        return value

    def windows(self, at: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Texts of at most NAME octets, zeros behind."""
        matrix = np.concatenate((self._matrix, np.zeros((len(self._matrix), NAME), np.uint8)), 1)
        width = matrix.shape[1]
        views = sliding_window_view(matrix.ravel(), NAME)
        found: NDArray[np.uint8] = views[self._rows * width + np.minimum(at, width - NAME)]
        found *= _WIDTHS[np.clip(length, 0, NAME)]
        return found


def parse(exchanges: Exchanges) -> Frames:
    """Read the frames of dialogues whose client is side 0."""
    client, proxy = _Octets(exchanges.client), _Octets(exchanges.proxy)
    said = exchanges.said
    socks4 = client(0) == 4
    greeting = 2 + client(1)
    login = ~socks4 & (proxy(1) == 2) & (said[1] >= 2)
    name = client(greeting + 1)
    secret = client(greeting + 2 + name)
    begins = np.where(socks4, 0, np.where(login, greeting + 3 + name + secret, greeting))
    replies = np.where(socks4, 0, np.where(login, 4, 2))
    kind, answered = client(begins + 3), proxy(replies + 3)
    user_end, name_end, named4 = _socks4(exchanges.client, client, socks4)
    asked = np.where(socks4, np.where(named4, name_end, user_end) + 1, begins + _size(kind, client(begins + 4)))
    ends = np.where(socks4, 8, replies + _size(answered, proxy(replies + 4)))
    named = named4 | (~socks4 & (kind == 3))
    host_at = np.where(socks4, user_end + 1, begins + 5)
    host_length = np.where(named, np.where(socks4, name_end - user_end - 1, client(begins + 4)), 0)
    hosts = client.windows(host_at, host_length)
    user_at = np.where(socks4, 8, greeting + 2)
    user_length = np.where(socks4, user_end - 8, np.where(login, name, 0))
    users = client.windows(user_at, user_length)
    odd = (host_length > NAME) | (user_length > NAME)
    # A NUL inside a name: the text columns have NUL for nothing.
    odd |= (np.count_nonzero(hosts, 1) < host_length) | (np.count_nonzero(users, 1) < user_length)
    host_classes = np.bitwise_or.reduce(_CLASSES[hosts], axis=1)
    odd |= named & ((host_classes & (_ODD | _LETTER)) != _LETTER)
    odd |= (np.bitwise_or.reduce(_CLASSES[users], axis=1) & _ODD) != 0
    odd |= named & (client.number(host_at, 3) == int.from_bytes(b"sp.", "big"))
    odd |= named & ((client.number(host_at, 2) | 0x20) == int.from_bytes(b"0x", "big"))
    odd |= (answered == 3) & ~socks4 & (said[1] >= ends)
    odd |= ~socks4 & (said[0] > begins) & (client(begins) != 5)  # may be a login that nobody asked for
    command = np.where(socks4, client(1), client(begins + 1))
    granted = np.where(socks4, proxy(1) == 90, proxy(replies + 1) == 0)
    answered_whole = (said[0] >= asked) & (said[1] >= ends)
    peers = _peers(proxy, said[1], socks4, ends, answered_whole & granted & (command == Command.BIND))
    port = np.where(socks4, client.number(2, 2), client.number(asked - 2, 2))
    bound_port = np.where(socks4, proxy.number(2, 2), proxy.number(ends - 2, 2))
    there = said[0] >= asked
    asks_udp = ~socks4 & there & (command == Command.UDP_ASSOCIATE)
    associates = asks_udp & answered_whole & granted
    return Frames(
        socks4=socks4,
        login=login,
        client_ends=np.stack((np.where(socks4, asked, greeting), np.where(socks4, asked, begins), asked, asked)),
        proxy_ends=np.stack((np.where(socks4, ends, 2), np.where(socks4, ends, replies), ends, peers.ends)),
        named4=named4,
        user=user_length > 0,
        opens=peers.joined | (answered_whole & granted & (command == Command.CONNECT)),
        associates=associates,
        asks_udp=asks_udp,
        unspecified=_unspecified(client, begins + 4, np.where(asks_udp, kind, 0)),
        bound_unspecified=_unspecified(proxy, replies + 4, np.where(associates, answered, 0)),
        odd=odd | peers.odd,
        destination=_hosts(client, np.where(socks4, 4, begins + 4), hosts, named, ~socks4 & (kind == 4) & there),
        destination4=client.number(np.where(socks4, 4, begins + 4), 4),
        destination_port=port,
        bound=_hosts(
            proxy,
            np.where(socks4, 4, replies + 4),
            np.zeros((exchanges.size, 4), np.uint8),
            np.zeros(exchanges.size, np.bool_),
            ~socks4 & (answered == 4) & (said[1] >= ends),
        ),
        bound4=proxy.number(np.where(socks4, 4, replies + 4), 4),
        bound_port=bound_port,
        peer=peers.hosts,
        peer_port=peers.ports,
        username=text.octets(users),
        fixed=_fixed(exchanges, client, proxy, socks4, login, begins, replies, peers.begins),
    )


class _Peers(NamedTuple):
    """BIND's second replies, which say who has connected.

    Attributes:
        begins, ends: in the proxy's octets; where there is none, out of reach, and where the first one ends.
        joined: it opens the tunnel.
        odd: something is out of what is read here.
        hosts, ports: a text column, and numbers.
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    joined: NDArray[np.bool_]
    odd: NDArray[np.bool_]
    hosts: Text
    ports: NDArray[np.int64]


def _peers(
    proxy: _Octets,
    said: NDArray[np.int64],
    socks4: NDArray[np.bool_],
    first: NDArray[np.int64],
    awaited: NDArray[np.bool_],
) -> _Peers:
    """Read the second replies of dialogues where they are `awaited`, behind the `first` ones' ends."""
    again, none = awaited & (said > first), np.zeros(len(first), np.bool_)
    if not again.any():
        begins, hosts = np.full(len(first), _NEVER), np.zeros((len(first), 1), np.uint32)
        return _Peers(begins, first, none, none, hosts, np.zeros(len(first), np.int64))
    kind, code = np.where(again, proxy(first + 3), 0), proxy(first + 1)
    ends = first + np.where(again, np.where(socks4, 8, _size(kind, proxy(first + 4))), 0)
    came = again & (said >= ends)
    six = came & ~socks4 & (kind == AddressType.IPV6)
    return _Peers(
        begins=np.where(again, first, _NEVER),
        ends=ends,
        joined=came & np.where(socks4, code == 90, code == 0),
        odd=again & ~socks4 & (kind == AddressType.DOMAIN),
        hosts=_hosts(proxy, first + 4, np.zeros((len(first), 4), np.uint8), none, six),
        ports=np.where(socks4, proxy.number(first + 2, 2), proxy.number(ends - 2, 2)),
    )


def _size(kind: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Octets of a request or reply whose address is of this kind."""
    return np.where(kind == 1, 10, np.where(kind == 4, 22, np.where(kind == 3, 7 + length, _NEVER)))


def _socks4(
    octets: NDArray[np.uint8], client: _Octets, socks4: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Of SOCKS4 requests: where the user id and the host name end, and whether there is a host name."""
    user_end = np.full(len(octets), 8, np.int64)
    name_end = user_end.copy()
    named = socks4 & (client.number(4, 3) == 0) & (client(7) != 0)
    rows = np.flatnonzero(socks4)
    if len(rows):
        ends = octets[rows, 8:] == 0
        user_end[rows] = 8 + ends.argmax(1)
        ends &= np.arange(8, octets.shape[1]) > user_end[rows][:, None]
        name_end[rows] = 8 + ends.argmax(1)
    return user_end, np.maximum(name_end, user_end), named


def _unspecified(octets: _Octets, at: NDArray[np.int64], kind: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether addresses of these kinds are zeros."""
    found: NDArray[np.bool_] = (kind == AddressType.IPV4) & (octets.number(at, 4) == 0)
    six = kind == AddressType.IPV6
    if six.any():
        found |= six & ~np.any([octets(at + place) for place in range(16)], axis=0)
    return found


def _hosts(
    octets: _Octets, at: NDArray[np.int64], names: NDArray[np.uint8], named: NDArray[np.bool_], ipv6: NDArray[np.bool_]
) -> Text:
    """Hosts of requests or replies as text."""
    shown = text.ipv4(octets.number(at, 4))
    found = np.zeros((len(named), max(shown.shape[1], names.shape[1] // 4)), np.uint32)
    found[:, : shown.shape[1]] = shown
    if named.any():
        found[named] = 0
        found[named, : names.shape[1] // 4] = text.octets(names)[named]
    if ipv6.any():
        whole = np.stack([octets(at + place)[ipv6] for place in range(16)], 1).astype(np.uint8)
        return text.replaced(found, ipv6, [ipv6_text(address.tobytes()).encode() for address in whole])
    return found


def _fixed(
    exchanges: Exchanges,
    client: _Octets,
    proxy: _Octets,
    socks4: NDArray[np.bool_],
    login: NDArray[np.bool_],
    begins: NDArray[np.int64],
    replies: NDArray[np.int64],
    peers: NDArray[np.int64],
) -> NDArray[np.uint8]:
    said = exchanges.said
    greeting = 2 + client(1)
    fixed = np.zeros((exchanges.size, 16), np.uint8)
    fixed[:, 0] = np.where(login, client(greeting), 0)
    fixed[:, 1] = np.where(login, client(greeting + 2 + client(greeting + 1)) > 0, 0)
    fixed[:, 2] = np.where(login, proxy(2), 0)
    fixed[:, 3] = np.where(login, proxy(3), 0)
    for place in range(4):
        fixed[:, 4 + place] = np.where(~socks4 & (said[0] > begins + 3), client(begins + place), 0)
        answer = np.where(said[1] > replies + 3, proxy(replies + place), 0)
        fixed[:, 8 + place] = np.where(socks4, proxy(place) if place < 2 else 0, answer)
        second = np.where((said[1] > peers + 3) & ((place < 2) | ~socks4), proxy(peers + place), 0)
        fixed[:, 12 + place] = second
    return fixed


assert CLIENT_OCTETS > 2 + 12 + 3 + 2 * NAME, "what is read here of the client fits"
assert PROXY_OCTETS > 4 + 22 + 22, "what is read here of the proxy fits"
