"""UDP ASSOCIATE: whose datagrams are relayed, to where, and how fragments are put together."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5sniff.client.fragments import LARGEST_DATAGRAM, Fragments
from socks5sniff.codec import Address, UdpHeader
from socks5sniff.lab.scene import CLIENT, ECHO, ECHO6, OUTBOUND, PROXY, Scene
from socks5sniff.proxy import LogEntry
from socks5sniff.proxy.association import MOST_LOOKUPS

from .harness import HOST, on_scene, run, running

TARGET = Address.from_text(*ECHO)


class TestFragments:
    def put(self, *pieces: tuple[int, bytes], times: tuple[float, ...] = ()) -> list[bytes | None]:
        fragments = Fragments(5.0)
        seconds = times or (0.0,) * len(pieces)
        return [
            fragments.add(UdpHeader(TARGET, number), data, now)
            for (number, data), now in zip(pieces, seconds, strict=True)
        ]

    def test_a_standalone_datagram_comes_back_at_once(self) -> None:
        assert self.put((0, b"whole")) == [b"whole"]

    def test_a_sequence_comes_back_when_its_last_fragment_does(self) -> None:
        assert self.put((1, b"a"), (2, b"b"), (0x83, b"c")) == [None, None, b"abc"]

    def test_a_sequence_of_one(self) -> None:
        assert self.put((0x81, b"only")) == [b"only"]

    @pytest.mark.parametrize("order", [(2, 0x83), (1, 3, 0x82), (1, 1, 0x83), (0x82,)])
    def test_a_broken_order_gives_nothing(self, order: tuple[int, ...]) -> None:
        assert set(self.put(*((number, b"x") for number in order))) == {None}

    def test_a_new_sequence_replaces_an_unfinished_one(self) -> None:
        assert self.put((1, b"old"), (2, b"old"), (1, b"n"), (0x82, b"ew")) == [None, None, None, b"new"]

    def test_a_standalone_datagram_ends_an_unfinished_sequence(self) -> None:
        assert self.put((1, b"a"), (0, b"whole"), (0x82, b"b")) == [None, b"whole", None]

    def test_a_sequence_that_takes_too_long_is_given_up(self) -> None:
        assert self.put((1, b"a"), (0x82, b"b"), times=(0.0, 5.1)) == [None, None]
        assert self.put((1, b"a"), (0x82, b"b"), times=(0.0, 4.9)) == [None, b"ab"]

    def test_two_destinations_do_not_mix(self) -> None:
        fragments = Fragments()
        assert fragments.add(UdpHeader(TARGET, 1), b"a", 0.0) is None
        assert fragments.add(UdpHeader(Address.from_text(*ECHO6), 0x82), b"b", 0.0) is None

    def test_what_is_kept_is_bounded(self) -> None:
        fragments = Fragments()
        for number in range(1, 127):
            fragments.add(UdpHeader(TARGET, number), bytes(65_000), 0.0)
            assert len(fragments._data) <= LARGEST_DATAGRAM

    @given(st.binary(min_size=1, max_size=500), st.integers(min_value=4, max_value=100))
    def test_any_cut_comes_back_whole(self, data: bytes, size: int) -> None:
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        pieces = [(at | (0x80 if at == len(parts) else 0), part) for at, part in enumerate(parts, 1)]
        if len(pieces) > 127:
            return
        assert self.put(*pieces)[-1] == data

    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=30))
    def test_nothing_raises(self, pieces: list[tuple[int, bytes]]) -> None:
        self.put(*pieces)


class TestRelay:
    @pytest.mark.parametrize("target", [ECHO, ECHO6, ("echo.example.test", 7)])
    def test_there_and_back(self, target: tuple[str, int]) -> None:
        async def play(scene: Scene) -> tuple[bytes, str]:
            await scene.udp_server(ECHO)
            await scene.udp_server(ECHO6)
            await scene.proxy()
            async with await scene.client().associate() as association:
                association.send(b"hello", *target)
                answer = await association.receive()
                return answer.data, answer.source.text

        source = ECHO6[0] if target is ECHO6 else ECHO[0]
        assert on_scene(play) == (b"hello", source)

    def test_on_real_sockets(self) -> None:
        async def main() -> bytes:
            loop = asyncio.get_running_loop()

            class Echo(asyncio.DatagramProtocol):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    self.transport = transport

                def datagram_received(self, data: bytes, addr: object) -> None:
                    self.transport.sendto(data, addr)  # type: ignore[attr-defined]

            server, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
            try:
                async with running() as proxy, await proxy.client().associate() as association:
                    port = server.get_extra_info("sockname")[1]
                    association.send(b"x" * 1400, HOST, port)
                    first = (await association.receive()).data
                    association.send_fragmented(b"y" * 3000, HOST, port, 100)
                    return first + (await association.receive()).data
            finally:
                server.close()

        assert run(main()) == b"x" * 1400 + b"y" * 3000

    def test_fragments_are_put_together_before_they_go_on(self) -> None:
        async def play(scene: Scene) -> tuple[bytes, int]:
            server = await scene.udp_server(ECHO)
            await scene.proxy()
            async with await scene.client().associate() as association:
                association.send_fragmented(b"0123456789", *ECHO, size=3)
                return (await association.receive()).data, len(server.peers)

        assert on_scene(play) == (b"0123456789", 1)

    def received(self, *datagrams: tuple[tuple[str, int] | None, bytes]) -> int:
        """How many of these datagrams, each from an address or from the client, reach the server."""

        async def play(scene: Scene) -> int:
            server = await scene.udp_server(ECHO)
            await scene.proxy()
            async with await scene.client().associate() as association:
                for source, octets in datagrams:
                    if source is None:
                        association.send_octets(octets)
                    else:
                        scene.loop.deliver(source, association.relay, octets)
                    await scene.settle(0.01)
            return len(server.peers)

        return on_scene(play)

    def test_another_host_is_not_relayed(self) -> None:
        assert self.received((("192.0.2.66", 5), UdpHeader(TARGET).encode() + b"x")) == 0

    def test_another_port_of_the_client_is_not_relayed_once_one_is_known(self) -> None:
        good = UdpHeader(TARGET).encode() + b"x"
        assert self.received((None, good), ((CLIENT, 9), good), (None, good)) == 2

    @pytest.mark.parametrize(
        "octets", [b"", b"\0", b"\0\0\0", b"\0\0\0\x01\x7f", b"\0\0\0\x09aaaaaaaaaaaa", b"\0\0\0\x03\xffa\0\x07"]
    )
    def test_what_has_no_header_is_dropped_and_nothing_else_happens(self, octets: bytes) -> None:
        good = UdpHeader(TARGET).encode() + b"x"
        assert self.received((None, octets), (None, good)) == 1

    @pytest.mark.parametrize("name", [b"", b"nowhere.test", b"a\0b", b"\xff\xfe"])
    def test_a_name_without_an_address_is_dropped(self, name: bytes) -> None:
        good = UdpHeader(TARGET).encode() + b"x"
        assert self.received((None, UdpHeader(Address.domain(name, 7)).encode()), (None, good)) == 1

    def test_many_lookups_at_once_are_bounded(self) -> None:
        async def play(scene: Scene) -> int:
            lookups = 0

            async def never(*_: object, **__: object) -> None:
                nonlocal lookups
                lookups += 1
                await asyncio.sleep(1000)

            scene.loop.getaddrinfo = never  # type: ignore[assignment, method-assign]
            await scene.proxy()
            async with await scene.client().associate() as association:
                for number in range(500):
                    association.send(b"x", f"host{number}.test", 7)
                await scene.settle(1)
                return lookups

        assert on_scene(play) <= 16


class TestFromOutside:
    """Answers come from those whom the client has sent to, and from nobody else."""

    def heard(self, *sources: tuple[str, int]) -> list[bytes]:
        """What the client receives when these send to the relay's outer socket, after it has sent to ECHO."""

        async def play(scene: Scene) -> list[bytes]:
            server = await scene.udp_server(ECHO)
            await scene.proxy()
            async with await scene.client().associate() as association:
                association.send(b"hello", *ECHO)
                heard = [(await association.receive()).data]
                for source in sources:
                    scene.loop.deliver(source, server.peers[0], repr(source).encode())
                await scene.settle(0.01)
                while not association._received.empty():
                    heard.append((await association.receive()).data)
                return heard

        return on_scene(play)

    def test_a_stranger_is_not_relayed(self) -> None:
        assert self.heard(("203.0.113.66", 7)) == [b"hello"]

    def test_nor_another_port_of_a_host_that_was_sent_to(self) -> None:
        assert self.heard((ECHO[0], 8)) == [b"hello"]

    def test_who_was_sent_to_may_send_more_than_one_answer(self) -> None:
        assert self.heard(ECHO, ECHO) == [b"hello", repr(ECHO).encode(), repr(ECHO).encode()]

    def test_the_peer_sent_to_longest_ago_is_forgotten_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("socks5sniff.proxy.association.MOST_PEERS", 3)

        async def play(scene: Scene) -> list[bytes]:
            server = await scene.udp_server(ECHO)
            await scene.proxy()
            async with await scene.client().associate() as association:
                for port in (7, 21, 22, 7, 23, 24):
                    association.send(b"x", ECHO[0], port)
                    await scene.settle(0.01)
                while not association._received.empty():
                    await association.receive()
                for port in (7, 21, 22, 23, 24):
                    scene.loop.deliver((ECHO[0], port), server.peers[0], str(port).encode())
                await scene.settle(0.01)
                heard = []
                while not association._received.empty():
                    heard.append((await association.receive()).data)
                return heard

        assert on_scene(play) == [b"7", b"23", b"24"]

    @pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="Windows only and macOS only have no /proc")
    def test_the_outer_socket_is_on_the_address_of_the_route(self) -> None:
        """For a destination on the loopback interface that is the loopback address, not all addresses there are."""

        async def main() -> list[str]:
            loop = asyncio.get_running_loop()
            peers: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

            class Server(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                    peers.put_nowait(addr)

            server, _ = await loop.create_datagram_endpoint(Server, local_addr=(HOST, 0))
            try:
                async with running() as proxy, await proxy.client().associate() as association:
                    association.send(b"x", HOST, server.get_extra_info("sockname")[1])
                    port = (await peers.get())[1]
                    rows = [line.split()[1] for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
                    return [row for row in rows if row.endswith(f":{port:04X}")]
            finally:
                server.close()

        (local,) = run(main())
        assert bytes.fromhex(local.split(":")[0])[:: 1 if sys.byteorder == "big" else -1] == socket.inet_aton(HOST)


class TestCongestion:
    """A full socket buffer drops datagrams, as UDP does, and the log says how many."""

    @pytest.mark.parametrize(("full", "octets"), [("inner", (3, 0)), ("outer", (0, 0))])
    def test_what_finds_no_room_is_dropped_and_counted(self, full: str, octets: tuple[int, int]) -> None:
        async def play(scene: Scene) -> LogEntry:
            log: list[LogEntry] = []
            await scene.udp_server(ECHO)
            proxy = await scene.proxy()
            proxy._log = log.append
            async with await scene.client().associate() as association:
                association.send(b"", *ECHO)  # opens the outer socket, and comes back
                await association.receive()
                for host, port in scene.loop.datagrams:
                    if host == (PROXY if full == "inner" else OUTBOUND[0]):
                        scene.loop.datagrams[host, port].get_protocol().pause_writing()
                for _ in range(3):
                    association.send(b"x", *ECHO)
                await scene.settle(0.01)
            await scene.settle(3)
            return log[0]

        entry = on_scene(play)
        assert (entry.sent, entry.received) == octets
        assert entry.dropped == 3
        assert str(entry).endswith(" dropped 3")

    def test_names_beyond_those_looked_up_at_once_count_too(self) -> None:
        async def play(scene: Scene) -> int:
            log: list[LogEntry] = []

            async def never(*_: object, **__: object) -> None:
                await asyncio.sleep(1000)

            scene.loop.getaddrinfo = never  # type: ignore[assignment, method-assign]
            proxy = await scene.proxy()
            proxy._log = log.append
            async with await scene.client().associate() as association:
                for number in range(20):
                    association.send(b"x", f"host{number}.test", 7)
                await scene.settle(1)
            await scene.settle(3)
            return log[0].dropped

        assert on_scene(play) == 20 - MOST_LOOKUPS


class TestLifetime:
    def test_it_ends_with_the_tcp_connection(self) -> None:
        async def play(scene: Scene) -> tuple[int, int]:
            await scene.udp_server(ECHO)
            proxy = await scene.proxy()
            association = await scene.client().associate()
            association.send(b"x", *ECHO)
            await association.receive()
            sockets = len(scene.loop.datagrams)
            await association.close()
            await scene.settle()
            assert proxy.active == 0
            return sockets, len(scene.loop.datagrams)

        assert on_scene(play) == (4, 1)

    def test_datagrams_keep_it_from_being_idle(self) -> None:
        async def play(scene: Scene) -> int:
            await scene.udp_server(ECHO)
            await scene.proxy(idle_timeout=10.0)
            async with await scene.client().associate() as association:
                for _ in range(20):
                    association.send(b"x", *ECHO)
                    await association.receive()
                    await asyncio.sleep(5)
            return round(scene.loop.time())

        assert on_scene(play) == 100

    def test_bound_is_on_the_address_the_client_came_to(self) -> None:
        async def play(scene: Scene) -> str:
            await scene.proxy()
            async with await scene.client().associate() as association:
                return association.bound.text

        assert on_scene(play) == PROXY

    def test_socks4_has_none(self) -> None:
        async def play(scene: Scene) -> bytes:
            await scene.proxy()
            reader, writer = await asyncio.open_connection(PROXY, 1080)
            writer.write(b"\x04\x03\x00\x50" + socket.inet_aton(ECHO[0]) + b"\x00")
            return await reader.read()

        assert on_scene(play)[:2] == b"\x00\x5b"
