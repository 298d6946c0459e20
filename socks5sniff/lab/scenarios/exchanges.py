"""What several scenarios do alike: use a tunnel for something, and say what is to be expected of it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from socks5sniff.client import Client, Tunnel, Witnessed
from socks5sniff.codec import Address, Command, Greeting, MethodSelection, Reply, Request
from socks5sniff.lab.payloads import HTTP_RESPONSE, SSH_CLIENT, TLS_ALERT, client_hello, counted, http_request
from socks5sniff.lab.scene import Scene, Target
from socks5sniff.lab.truth import target
from socks5sniff.proxy.packets import HostPort
from socks5sniff.proxy.trace import TcpTrace

WEB_NAME = "www.example.test"
TLS_NAME = "secure.example.test"


Failure = TypeVar("Failure", bound=BaseException)


class UnexpectedError(Exception):
    """A scenario did not go as it should: its capture would not be what its name says."""


async def failing(attempt: Awaitable[Any], *kinds: type[Failure]) -> Failure:
    """What `attempt` fails with, which must be one of `kinds`."""
    try:
        await attempt
    except kinds as error:
        return error
    raise UnexpectedError(f"expected {' or '.join(kind.__name__ for kind in kinds)}, but nothing failed")


async def http(tunnel: Tunnel, name: str = WEB_NAME) -> dict[str, Any]:
    """Fetch a page. The server closes first."""
    tunnel.write(http_request(name))
    page = await tunnel.read_all()
    assert page == HTTP_RESPONSE
    await tunnel.close()
    return {
        "tunnel": {"protocol": "http", "server_name": name},
        "bytes": {"sent": len(http_request(name)), "received": len(page)},
        "closed_by": "proxy",
    }


async def tls(tunnel: Tunnel, name: str = TLS_NAME) -> dict[str, Any]:
    """Send a ClientHello and be refused by the server, which closes first."""
    hello = client_hello(name, ("h2", "http/1.1"))
    tunnel.write(hello)
    answer = await tunnel.read_all()
    assert answer == TLS_ALERT
    await tunnel.close()
    return {
        "tunnel": {"protocol": "tls", "server_name": name, "alpn": ["h2", "http/1.1"]},
        "bytes": {"sent": len(hello), "received": len(answer)},
        "closed_by": "proxy",
    }


async def ssh(tunnel: Tunnel) -> dict[str, Any]:
    """Hear the server's version, say one's own; the server closes first."""
    version = await tunnel.read()
    tunnel.write(SSH_CLIENT)
    rest = await tunnel.read_all()
    await tunnel.close()
    return {
        "tunnel": {"protocol": "ssh"},
        "bytes": {"sent": len(SSH_CLIENT), "received": len(version) + len(rest)},
        "closed_by": "proxy",
    }


async def echo(tunnel: Tunnel, length: int = 300) -> dict[str, Any]:
    """Send octets of no known protocol, hear them back, and close first."""
    octets = counted(length)
    tunnel.write(octets)
    tunnel.write_eof()
    answer = await tunnel.read_all()
    assert answer == octets
    await tunnel.close()
    return {
        "tunnel": {"protocol": "unknown"},
        "bytes": {"sent": length, "received": length},
        "closed_by": "client",
    }


async def fetch(scene: Scene, client: Client, web: Target, **facts: Any) -> dict[str, Any]:
    """CONNECT to the web server by name, fetch the page, and expect just that."""
    tunnel = await client.connect(WEB_NAME, web.address[1])
    seen = await http(tunnel)
    expected = {
        "destination": target(WEB_NAME, web.address[1]),
        "reply": {"code": 0, "name": "succeeded"},
        "bound": target(*web.peers[-1]),
        "source": web.peers[-1],
        **seen,
        **facts,
    }
    return scene.expect(client, **expected)


Said = tuple[int, bytes]
"""Octets and who says them: 0 for the side that opened the TCP connection, 1 for the other."""

GREETING, CHOICE = Greeting(b"\x00").encode(), MethodSelection(0).encode()


async def tell(scene: Scene, ends: tuple[HostPort, HostPort], said: Iterable[Said], closing: str = "01") -> TcpTrace:
    """A TCP connection without a proxy or a client behind it; `closing` is who closes, in order."""
    flow = scene.trace.tcp(*ends)
    for side, octets in said:
        await scene.settle(0.001)
        flow.data(side, octets)
    await scene.settle(0.001)
    for closer in closing:
        flow.fin(int(closer))
    return flow


def request_to(destination: HostPort, command: int = Command.CONNECT) -> bytes:
    """A request."""
    return Request(command, Address.from_text(*destination)).encode()


def granted(bound: HostPort) -> bytes:
    """A success reply."""
    return Reply(0, Address.from_text(*bound)).encode()


def handshake(destination: HostPort, bound: HostPort) -> list[Said]:
    """The usual handshake, the client being the side that opened the connection."""
    return [(0, GREETING), (1, CHOICE), (0, request_to(destination)), (1, granted(bound))]


def handshake_frames(destination: HostPort) -> list[Witnessed]:
    """Its frames; BND is an IPv4 address."""
    return [
        Witnessed("client", "greeting", len(GREETING)),
        Witnessed("proxy", "method-selection", len(CHOICE)),
        Witnessed("client", "request", len(request_to(destination))),
        Witnessed("proxy", "reply", len(granted(("0.0.0.0", 0)))),
    ]


def octets_of(frames: Iterable[Witnessed]) -> tuple[int, int]:
    """Octets that frames take, from the client and from the proxy."""
    sizes = {"client": 0, "proxy": 0}
    for frame in frames:
        sizes[frame.sender] += frame.length
    return sizes["client"], sizes["proxy"]


PAGE = [(0, http_request(WEB_NAME)), (1, HTTP_RESPONSE)]
"""A page fetched, as it goes through a tunnel."""

FETCHED: dict[str, Any] = {
    "tunnel": {"protocol": "http", "server_name": WEB_NAME},
    "bytes": {"sent": len(PAGE[0][1]), "received": len(PAGE[1][1])},
}
"""What is right of it."""
