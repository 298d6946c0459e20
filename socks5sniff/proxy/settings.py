"""What a test proxy is told to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from socks5sniff.client.security import ContextFactory
from socks5sniff.errors import ExitCode, Socks5sniffError
from socks5sniff.proxy.faults import Faults


class ExposureError(Socks5sniffError):
    """The proxy was asked to listen where other machines can reach it, without leave to do so."""

    exit_code = ExitCode.USAGE


def no_faults(number: int) -> Faults:
    """The faults of an honest proxy."""
    return NO_FAULTS


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Settings:
    """One proxy's settings. Times are seconds.

    Attributes:
        listen: addresses and ports to listen on; port 0 takes a free one.
        allow_remote: listening on anything but loopback addresses is allowed.
        users: user names and passwords as octets; with any, a client must authenticate.
        security: makes the acceptor's GSSAPI context for each client; None: GSSAPI is not offered.
        hosts: addresses of names that are answered without asking the system's resolver.
        outbound: local addresses that connections to destinations come from, at most one per IP version.
        handshake_timeout: from the connection's start to the complete request.
        connect_timeout: for the connection to the destination, name resolution included.
        bind_timeout: for the peer of a BIND.
        idle_timeout: without an octet in either direction of a relay or association.
        linger: how long the proxy, having closed its side, lets the client close its own. Closing with unread
            octets would make the kernel send a reset, which can destroy a reply still on its way.
        fragment_timeout: UDP fragments of one datagram (RFC 1928 s7 asks for at least 5).
        limit: conversations at once; further connections are closed on arrival.
        faults: the faults of conversation number n, from 1.
    """

    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 1080),)
    allow_remote: bool = False
    users: Mapping[bytes, bytes] = field(default_factory=dict)
    security: ContextFactory | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    outbound: tuple[str, ...] = ()
    handshake_timeout: float = 10.0
    connect_timeout: float = 15.0
    bind_timeout: float = 60.0
    idle_timeout: float = 300.0
    linger: float = 2.0
    fragment_timeout: float = 5.0
    limit: int = 4096
    faults: Callable[[int], Faults] = no_faults

    def check(self) -> None:
        """Raise ExposureError where the proxy would be open to other machines without leave."""
        if self.allow_remote:
            return
        for host, _ in self.listen:
            if not is_loopback(host):
                raise ExposureError(
                    f"{host} can be reached from other machines, and an open proxy lets anyone use this one's network; "
                    "listen on 127.0.0.1 or ::1, or say --allow-remote"
                )

    def outbound_for(self, version: int) -> str | None:
        """The outbound address of one IP version (4 or 6)."""
        for address in self.outbound:
            if ip_address(address).version == version:
                return address
        return None


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is a loopback address; names other than `localhost` are not trusted to be."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
