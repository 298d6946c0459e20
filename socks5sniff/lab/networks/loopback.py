"""The simulated network's hosts on real sockets: their addresses are on the loopback interface of a namespace."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from ipaddress import ip_address
from typing import Any, TypeVar

from socks5sniff.proxy.packets import HostPort, version_of

Result = TypeVar("Result")


class LoopbackLoop(asyncio.SelectorEventLoop):
    """An ordinary event loop that knows the scenarios' names and failures.

    Attributes:
        names: addresses of host names; what is not in it does not exist.
        failing: what connecting to an address fails with (an `errno` value).
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, list[str]] = {}
        self.failing: dict[str, int] = {}

    def run(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run `main` to its end and close the loop."""
        try:
            asyncio.set_event_loop(self)
            return self.run_until_complete(main)
        finally:
            asyncio.set_event_loop(None)
            self.close()

    def deliver(self, source: HostPort, destination: HostPort, data: bytes) -> None:
        """Send a datagram from any address."""
        family = socket.AF_INET6 if version_of(source[0]) == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.bind(source)
            sender.sendto(data, destination)

    async def getaddrinfo(self, host: Any, port: Any, *, type: int = 0, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        for address in self.names.get(name, []):
            return await super().getaddrinfo(address, port, type=type, **options)
        try:
            ip_address(name)  # stricter than the C library, which takes `127.1` and octal numbers for addresses
        except ValueError as error:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error
        return await super().getaddrinfo(host, port, type=type, flags=socket.AI_NUMERICHOST)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        for name, addresses in self.names.items():
            if sockaddr[0] in addresses:
                return name, str(sockaddr[1])
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def create_connection(self, protocol_factory: Any, host: Any = None, *rest: Any, **options: Any) -> Any:
        if host in self.failing:
            code = self.failing[host]
            raise OSError(code, os.strerror(code))
        return await super().create_connection(protocol_factory, host, *rest, **options)
