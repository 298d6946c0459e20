"""Any octets at any time: the proxy goes on, and keeps no task, no file descriptor and no memory of them."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Awaitable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.client import ClientFaults
from socks5sniff.codec import Address, AuthRequest, Greeting, GssapiMessage, Request, Socks4Request, UdpHeader
from socks5sniff.lab.scene import ECHO, PORT, PROXY, Scene
from socks5sniff.proxy import Faults

from .harness import HOST, Running, mirror, on_scene, run, running, serving

USERS = {b"alice": b"secret"}
DESTINATION = Address.from_text(*ECHO)

frames = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda methods: Greeting(methods).encode(), st.binary(max_size=20)),
    st.builds(
        lambda user, password: AuthRequest(user, password).encode(), st.binary(max_size=9), st.binary(max_size=9)
    ),
    st.builds(lambda kind, token: GssapiMessage(kind, token).encode(), st.integers(0, 254), st.binary(max_size=40)),
    st.builds(lambda command: Request(command, DESTINATION).encode(), st.integers(0, 255)),
    st.builds(
        lambda command, name: Request(command, Address.domain(name, 7)).encode(),
        st.integers(0, 255),
        st.binary(max_size=30),
    ),
    st.builds(
        lambda command, user: Socks4Request(command, DESTINATION, user.replace(b"\0", b"")).encode(),
        st.integers(0, 255),
        st.binary(max_size=20),
    ),
)

faults = st.builds(
    Faults,
    segment=st.integers(0, 3),
    hold=st.sampled_from([0.0, 0.1]),
    reply=st.one_of(st.none(), st.integers(0, 255)),
    method=st.one_of(st.none(), st.integers(0, 255)),
    close=st.sampled_from([None, "accept", "reply", "relay"]),
    reset=st.sampled_from([None, "method-selection", "auth-reply", "peer-reply"]),
    silent=st.sampled_from([None, "gssapi", "reply"]),
)


class Survivor:
    """Talks to a proxy in any way, and then looks what is left of it."""

    def __init__(self) -> None:
        self.problems: list[object] = []

    def converse(self, octets: list[bytes], end: str, faulty: Faults, users: dict[bytes, bytes]) -> None:
        async def play(scene: Scene) -> None:
            scene.loop.set_exception_handler(lambda loop, context: self.problems.append(context))
            await scene.echo()
            proxy = await scene.proxy(faults=faulty, users=users, handshake_timeout=5, idle_timeout=20, bind_timeout=5)
            listeners = len(scene.loop.listeners)
            protocol = asyncio.Protocol()
            transport, _ = await scene.loop.create_connection(lambda: protocol, PROXY, PORT)
            for part in octets:
                transport.write(part)
                await scene.settle(0.001)
            if end == "close":
                transport.close()
            elif end == "half":
                transport.write_eof()
            elif end == "reset":
                transport.get_extra_info("socket").set = True
                transport.abort()
            await scene.settle(60)
            assert proxy.active == 0
            assert len(scene.loop.listeners) == listeners
            assert not scene.loop.datagrams
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in others if "Conversation" in repr(task)]

        on_scene(play)
        assert not self.problems


@settings(max_examples=150, deadline=None)
@given(
    st.lists(frames, max_size=5),
    st.sampled_from(["close", "half", "reset", "stay"]),
    faults,
    st.sampled_from([{}, USERS]),
)
def test_nothing_that_a_client_sends_harms_the_proxy(
    octets: list[bytes], end: str, faulty: Faults, users: dict[bytes, bytes]
) -> None:
    Survivor().converse(octets, end, faulty, users)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_nor_any_datagram(datagrams: list[bytes]) -> None:
    async def play(scene: Scene) -> None:
        problems: list[object] = []
        scene.loop.set_exception_handler(lambda loop, context: problems.append(context))
        await scene.udp_server(ECHO)
        await scene.proxy()
        async with await scene.client().associate() as association:
            for octets in datagrams:
                association.send_octets(octets)
                association.send_octets(UdpHeader(DESTINATION).encode()[: len(octets)] + octets)
            await scene.settle()
            association.send(b"still there", *ECHO)
            while (await association.receive()).data != b"still there":
                continue
        assert not problems

    on_scene(play)


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


linux_only = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Windows only and macOS only have no /proc")


async def settled(proxy: Running, seconds: float = 5.0) -> None:
    """Wait until the proxy has no conversation."""
    for _ in range(int(seconds / 0.02)):
        if not proxy.proxy.active:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{proxy.proxy.active} conversations are left")


async def at_once(limit: int, jobs: list[Awaitable[None]]) -> None:
    """Run all, so many at a time."""
    gate = asyncio.Semaphore(limit)

    async def one(job: Awaitable[None]) -> None:
        async with gate:
            await job

    await asyncio.gather(*(one(job) for job in jobs))


@linux_only
def test_thousands_of_random_connections_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 10_000 if "EVERY_CAPTURE" in os.environ else 3_000
    chance = random.Random(5)

    def opening() -> bytes:
        kind = chance.randrange(4)
        if kind == 0:
            return chance.randbytes(chance.randrange(60))
        if kind == 1:
            return b"\x05" + chance.randbytes(chance.randrange(40))
        if kind == 2:
            return b"\x04" + chance.randbytes(chance.randrange(40))
        return b"\x05\x01\x00\x05" + bytes((chance.randrange(6), 0, chance.choice((1, 3, 4)))) + chance.randbytes(20)

    async def main() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        async with (
            serving(mirror) as port,
            running(handshake_timeout=0.5, connect_timeout=0.5, bind_timeout=0.5, linger=0.2) as proxy,
        ):

            async def one(octets: bytes) -> None:
                try:
                    reader, writer = await asyncio.open_connection(*proxy.address)
                except OSError:
                    return
                try:
                    writer.write(octets)
                    if chance.randrange(2):
                        writer.write_eof()
                    await asyncio.wait_for(reader.read(100), chance.choice((0.001, 0.01)))
                except (OSError, asyncio.TimeoutError):
                    pass  # what the proxy does to it is its affair
                finally:
                    writer.transport.abort() if chance.randrange(2) else writer.close()

            before, tasks = descriptors(), len(asyncio.all_tasks())
            await at_once(100, [one(opening()) for _ in range(count)])
            await settled(proxy)
            await asyncio.sleep(0.1)
            gc.collect()
            assert not problems
            assert descriptors() <= before + 2
            assert len(asyncio.all_tasks()) <= tasks
            async with await proxy.client().connect(HOST, port) as tunnel:
                tunnel.write(b"as good as new")
                assert await tunnel.read_exactly(14) == b"as good as new"

    # Nothing leaves this machine: what is not on it is refused without a try.
    monkeypatch.setattr("socks5sniff.proxy.network.Network.look_up", _loopback_only)
    run(main(), 90)


async def _loopback_only(network: object, destination: Address, kind: object) -> list[str]:
    if destination.text.startswith("127."):
        return [destination.text]
    raise OSError("only loopback is tried here")


@linux_only
def test_two_thousand_conversations_at_once() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2000 * 4 + 200
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    count = (wanted - 200) // 4  # fewer than 2,000 only where the machine allows no more descriptors
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    async def main() -> int:
        async with serving(mirror) as port, running(linger=0.5) as proxy:
            before = descriptors()
            opened = asyncio.Event()
            ready = 0

            async def one(number: int) -> bool:
                nonlocal ready
                async with await proxy.client().connect(HOST, port) as tunnel:
                    ready += 1
                    if ready == count:
                        opened.set()
                    await opened.wait()
                    octets = number.to_bytes(4, "big") * 5
                    tunnel.write(octets)
                    return await tunnel.read_exactly(len(octets)) == octets

            async def most() -> int:
                await opened.wait()
                return proxy.proxy.active

            active, *right = await asyncio.gather(most(), *(one(number) for number in range(count)))
            assert active == count
            assert all(right)
            await settled(proxy, 10)
            await asyncio.sleep(0.2)
            assert descriptors() <= before + 10
            return count

    try:
        assert run(main(), 60) == count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@linux_only
def test_memory_is_not_kept() -> None:
    """500 conversations that each relay 200 kB: what is allocated afterwards is what was before."""
    import tracemalloc

    async def main() -> int:
        async with serving(mirror) as port, running() as proxy:
            proxy.proxy._log = None

            async def some(count: int) -> None:
                for _ in range(count):
                    async with await proxy.client(faults=ClientFaults()).connect(HOST, port) as tunnel:
                        tunnel.write(bytes(200_000))
                        await tunnel.read_exactly(200_000)
                await settled(proxy)
                gc.collect()

            await some(20)
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                await some(150)
                return tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()

    assert run(main(), 60) < 300_000
