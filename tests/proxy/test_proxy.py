"""The test proxy: every protocol and command, real errors as reply codes, ends of connections, limits, times."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from socks5sniff.client import AuthenticationError, Client, ClientFaults, NoMethodError, ProtocolError, RefusedError
from socks5sniff.codec import Address, Greeting, MethodSelection, Reply, Request
from socks5sniff.lab.scene import CLOSED, ECHO, ECHO6, NAMES, OUTBOUND, PORT, PROXY, PROXY6, WEB, Scene
from socks5sniff.proxy import LogEntry, Settings
from socks5sniff.proxy.replies import reply_code
from socks5sniff.proxy.settings import ExposureError

from .harness import HOST, mirror, on_scene, run, running, serving, talk

USERS = {b"alice": b"correct horse"}


@pytest.mark.parametrize(
    ("version", "host"), [("5", HOST), ("5", "localhost"), ("4", HOST), ("4a", HOST), ("4a", "localhost")]
)
def test_connect_relays_both_ways_until_both_have_closed(version: str, host: str) -> None:
    async def main() -> None:
        async with serving(mirror) as port, running() as proxy:
            tunnel = await proxy.client(version=version).connect(host, port)
            tunnel.write(b"x" * 300_000)
            tunnel.write_eof()
            assert await tunnel.read_all() == b"x" * 300_000
            await tunnel.close()
            await asyncio.sleep(0.05)
            entry = proxy.log[0]
            assert (entry.sent, entry.received, entry.outcome) == (300_000, 300_000, "succeeded")

    run(main())


def test_connect_to_ipv6() -> None:
    async def play(scene: Scene) -> tuple[bytes, str]:
        await scene.echo(ECHO6)
        await scene.proxy(PROXY6)
        tunnel = await scene.client(PROXY6).connect(*ECHO6)
        tunnel.write(b"six")
        return await tunnel.read(), tunnel.bound.text

    assert on_scene(play) == (b"six", OUTBOUND[1])


def test_what_a_server_says_before_the_client_does_is_relayed() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 welcome\r\n")
        await reader.read()

    async def main() -> None:
        async with serving(greet) as port, running() as proxy, await proxy.client().connect(HOST, port) as tunnel:
            assert await tunnel.read() == b"220 welcome\r\n"

    run(main())


def test_bound_is_the_address_that_the_destination_sees() -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("peername")[1]).encode())

    async def main() -> None:
        async with serving(tell) as port, running() as proxy, await proxy.client().connect(HOST, port) as tunnel:
            assert await tunnel.read_all() == str(tunnel.bound.port).encode()

    run(main())


def test_octets_that_come_with_the_handshake_reach_the_destination() -> None:
    async def play(scene: Scene) -> bytes:
        await scene.echo()
        await scene.proxy()
        tunnel = await scene.client(faults=ClientFaults(pipeline=True, optimistic=b"early")).connect(*ECHO)
        return await tunnel.read_exactly(5)

    assert on_scene(play) == b"early"


class TestAuthentication:
    def connect(self, **options: object) -> str:
        async def play(scene: Scene) -> str:
            await scene.echo()
            await scene.proxy(users=USERS)
            client = scene.client(**options)
            await (await client.connect(*ECHO)).close()
            return "in"

        return on_scene(play)

    def test_the_right_password_lets_in(self) -> None:
        assert self.connect(username="alice", password="correct horse") == "in"

    @pytest.mark.parametrize(("user", "password"), [("alice", "x"), ("alice", ""), ("eve", "correct horse"), ("", "")])
    def test_anything_else_does_not(self, user: str, password: str) -> None:
        with pytest.raises(AuthenticationError):
            self.connect(username=user, password=password)

    def test_a_client_without_a_password_is_told_that_no_method_is_acceptable(self) -> None:
        with pytest.raises(NoMethodError):
            self.connect()

    def test_socks4_cannot_authenticate_and_is_rejected(self) -> None:
        with pytest.raises(RefusedError):
            self.connect(version="4", username="alice")


class TestReplyCodes:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errno.ENETUNREACH, 3),
            (errno.EHOSTUNREACH, 4),
            (errno.ETIMEDOUT, 4),
            (errno.ECONNREFUSED, 5),
            (errno.EACCES, 2),
            (errno.EPERM, 2),
            (errno.EAFNOSUPPORT, 8),
            (errno.EMFILE, 1),
        ],
    )
    def test_the_systems_error_decides(self, error: int, code: int) -> None:
        async def play(scene: Scene) -> int:
            scene.loop.failing["198.51.100.200"] = error
            await scene.proxy()
            with pytest.raises(RefusedError) as refused:
                await scene.client().connect("198.51.100.200", 80)
            return refused.value.code

        assert on_scene(play) == code

    def test_a_real_refusal_is_5(self) -> None:
        async def main() -> int:
            with socket.socket() as unused:
                unused.bind((HOST, 0))  # bound and not listening: connections are refused
                async with running() as proxy:
                    with pytest.raises(RefusedError) as refused:
                        await proxy.client().connect(HOST, unused.getsockname()[1])
                    return refused.value.code

        assert run(main()) == 5

    def test_names(self) -> None:
        assert reply_code(socket.gaierror(socket.EAI_NONAME, "")) == 4
        assert reply_code(socket.gaierror(socket.EAI_AGAIN, "")) == 1
        assert reply_code(UnicodeError()) == 4

    @pytest.mark.parametrize("name", [b"", b"a\0b", b"\xff\xfe", b"x" * 255, b"." * 20])
    def test_a_name_that_cannot_be_looked_up_is_refused(self, name: bytes) -> None:
        async def main() -> int:
            async with running() as proxy:
                with pytest.raises(RefusedError) as refused:
                    await proxy.client().connect(Address.domain(name, 80))
                return refused.value.code

        assert run(main()) in (1, 4)

    def test_a_destination_that_does_not_answer_is_given_up(self) -> None:
        async def play(scene: Scene) -> tuple[int, float]:
            async def never(*_: object, **__: object) -> None:
                await asyncio.sleep(10_000)

            scene.loop.getaddrinfo = never  # type: ignore[assignment, method-assign]
            await scene.proxy(connect_timeout=7.0)
            with pytest.raises(RefusedError) as refused:
                await scene.client().connect("www.example.test", 80)
            return refused.value.code, scene.loop.time()

        code, seconds = on_scene(play)
        assert code == 4
        assert 7 <= seconds < 8

    def test_unknown_commands_and_address_types(self) -> None:
        async def play(scene: Scene) -> tuple[bytes, bytes]:
            await scene.proxy()
            answers = []
            for request in (b"\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x01\x00\x07\x01"):
                reader, writer = await asyncio.open_connection(PROXY, PORT)
                writer.write(Greeting(b"\x00").encode())
                await reader.readexactly(2)
                writer.write(request)
                answers.append(await reader.read(2))
                writer.close()
            return answers[0], answers[1]

        assert on_scene(play) == (b"\x05\x07", b"\x05\x08")


class TestBind:
    def test_two_replies_then_the_relay(self) -> None:
        async def main() -> None:
            async with running() as proxy:
                binding = await proxy.client().bind(HOST, 0)
                reader, writer = await asyncio.open_connection(binding.bound.text, binding.bound.port)
                tunnel = await binding.accept()
                assert (tunnel.bound.text, tunnel.bound.port) == writer.get_extra_info("sockname")
                writer.write(b"to the client")
                assert await tunnel.read() == b"to the client"
                tunnel.write(b"and back")
                assert await reader.read(100) == b"and back"
                writer.close()
                assert await tunnel.read_all() == b""
                await tunnel.close()

        run(main())

    def test_a_peer_other_than_the_expected_one_is_turned_away(self) -> None:
        async def play(scene: Scene) -> tuple[bytes, str]:
            await scene.proxy()
            binding = await scene.client().bind("198.51.100.21", 0)
            address = binding.bound.text, binding.bound.port
            reader, _ = await asyncio.open_connection(*address, local_addr=("198.51.100.66", 0))
            try:
                heard = await reader.read()
            except ConnectionResetError:
                heard = b"reset"
            await asyncio.open_connection(*address, local_addr=("198.51.100.21", 0))
            return heard, (await binding.accept()).bound.text

        assert on_scene(play) == (b"reset", "198.51.100.21")

    def test_without_a_peer_the_second_reply_is_a_failure(self) -> None:
        async def play(scene: Scene) -> float:
            await scene.proxy(bind_timeout=30.0)
            binding = await scene.client().bind()
            with pytest.raises(RefusedError):
                await binding.accept()
            return scene.loop.time()

        assert 30 <= on_scene(play) < 31

    def test_a_client_that_leaves_frees_the_port(self) -> None:
        async def play(scene: Scene) -> int:
            proxy = await scene.proxy()
            before = len(scene.loop.listeners)
            binding = await scene.client().bind()
            assert len(scene.loop.listeners) == before + 1
            await binding.close()
            await scene.settle()
            assert proxy.active == 0
            return len(scene.loop.listeners) - before

        assert on_scene(play) == 0


class TestResolve:
    @pytest.mark.parametrize("version", ["5", "4a"])
    def test_a_name(self, version: str) -> None:
        async def play(scene: Scene) -> str:
            await scene.proxy()
            return (await scene.client(version=version).resolve("www.example.test")).text

        assert on_scene(play) == NAMES["www.example.test"][0]

    def test_an_address(self) -> None:
        async def play(scene: Scene) -> str:
            await scene.proxy()
            return (await scene.client().resolve_ptr(WEB[0])).text

        assert on_scene(play) == "www.example.test"

    @pytest.mark.parametrize("version", ["5", "4a"])
    def test_what_does_not_exist_is_refused(self, version: str) -> None:
        async def play(scene: Scene) -> int:
            await scene.proxy()
            with pytest.raises(RefusedError) as refused:
                await scene.client(version=version).resolve("nowhere.example.test")
            return refused.value.code

        assert on_scene(play) in (4, 91)

    def test_a_name_the_settings_know_is_not_looked_up(self) -> None:
        async def main() -> str:
            async with running(hosts={"only.here.test": "127.0.0.9"}) as proxy:
                return (await proxy.client().resolve("only.here.test")).text

        assert run(main()) == "127.0.0.9"


class TestEnds:
    def test_a_half_closed_direction_leaves_the_other_open(self) -> None:
        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            octets = await reader.read()
            writer.write(str(len(octets)).encode())

        async def main() -> bytes:
            async with serving(count) as port, running() as proxy:
                tunnel = await proxy.client().connect(HOST, port)
                tunnel.write(b"y" * 1000)
                tunnel.write_eof()
                answer = await tunnel.read_all()
                await tunnel.close()
                return answer

        assert run(main()) == b"1000"

    def test_a_reset_by_the_destination_reaches_the_client(self) -> None:
        async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

        async def main() -> str:
            async with serving(slam) as port, running() as proxy:
                reader, writer = await asyncio.open_connection(*proxy.address)
                writer.write(Greeting(b"\x00").encode() + Request(1, Address.ipv4(HOST, port)).encode())
                await reader.readexactly(12)
                writer.write(b"z")
                try:
                    return f"closed after {await reader.read()!r}"
                except ConnectionResetError:
                    return "reset"

        assert run(main()) == "reset"

    def test_a_refusal_is_received_even_though_the_client_sent_more_than_was_read(self) -> None:
        async def main() -> None:
            with socket.socket() as unused:
                unused.bind((HOST, 0))
                async with running() as proxy:
                    faults = ClientFaults(pipeline=True, optimistic=b"x" * 60_000)
                    for _ in range(30):
                        with pytest.raises(RefusedError):
                            await proxy.client(faults=faults).connect(HOST, unused.getsockname()[1])

        run(main())

    def test_an_idle_relay_is_ended(self) -> None:
        async def play(scene: Scene) -> tuple[bytes, float]:
            await scene.echo()
            await scene.proxy(idle_timeout=60.0)
            tunnel = await scene.client().connect(*ECHO)
            return await tunnel.read_all(), scene.loop.time()

        octets, seconds = on_scene(play)
        assert octets == b""
        assert 60 <= seconds <= 76

    def test_a_busy_relay_is_not(self) -> None:
        async def play(scene: Scene) -> int:
            await scene.echo()
            await scene.proxy(idle_timeout=10.0)
            tunnel = await scene.client().connect(*ECHO)
            for _ in range(30):
                tunnel.write(b"still here")
                await tunnel.read()
                await asyncio.sleep(5)
            return round(scene.loop.time())

        assert on_scene(play) == 150

    @pytest.mark.parametrize("octets", [b"", b"\x05", b"\x05\x01", b"\x04\x01\x00", b"\x05\x01\x00\x05\x01"])
    def test_a_handshake_that_does_not_go_on_is_ended(self, octets: bytes) -> None:
        async def play(scene: Scene) -> float:
            proxy = await scene.proxy(handshake_timeout=10.0)
            reader, writer = await asyncio.open_connection(PROXY, PORT)
            writer.write(octets)
            await reader.read()
            await scene.settle(0.01)
            assert proxy.active == 0
            return scene.loop.time()

        assert 10 <= on_scene(play) < 10.1

    def test_an_octet_now_and_then_does_not_prolong_it(self) -> None:
        async def play(scene: Scene) -> float:
            await scene.proxy(handshake_timeout=10.0)
            reader, writer = await asyncio.open_connection(PROXY, PORT)

            async def drip() -> None:
                for octet in b"\x05\xff" + bytes(255):
                    writer.write(bytes((octet,)))
                    await asyncio.sleep(1)

            dripping = asyncio.ensure_future(drip())
            await reader.read()
            dripping.cancel()
            return scene.loop.time()

        assert on_scene(play) < 10.1

    def test_stopping_ends_every_conversation(self) -> None:
        async def main() -> list[LogEntry]:
            async with serving(mirror) as port:
                async with running() as proxy:
                    tunnels = [await proxy.client().connect(HOST, port) for _ in range(10)]
                    waiting = await asyncio.open_connection(*proxy.address)
                    binding = await proxy.client().bind()
                    association = await proxy.client().associate()
                    await asyncio.sleep(0.05)
                    assert proxy.proxy.active == 13
                assert proxy.proxy.active == 0
                for tunnel in tunnels:
                    assert await tunnel.read() == b""
                    await tunnel.close()
                waiting[1].close()
                await binding.close()
                await association.close()
                return proxy.log

        assert len(run(main())) == 13

    def test_stopping_ends_even_what_has_not_begun(self) -> None:
        async def play(scene: Scene) -> tuple[int, list[str]]:
            log: list[LogEntry] = []
            proxy = await scene.proxy()
            proxy._log = log.append
            reader, _ = await asyncio.open_connection(PROXY, PORT)
            assert proxy.active == 1  # accepted in this very moment: its task has not run yet
            await asyncio.wait_for(proxy.stop(), 5)
            assert await reader.read() == b""
            return proxy.active, [entry.outcome for entry in log]

        assert on_scene(play) == (0, ["proxy stopped"])


class TestLimits:
    def test_one_conversation_too_many_is_closed_on_arrival(self) -> None:
        async def play(scene: Scene) -> tuple[int, int]:
            await scene.echo()
            proxy = await scene.proxy(limit=3)
            tunnels = [await scene.client().connect(*ECHO) for _ in range(3)]
            with pytest.raises(ProtocolError):
                await scene.client().connect(*ECHO)
            await tunnels[0].close()
            await scene.settle()
            await (await scene.client().connect(*ECHO)).close()
            return proxy.turned_away, proxy.active

        assert on_scene(play)[0] == 1

    def test_a_client_that_sends_without_end_before_the_reply_is_held_back(self) -> None:
        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(60)

        async def main() -> int:
            from socks5sniff.proxy import Faults

            slow = Faults(delay={"reply": 2.0})
            async with serving(never) as port, running(faults=lambda number: slow) as proxy:
                reader, writer = await asyncio.open_connection(*proxy.address)
                writer.write(Greeting(b"\x00").encode() + Request(1, Address.ipv4(HOST, port)).encode())
                sent = 0
                try:
                    while sent < 100_000_000:
                        writer.write(bytes(1_000_000))
                        sent += 1_000_000
                        await asyncio.wait_for(writer.drain(), 0.5)
                except asyncio.TimeoutError:
                    pass
                writer.transport.abort()
                del reader
                return sent

        assert run(main()) < 50_000_000

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.test"])
    def test_only_loopback_is_listened_on_without_leave(self, host: str) -> None:
        with pytest.raises(ExposureError, match="--allow-remote"):
            Settings(listen=((host, 1080),)).check()
        Settings(listen=((host, 1080),), allow_remote=True).check()

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_loopback_needs_none(self, host: str) -> None:
        Settings(listen=((host, 1080),)).check()


class TestLog:
    def test_a_line_tells_who_where_and_how_it_ended(self) -> None:
        async def play(scene: Scene) -> str:
            log: list[LogEntry] = []
            await scene.web()
            proxy = await scene.proxy(users=USERS)
            proxy._log = log.append
            client = scene.client(username="alice", password="correct horse")
            with pytest.raises(RefusedError):
                await client.connect(*CLOSED)
            await scene.settle()
            return str(log[0])

        line = on_scene(play)
        assert '#1 192.0.2.10:40001 socks5 alice connect 198.51.100.99:81 "connection refused" 0/0' in line
        assert "horse" not in line

    def test_nothing_from_the_wire_can_forge_a_line(self) -> None:
        entry = LogEntry(1, 0.0, "::1", "socks5", "a\nb", "connect", "\x1b[2J\r\u202e", "x\ny", 0, 0, 0.0)
        assert str(entry).isprintable()

    @pytest.mark.parametrize("octets", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05", b"\x00", b"\x06\x00"])
    def test_what_is_not_socks_is_said_to_be_not(self, octets: bytes) -> None:
        async def main() -> LogEntry:
            async with running() as proxy:
                assert await talk(proxy.address, octets) == b""
                await asyncio.sleep(0.05)
                return proxy.log[0]

        entry = run(main())
        assert entry.outcome == f"not SOCKS: first octet 0x{octets[0]:02x}"
        assert entry.protocol == "-"


def test_the_proxys_octets_on_the_wire() -> None:
    """Octets written by hand, not by the codec."""

    async def main() -> bytes:
        with socket.socket() as unused:
            unused.bind((HOST, 0))
            port = unused.getsockname()[1]
            async with running() as proxy:
                request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")
                return await talk(proxy.address, b"\x05\x02\x00\x02", request)

    assert run(main()) == bytes.fromhex("050005050001000000000000")
    assert MethodSelection(0).encode() + Reply(5, Address.ipv4("0.0.0.0", 0)).encode() == run(main())


def test_a_client_object_serves_many_requests() -> None:
    async def main() -> int:
        async with serving(mirror) as port, running() as proxy:
            client: Client = proxy.client()

            async def one(number: int) -> bool:
                async with await client.connect(HOST, port) as tunnel:
                    octets = number.to_bytes(4, "big")
                    tunnel.write(octets)
                    return await tunnel.read_exactly(4) == octets

            return sum(await asyncio.gather(*(one(number) for number in range(100))))

    assert run(main()) == 100
