"""The demonstration: a proxy, a few servers and clients on this machine's loopback, and the trace's capture of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from socks5sniff.client import AuthenticationError, Client, ClientFaults, NoMethodError, RefusedError
from socks5sniff.lab.payloads import (
    HTTP_RESPONSE,
    SSH_CLIENT,
    SSH_SERVER,
    TLS_ALERT,
    client_hello,
    dns_answer,
    dns_query,
    http_request,
)
from socks5sniff.proxy.capture_file import CaptureFile
from socks5sniff.proxy.server import Proxy
from socks5sniff.proxy.settings import Settings
from socks5sniff.proxy.trace import Trace

HOST = "127.0.0.1"
NAMES = ("www.example.test", "secure.example.test", "ssh.example.test", "mirror.example.test")
HOSTS = dict.fromkeys(NAMES, HOST)

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def perform(path: str) -> None:
    """Make the capture `path`. Raises OutputError."""
    with CaptureFile(path) as file:
        asyncio.run(_perform(Trace(file)))


async def _perform(trace: Trace) -> None:
    servers = [await _server(answer) for answer in (_web, _tls, _ssh)]
    web, tls, ssh = (server.sockets[0].getsockname()[1] for server in servers)
    name_server = await _name_server()
    closed = await _closed_port()
    listen = ((HOST, 0),)
    open_proxy = Proxy(Settings(listen=listen, hosts=HOSTS), trace=trace)
    strict = Proxy(Settings(listen=listen, hosts=HOSTS, users={b"alice": b"correct horse"}), trace=trace)
    async with open_proxy, strict:
        here, asking = open_proxy.addresses[0], strict.addresses[0]
        await _fetch(Client(*here), web)
        await _fetch(Client(*asking, username="alice", password="correct horse"), web)
        await _fetch(Client(*here, version="4a", username="bob"), web)
        await _say(Client(*here), "secure.example.test", tls, client_hello("secure.example.test", ("h2",)))
        await _say(Client(*here), "ssh.example.test", ssh, SSH_CLIENT)
        await _say(Client(*here), HOST, web, http_request("www.example.test"))
        pipelining = ClientFaults(segment=1, optimistic=http_request("www.example.test"))
        await _say(Client(*here, faults=pipelining), "www.example.test", web, b"")
        for client, port in (
            (Client(*here), closed),
            (Client(*asking), web),
            (Client(*asking, username="alice", password="hunter2"), web),
        ):
            try:
                await client.connect("www.example.test", port)
            except (RefusedError, NoMethodError, AuthenticationError):
                continue  # these three are meant to be refused
        await _bind(Client(*here))
        await _datagram(Client(*here), name_server)
        await asyncio.sleep(0.05)
    for server in servers:
        server.close()
    name_server.close()


async def _fetch(client: Client, port: int) -> None:
    await _say(client, "www.example.test", port, http_request("www.example.test"))


async def _say(client: Client, host: str, port: int, octets: bytes) -> None:
    async with await client.connect(host, port) as tunnel:
        tunnel.write(octets)
        await tunnel.read_all()


async def _bind(client: Client) -> None:
    binding = await client.bind(HOST, 0)
    _, writer = await asyncio.open_connection(binding.bound.text, binding.bound.port)
    async with await binding.accept() as tunnel:
        writer.write(b"hello from the peer\n")
        writer.close()
        await tunnel.read_all()


async def _datagram(client: Client, name_server: asyncio.DatagramTransport) -> None:
    async with await client.associate() as association:
        port = name_server.get_extra_info("sockname")[1]
        association.send(dns_query("www.example.test"), HOST, port)
        await association.receive()


async def _web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HTTP_RESPONSE)


async def _tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readexactly(5)
    await reader.readexactly(int.from_bytes(head[3:], "big"))
    writer.write(TLS_ALERT)


async def _ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSH_SERVER)
    await reader.readline()


async def _server(answer: Answer) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has left
        finally:
            writer.close()

    return await asyncio.start_server(serve, HOST, 0)


async def _name_server() -> asyncio.DatagramTransport:
    class NameServer(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]

        def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
            self.transport.sendto(dns_answer(data, HOST), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=(HOST, 0))
    return transport


async def _closed_port() -> int:
    """A port that nobody listens on: one that was free a moment ago."""
    server = await _server(_web)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port
