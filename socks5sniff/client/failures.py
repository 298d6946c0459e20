"""Why a client did not get what it asked for."""

from __future__ import annotations

from socks5sniff.codec import Address, reply_name, socks4_reply_name
from socks5sniff.errors import Socks5sniffError


class ClientError(Socks5sniffError):
    """Base of everything that can go wrong between client and proxy, apart from OSError and a time-out."""


class ProtocolError(ClientError):
    """The proxy closed early, or sent what cannot be the frame that is due."""


class NoMethodError(ClientError):
    """The proxy accepts none of the methods offered (METHOD FF), or chose one this client cannot do."""


class AuthenticationError(ClientError):
    """The proxy refused the credentials or the security context."""


class RefusedError(ClientError):
    """The proxy answered the request with a failure.

    Attributes:
        code: REP, or CD of SOCKS4.
        bound: BND of that reply.
    """

    def __init__(self, code: int, bound: Address, socks4: bool) -> None:
        name = socks4_reply_name(code) if socks4 else reply_name(code)
        super().__init__(f"the proxy answered {code}: {name}")
        self.code = code
        self.name = name
        self.bound = bound
