"""What is to be overwritten, and what octets that are overwritten are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What is overwritten besides passwords.

    Attributes:
        users: user names.
        destinations: where clients went: hosts, and their addresses.
        addresses: all IP and MAC addresses.
        payload: what tunnels and associations carry: "blank" or "cut"; None leaves it.
        key: 32 octets; the same key gives the same names and addresses. None: a random one.
        ports: further proxy ports.
    """

    users: bool = False
    destinations: bool = False
    addresses: bool = False
    payload: str | None = None
    key: bytes | None = None
    ports: tuple[int, ...] = ()

    @property
    def hides_addresses(self) -> bool:
        """Some addresses are replaced."""
        return self.destinations or self.addresses


class What:
    """What octets are: this decides what stands for them."""

    SECRET = 0
    """A password, or what may hold one."""
    USER = 1
    HOST = 2
    """A destination in text: a name or an address."""
    ADDRESS = 3
    """An address of 4 or 16 octets."""
    LABELS = 4
    """A domain name as DNS writes it, without the empty label."""
    LABEL = 9
    """A label of a domain name."""
    NOTHING = 10
    """What may name somebody in a form that is not read: zeros stand for it."""
    TEXT = 5
    """An address in text."""
    LINE = 6
    """A PROXY protocol header of version 1."""
    CREDENTIALS = 7
    """Where they begin: the name of an HTTP header."""
    HOST_LINE = 8
    """Where an HTTP request names its host: the name of that header."""
