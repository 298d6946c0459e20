"""The frames of many dialogues at once, against the codec reading them one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from socks5sniff.analysis.exchanges import Exchanges, arrange
from socks5sniff.analysis.frames import NAME, Frames, parse
from socks5sniff.codec import (
    Address,
    AddressType,
    Command,
    Decoded,
    decode_auth_reply,
    decode_auth_request,
    decode_greeting,
    decode_method_selection,
    decode_reply,
    decode_request,
    decode_socks4_reply,
    decode_socks4_request,
)
from socks5sniff.record.text import plain
from tests.streams.rows import Row, in_columns

Said = tuple[bytes, bytes]
"""What client and proxy said."""

NAMES = [b"gopher.", b"g" * NAME, b"g" * (NAME + 1), b"a-z_Z", b"10.0.0.7", b"0xgg", b"0Xy", b"sp.g", b"sq.g", b"1xy"]
NAMES += [b"", b"p\0q", b"caf\xc3\xa9", b"x", b"q", b"w w"]
USERS = [b"", b"me", b"0x1", b"u" * NAME, b"u" * (NAME + 1), b"a b", b"m\0e"]
ADDRESSES = [b"\1\x0a\0\0\7", b"\1" + bytes(4), b"\1\0\0\0\1", b"\4" + bytes(16), b"\4" + bytes(15) + b"\1"]
ADDRESSES += [b"\4\x20\1\x0d\xb8" + bytes(11) + b"\7", b"\4\1" + bytes(15), b"\1\1\0\0\0"]
PORTS = [b"\0\x50", b"\1\xbb", b"\0\0", b"\x12\0"]


def named(draw: Random) -> bytes:
    name = draw.choice(NAMES)
    return b"\3" + bytes([len(name)]) + name


def dialogue5(draw: Random) -> Said:
    methods, method = draw.randbytes(draw.randint(0, 12)), draw.choice([0, 0, 2, 2, 2, 1, 255])
    client, proxy = bytes([5, len(methods)]) + methods, bytes([draw.choice([5, 5, 5, 0]), method])
    if method == 2:
        user, password = draw.choice(USERS), draw.choice([b"", b"secret", b"0"])
        client += bytes([draw.choice([1, 1, 5]), len(user)]) + user + bytes([len(password)]) + password
        proxy += bytes([draw.choice([1, 1, 0, 5]), draw.choice([0, 0, 1])])
    command = draw.choice([1, 1, 1, 2, 2, 3, 3, 0xF0])
    client += bytes([draw.choice([5] * 9 + [1]), command, draw.choice([0, 0, 7])])
    client += draw.choice([named(draw), draw.choice(ADDRESSES)]) + draw.choice(PORTS)
    for _ in range(draw.choice([1, 2]) if command == Command.BIND else 1):
        proxy += bytes([draw.choice([5, 5, 5, 0]), draw.choice([0, 0, 0, 1, 90]), draw.choice([0, 0, 9])])
        proxy += draw.choice([*ADDRESSES, b"\3\3ghi", b"\3\0"]) + draw.choice(PORTS)
    return client, proxy


def dialogue4(draw: Random) -> Said:
    named4, command = draw.randint(0, 1), draw.choice([1, 1, 2, 0xF0])
    host = b"\0\0\0\7" if named4 else draw.choice([b"\x0a\0\0\7", b"\0\0\0\0", b"\0\1\0\7", b"\0\0\1\7", b"\1\0\0\7"])
    client = bytes([4, command]) + draw.choice(PORTS) + host + draw.choice(USERS).replace(b"\0", b"") + b"\0"
    client += draw.choice(NAMES).replace(b"\0", b"") + b"\0" if named4 else b""
    again = draw.choice([1, 2]) if command == Command.BIND else 1
    return client, b"".join(
        bytes([draw.choice([0, 0, 4]), draw.choice([90, 90, 90, 91, 0])]) + draw.choice(PORTS) + draw.randbytes(4)
        for _ in range(again)
    )


def dialogue(draw: Random) -> Said:
    """Frames that are mostly right, then what a tunnel carries, or cut short anywhere."""
    said = draw.choice([dialogue5, dialogue5, dialogue4])(draw)
    return tuple(
        octets + draw.choice([b"", b"\5\0\0\1", b"GET /"]) if draw.randint(0, 2) else octets[: draw.randint(0, 60)]
        for octets in said
    )  # type: ignore[return-value]


def in_exchanges(said: list[Said]) -> Exchanges:
    """Each dialogue in segments of up to 96 octets, the client's first."""
    rows = []
    for slot, sides in enumerate(said):
        for side, octets in enumerate(sides):
            rows += [Row(slot, side, at, 0, 0, 0, octets[at : at + 96]) for at in range(0, len(octets), 96)]
        if not any(sides):
            rows.append(Row(slot, 0, 5, 0, 0, 0, b"x"))  # out of order: nothing is said
    return arrange(in_columns(rows), np.zeros(len(said), np.uint8), np.zeros((2, len(said)), np.int64))


class Told(NamedTuple):
    """The frames of one dialogue, None for those that are not whole, and where each side's end."""

    login: Any
    verdict: Any
    request: Any
    reply: Any
    peer: Any
    asks_login: bool
    client_ends: set[int]
    proxy_ends: set[int]
    begins: int

    @property
    def granted(self) -> bool:
        return self.request is not None and self.reply is not None and is_granted(self.reply)


def is_granted(reply: Any) -> bool:
    return bool(reply.code == (0 if hasattr(reply, "reserved") else 90))


def one_by_one(client: bytes, proxy: bytes) -> Told:
    """What the codec reads."""
    client_ends, proxy_ends = set[int](), set[int]()

    def read(decode: Callable[..., Any], octets: bytes, ends: set[int]) -> Any:
        found = decode(octets, max(ends, default=0))
        if not isinstance(found, Decoded):
            return None
        ends.add(max(ends, default=0) + found.length)
        return found.frame

    four, login, verdict, begins = client[:1] == b"\4", None, None, 0
    if not four:
        greeting, selection = (
            read(decode_greeting, client, client_ends),
            read(decode_method_selection, proxy, proxy_ends),
        )
        asks = selection is not None and selection.method == 2
        if asks:
            login = greeting and read(decode_auth_request, client, client_ends)
            verdict = read(decode_auth_reply, proxy, proxy_ends)
        begins = max(client_ends, default=0)
        known = greeting is not None and (login is not None or not asks)
        request = read(decode_request, client, client_ends) if known else None
        answers = selection is not None and (verdict is not None or not asks)
    else:
        asks, answers, request = False, True, read(decode_socks4_request, client, client_ends)
    decode = decode_socks4_reply if four else decode_reply
    reply = read(decode, proxy, proxy_ends) if answers else None
    peer = None
    if request is not None and reply is not None and request.command == Command.BIND and is_granted(reply):
        peer = read(decode, proxy, proxy_ends)
    return Told(login, verdict, request, reply, peer, asks, client_ends, proxy_ends, begins)


def is_odd(told: Told, client: bytes, proxy: bytes) -> bool:
    """Of a dialogue with a whole request: whether it is left to somebody who thinks.

    A name has letters, digits and a few marks, and cannot be a number (nor Tor's `sp.`, a pattern of a server).
    """
    four = client[:1] == b"\4"
    user = told.request.user if four else told.login.username if told.login else b""
    odd = not re.fullmatch(rb"[A-Za-z0-9._-]{0,%d}" % NAME, user)
    if told.request.destination.type == AddressType.DOMAIN:
        host = told.request.destination.host
        odd |= not re.fullmatch(rb"[A-Za-z0-9._-]{1,%d}" % NAME, host) or not re.search(rb"[g-wyzG-WYZ_-]", host)
        odd |= host.startswith(b"sp.") or host[:2].lower() == b"0x"
    if not four:
        behind = proxy[max(told.proxy_ends, default=0) :]
        awaited = told.granted and told.request.command == Command.BIND and told.peer is None
        odd |= awaited and behind[3:4] == b"\3"
        odd |= any(each is not None and each.bound.type == AddressType.DOMAIN for each in (told.reply, told.peer))
        odd |= client[told.begins] != 5
    return odd


def text_of(address: Address) -> tuple[str, int]:
    return address.text, address.port


def check_flags(found: Frames, at: int, told: Told, client: bytes) -> None:
    """What of a dialogue is a single bit."""
    command, granted = told.request.command, told.granted
    joined = told.peer is not None and is_granted(told.peer)
    udp = client[:1] == b"\5" and command == Command.UDP_ASSOCIATE
    assert found.asks_udp[at] == udp
    assert found.associates[at] == (udp and granted)
    assert found.opens[at] == ((granted and command == Command.CONNECT) or joined)
    assert found.unspecified[at] == (udp and not told.request.destination.host.strip(b"\0"))
    assert found.bound_unspecified[at] == (udp and granted and not told.reply.bound.host.strip(b"\0"))


def check_texts(found: Frames, at: int, told: Told) -> None:
    """Addresses and names."""
    four, host = AddressType.IPV4, told.request.destination
    assert (plain(found.destination[at]), found.destination_port[at]) == text_of(host)
    user = told.request.user if hasattr(told.request, "user") else told.login.username if told.login else b""
    assert (plain(found.username[at]), found.user[at]) == (user.decode(), bool(user))
    assert found.named4[at] == (hasattr(told.request, "user") and host.type == AddressType.DOMAIN)
    assert host.type != four or found.destination4[at] == int.from_bytes(host.host, "big")
    if told.reply is not None:
        assert (plain(found.bound[at]), found.bound_port[at]) == text_of(told.reply.bound)
        assert told.reply.bound.type != four or found.bound4[at] == int.from_bytes(told.reply.bound.host, "big")
    if told.peer is not None:
        assert (plain(found.peer[at]), found.peer_port[at]) == text_of(told.peer.bound)


def check_fixed(found: Frames, at: int, told: Told, client: bytes, proxy: bytes) -> None:
    """The octets that do not vary with addresses and names."""
    fixed, four = found.fixed[at].tobytes(), client[:1] == b"\4"
    login = bytes([told.login.version, bool(told.login.password)]) if told.login else bytes(2)
    assert fixed[:2] == login
    if told.verdict is not None or not told.asks_login:
        assert fixed[2:4] == (proxy[2:4] if told.asks_login else bytes(2))
    assert fixed[4:8] == (bytes(4) if four else client[told.begins : told.begins + 4])
    ends = sorted({0, *told.proxy_ends})
    wanted = [proxy[begin : begin + (2 if four else 4)].ljust(4, b"\0") for begin in ends]
    if told.peer is not None:
        assert fixed[8:] == wanted[-3] + wanted[-2]
    elif told.reply is not None and not (told.granted and told.request.command == Command.BIND):
        assert fixed[8:] == wanted[-2] + bytes(4)


@pytest.mark.parametrize("seed", range(30))
def test_frames_are_those_that_the_codec_reads(seed: int) -> None:
    draw = Random(seed)
    said = [dialogue(draw) for _ in range(1 + 5 * seed)]
    found = parse(in_exchanges(said))
    for at, (client, proxy) in enumerate(said):
        told = one_by_one(client, proxy)
        assert found.socks4[at] == (client[:1] == b"\4")
        assert found.login[at] == told.asks_login
        if told.request is not None:
            assert bool(found.odd[at]) == is_odd(told, client, proxy)
        if found.odd[at]:
            continue
        for ends, expected, octets in (
            (found.client_ends[:, at], told.client_ends, client),
            (found.proxy_ends[:, at], told.proxy_ends, proxy),
        ):
            assert [*ends] == sorted(ends)
            assert {end for end in ends.tolist() if 0 < end <= len(octets)} == expected
        if told.request is None:
            assert not found.opens[at]
            assert not found.asks_udp[at]
            continue
        check_flags(found, at, told, client)
        check_texts(found, at, told)
        check_fixed(found, at, told, client, proxy)
