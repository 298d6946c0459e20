"""Every copy of a secret is overwritten, whatever segments it comes in, in whatever order, however often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socks5sniff.sanitize import Options, sanitize
from tests.traffic import CLIENT, SERVER, Packet, connection, cut

from . import wire

KEY = bytes(range(32))
ALL = Options(users=True, destinations=True, key=KEY)
PASSWORD, USER, HOST, INNER = b"hunter2!", b"walther", b"www.chancery.example.net", b"db.vault.example.org"
LOGIN = b"\x01" + bytes((len(USER),)) + USER + bytes((len(PASSWORD),)) + PASSWORD
HTTP = b"GET / HTTP/1.1\r\nHost: " + HOST + b"\r\nAuthorization: Basic aHVudGVyMjpzZWNyZXQ=\r\n\r\n"


def request(host: bytes) -> bytes:
    return b"\x05\x01\x00\x03" + bytes((len(host),)) + host + b"\x00\x50"


ANSWER = b"\x05\x00\x00\x01\xc6\x33\x64\x07\x12\x34"
SOCKS5 = [
    (CLIENT, b"\x05\x02\x00\x02"), (SERVER, b"\x05\x02"), (CLIENT, LOGIN), (SERVER, b"\x01\x00"),
    (CLIENT, request(HOST)), (SERVER, ANSWER), (CLIENT, HTTP), (SERVER, b"HTTP/1.1 200 OK\r\n\r\n" + HOST),
]  # fmt: skip
SOCKS4 = [
    (CLIENT, b"\x04\x01\x00\x50\x00\x00\x00\x01" + USER + b"\0" + HOST + b"\0"), (SERVER, b"\0\x5a" + bytes(6)),
    (CLIENT, HTTP), (SERVER, b"HTTP/1.1 200 OK\r\n\r\n"),
]  # fmt: skip
CHAIN = [
    *SOCKS5[:6], (CLIENT, b"\x05\x01\x02"), (SERVER, b"\x05\x02"), (CLIENT, LOGIN), (SERVER, b"\x01\x00"),
    (CLIENT, request(INNER)), (SERVER, ANSWER), (CLIENT, HTTP.replace(HOST, INNER)),
    (SERVER, b"HTTP/1.1 200 OK\r\n\r\n"),
]  # fmt: skip
SHORT = [(side, octets.replace(LOGIN, b"\x01\x01u\x02pq")) for side, octets in SOCKS5]
"""A password too short to be looked for."""
DIALOGUES = {"socks5": SOCKS5, "socks4": SOCKS4, "chain": CHAIN, "short": SHORT}
SECRETS = (PASSWORD, USER, HOST, b"chancery.example.net", INNER, b"aHVudGVyMjpzZWNyZXQ=")


def sanitized(packets: list[Packet], options: Options, summed: bool = True) -> list[wire.Frame]:
    """Through a file and back; what must always hold is asserted."""
    with TemporaryDirectory() as folder:
        source = wire.write(Path(folder) / "in.pcapng", wire.frames(packets, summed))
        target = Path(folder) / "out.pcapng"
        sanitize(str(source), str(target), options)
        before, after = wire.read(source), wire.read(target)
    assert [(frame.time, frame.length, len(frame.octets)) for frame in before] == [
        (frame.time, frame.length, len(frame.octets)) for frame in after
    ]
    assert [wire.residues(frame.octets) for frame in before] == [wire.residues(frame.octets) for frame in after]
    return after


def streams(frames: list[wire.Frame], starts: tuple[int, int] = (1001, 5001)) -> tuple[bytearray, bytearray]:
    """What both sides say, by the first copy of each octet."""
    found = bytearray(), bytearray()
    for frame in frames:
        part = wire.segment(frame.octets)
        assert part is not None
        side = CLIENT if part.destination[1] == 1080 else SERVER
        offset = (part.sequence - starts[side]) % (1 << 32)
        if part.octets and offset == len(found[side]):
            found[side].extend(part.octets)
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, tuple[bytearray, bytearray]]:
    """What the dialogues become where nothing is split."""
    return {name: streams(sanitized(connection(said), ALL)) for name, said in DIALOGUES.items()}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(DIALOGUES)),
    st.lists(st.integers(1, 9), max_size=80),
    st.lists(st.integers(1, 30), max_size=20),
    st.randoms(use_true_random=False),
    st.sampled_from([(1000, 5000), (0xFFFFFFE0, 0xFFFFFFF8)]),
)
def test_any_segments_in_any_order_and_sent_again(expected, name, pieces, others, random, starts) -> None:
    opening, closing = connection(DIALOGUES[name], starts=starts)[:3], connection(DIALOGUES[name], starts=starts)[-3:]
    said = connection(DIALOGUES[name], starts=starts)[3:-3]
    once = [*cut(said, pieces)]
    again = random.sample([*cut(said, others)], k=min(6, len(said)))
    middle = once + again
    if random.random() < 0.6:
        random.shuffle(middle)
    times = sorted(packet.time for packet in middle)
    middle = [replace(packet, time=time) for packet, time in zip(middle, times, strict=True)]
    first = [start + 1 for start in starts]
    for frame in sanitized([*opening, *middle, *closing], ALL):
        part = wire.segment(frame.octets)
        assert part is not None
        side = CLIENT if part.destination[1] == 1080 else SERVER
        offset = (part.sequence - first[side]) % (1 << 32)
        if part.octets:
            assert part.octets == expected[name][side][offset : offset + len(part.octets)]


@pytest.mark.parametrize("name", DIALOGUES)
def test_nothing_of_it_is_left_and_the_rest_is_as_it_was(name: str, expected) -> None:
    for side in (CLIENT, SERVER):
        said = b"".join(octets for who, octets in DIALOGUES[name] if who == side)
        new = bytes(expected[name][side])
        assert len(new) == len(said)
        assert not any(secret in new for secret in SECRETS)
        assert b"Authorization: Basic xxxx" in new or b"Authorization" not in said
        masked = said
        for secret in (*SECRETS[:3], INNER):
            masked = masked.replace(secret, b"\0" * len(secret))
        assert sum(a != b for a, b in zip(masked, new, strict=True)) <= masked.count(0) + 20


def test_only_passwords_unless_asked() -> None:
    client, server = streams(sanitized(connection(SOCKS5), Options(key=KEY)))
    said = b"".join(octets for who, octets in SOCKS5 if who == CLIENT)
    assert bytes(client) == said.replace(PASSWORD, b"x" * 8).replace(b"aHVudGVyMjpzZWNyZXQ=", b"x" * 20)
    assert bytes(server) == b"".join(octets for who, octets in SOCKS5 if who == SERVER)


def test_checksums_that_were_wrong_stay_as_wrong() -> None:
    before = [wire.residues(packet.frame()) for packet in connection(CHAIN)]
    after = [wire.residues(frame.octets) for frame in sanitized(connection(CHAIN), ALL, summed=False)]
    assert before == after
    assert any(residue[1] for residue in after)


def test_a_copy_that_differs_is_overwritten_as_well() -> None:
    packets = connection(SOCKS5)
    login = next(packet for packet in packets if packet.octets == LOGIN)
    packets.insert(packets.index(login) + 1, replace(login, octets=LOGIN.replace(PASSWORD, b"HUNTER3?")))
    assert all(b"HUNTER3?" not in frame.octets for frame in sanitized(packets, Options(key=KEY)))


def test_a_copy_long_after_the_end_is_overwritten() -> None:
    packets = connection(SHORT)
    login = next(packet for packet in packets if packet.octets == b"\x01\x01u\x02pq")
    late = replace(login, time=packets[-1].time + 10_000_000_000)
    frames = sanitized([*packets, late], Options(key=KEY))
    assert frames[-1].octets.endswith(b"\x01\x01u\x02xx")


@pytest.mark.parametrize("sides", [(CLIENT,), (CLIENT, SERVER)])
def test_logins_that_nobody_answers(sides: tuple[int, ...]) -> None:
    """One direction of a connection, on a port that nothing is known of; or a proxy that says no more."""
    said = [(side, octets) for side, octets in SHORT[: 4 if len(sides) == 1 else 3] if side in sides]
    packets = connection(said, proxy=("10.0.0.9", 7777))
    packets = [packet for packet in packets if packet.side in sides]
    assert all(b"pq" not in frame.octets for frame in sanitized(packets, Options(key=KEY)))


def test_half_a_login() -> None:
    packets = connection([*SOCKS5[:2], (CLIENT, LOGIN[:-2])])
    assert all(b"hunter" not in frame.octets for frame in sanitized(packets, Options(key=KEY)))


def test_a_login_with_a_hole() -> None:
    packets = [*cut(connection(SOCKS5), [4, 2, 4, 9, 3, 6, 50])]
    whole = [packet for packet in packets if not (packet.side == CLIENT and packet.sequence == 1009)]
    assert len(whole) == len(packets) - 1
    assert all(b"nter2" not in frame.octets for frame in sanitized(whole, Options(key=KEY)))
