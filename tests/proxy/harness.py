"""Where the proxy's tests run: on the simulated network, where a minute passes at once, or on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from socks5sniff.client import Client
from socks5sniff.lab.networks.simulated import SimulatedLoop
from socks5sniff.lab.scene import Scene
from socks5sniff.proxy import LogEntry, Proxy, Settings

Result = TypeVar("Result")

HOST = "127.0.0.1"


def on_scene(play: Callable[[Scene], Coroutine[Any, Any, Result]]) -> Result:
    """Run `play` on the simulated network, and stop its proxies."""
    loop = SimulatedLoop()
    scene = Scene(loop)

    async def perform() -> Result:
        try:
            return await play(scene)
        finally:
            await scene.close()

    return loop.run(perform())


def run(main: Coroutine[Any, Any, Result], seconds: float = 20.0) -> Result:
    """Run `main` on real sockets, for at most so long."""

    async def bounded() -> Result:
        return await asyncio.wait_for(main, seconds)

    return asyncio.run(bounded())


class Running:
    """A proxy on a free port of the loopback interface, and what it logs."""

    def __init__(self, proxy: Proxy, log: list[LogEntry]) -> None:
        self.proxy = proxy
        self.log = log

    @property
    def address(self) -> tuple[str, int]:
        return self.proxy.addresses[0]

    def client(self, **options: Any) -> Client:
        return Client(*self.address, **options)


@asynccontextmanager
async def running(host: str = HOST, trace: Any = None, **settings: Any) -> AsyncIterator[Running]:
    """A proxy that runs meanwhile."""
    log: list[LogEntry] = []
    proxy = Proxy(Settings(listen=((host, 0),), **settings), log.append, trace)
    async with proxy:
        yield Running(proxy, log)


@asynccontextmanager
async def serving(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], host: str = HOST
) -> AsyncIterator[int]:
    """The port of a server that runs meanwhile."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0, backlog=4096)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back everything, up to the end."""
    while octets := await reader.read(65536):
        writer.write(octets)
        await writer.drain()


async def talk(address: tuple[str, int], *octets: bytes, seconds: float = 5.0) -> bytes:
    """Send octets as they are, close this side, and give back all that comes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in octets:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), seconds)
    except ConnectionError:
        return b""
    finally:
        writer.close()
