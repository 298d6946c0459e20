"""What the proxies connect to: an HTTP server and echoes over TCP and UDP. Run as a script in the lab.

Arguments: the HTTP port, the echo port, and the addresses to listen on. Prints `ready` when all listen.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

BODY = b"".join(b"line %04d of the body\n" % line for line in range(500))
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(BODY), BODY)


async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One response to one request."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(RESPONSE)
    await writer.drain()
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(65536):
        writer.write(octets)
        await writer.drain()
    writer.close()


class EchoDatagrams(asyncio.DatagramProtocol):
    """Each datagram goes back to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def serve(http_port: int, echo_port: int, addresses: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for address in addresses:
        await asyncio.start_server(answer_http, address, http_port)
        await asyncio.start_server(echo, address, echo_port)
        await loop.create_datagram_endpoint(EchoDatagrams, (address, echo_port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
