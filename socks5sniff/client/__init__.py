"""An asynchronous SOCKS client on the shared codec: SOCKS5, SOCKS4, SOCKS4A, every command, and bad manners on demand.

async with await Client("127.0.0.1", 1080).connect("example.com", 80) as tunnel:
    tunnel.write(b"HEAD / HTTP/1.0\\r\\n\\r\\n")
    print(await tunnel.read())
"""

from __future__ import annotations

from socks5sniff.client.association import Association, Datagram
from socks5sniff.client.client import Binding, Client, Tunnel
from socks5sniff.client.failures import (
    AuthenticationError,
    ClientError,
    NoMethodError,
    ProtocolError,
    RefusedError,
)
from socks5sniff.client.faults import ClientFaults
from socks5sniff.client.wire import Witnessed

__all__ = [
    "Association",
    "AuthenticationError",
    "Binding",
    "Client",
    "ClientError",
    "ClientFaults",
    "Datagram",
    "NoMethodError",
    "ProtocolError",
    "RefusedError",
    "Tunnel",
    "Witnessed",
]
