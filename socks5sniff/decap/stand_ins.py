"""Addresses that stand for names: always the same one for the same name.

They are of networks that no host on the internet has: 198.18.0.0/15, for benchmarks (RFC 2544), and 2001:db8::/32, for
documentation (RFC 3849). The name's SHA-256 chooses among them; where two names choose the same address, the later one
gets the next that is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import islice

NETWORKS: dict[int, IPv4Network | IPv6Network] = {4: IPv4Network("198.18.0.0/15"), 6: IPv6Network("2001:db8::/32")}

_BEGINNINGS = ("198.18.", "198.19.", "2001:db8:")
"""Of the text of their addresses."""

_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address in the form of an IPv6 address begins with (RFC 4291 s2.5.5.2)."""


class StandIns:
    """Gives hosts an address.

    Attributes:
        names: by address of 4 or 16 octets, the name that it stands for.
        shared: names that had to take another one's address, because there are more than addresses.
    """

    def __init__(self, real: Iterable[str]) -> None:
        """`real`: hosts in the capture; addresses among them stand for themselves, and for no name."""
        self.names: dict[bytes, str] = {}
        self.shared = 0
        self._real = {_packed(host) for host in real if host.startswith(_BEGINNINGS)}
        self._known: dict[tuple[int, str], bytes] = {}
        self._told = 0

    def pair(self, here: str, there: str) -> tuple[bytes, bytes]:
        """Addresses of one IP version for an address and a host, which may be a name.

        Of an IPv4 and an IPv6 address the former takes the form of the latter.
        """
        first, second = _packed(here), _packed(there)
        if first is None:
            raise ValueError(f"{here!r} is no address")
        if second is None:
            second = self._of(there, 4 if len(first) == 4 else 6)
        if len(first) == len(second):
            return first, second
        return _as_six(first), _as_six(second)

    def fresh(self) -> dict[bytes, str]:
        """The names that are new since the last call, by address."""
        new = dict(islice(self.names.items(), self._told, None))
        self._told = len(self.names)
        return new

    def _of(self, name: str, version: int) -> bytes:
        key = version, name.lower().rstrip(".")
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._choose(key[1], version)
            self.names.setdefault(found, name)
        return found

    def _choose(self, name: str, version: int) -> bytes:
        """A free address, from where the name's hash says."""
        network = NETWORKS[version]
        size = network.max_prefixlen // 8
        hosts = network.num_addresses - 2  # neither the network's own address nor the one of all its hosts
        first = int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest(), "big") % hosts
        for step in range(min(hosts, len(self.names) + len(self._real) + 1)):
            address = (int(network.network_address) + 1 + (first + step) % hosts).to_bytes(size, "big")
            if address not in self.names and address not in self._real:
                return address
        self.shared += 1
        return (int(network.network_address) + 1 + first).to_bytes(size, "big")


def _packed(host: str) -> bytes | None:
    """The octets of an address in text, None for a name."""
    try:
        return ip_address(host).packed
    except ValueError:
        return None


def _as_six(address: bytes) -> bytes:
    return address if len(address) == 16 else _MAPPED + address
