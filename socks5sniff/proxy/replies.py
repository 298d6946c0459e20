"""Which reply code an operating system's error deserves (RFC 1928 s6)."""

from __future__ import annotations

import asyncio
import errno
import socket

from socks5sniff.codec import ReplyStatus

BY_ERRNO: dict[int, int] = {
    errno.EACCES: ReplyStatus.NOT_ALLOWED,
    errno.EPERM: ReplyStatus.NOT_ALLOWED,
    errno.ENETUNREACH: ReplyStatus.NETWORK_UNREACHABLE,
    errno.ENETDOWN: ReplyStatus.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: ReplyStatus.HOST_UNREACHABLE,
    errno.EHOSTDOWN: ReplyStatus.HOST_UNREACHABLE,
    errno.ETIMEDOUT: ReplyStatus.HOST_UNREACHABLE,
    errno.ECONNREFUSED: ReplyStatus.CONNECTION_REFUSED,
    errno.ECONNRESET: ReplyStatus.CONNECTION_REFUSED,
    errno.EAFNOSUPPORT: ReplyStatus.ADDRESS_TYPE_NOT_SUPPORTED,
}
"""RFC 1928 has no code for a time-out; a host that does not answer is an unreachable host. TTL expired (6) is what
an ICMP message says that the kernel reports as EHOSTUNREACH, so it cannot be told apart here."""


def reply_code(error: BaseException) -> int:
    """The reply code for what went wrong while reaching a destination."""
    if isinstance(error, socket.gaierror):
        # The name server failing is the proxy's trouble; a name that does not exist is the destination's.
        proxys_own = error.errno in (socket.EAI_AGAIN, socket.EAI_MEMORY)
        return ReplyStatus.GENERAL_FAILURE if proxys_own else ReplyStatus.HOST_UNREACHABLE
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return ReplyStatus.HOST_UNREACHABLE
    if isinstance(error, UnicodeError):  # a name that cannot be put into labels
        return ReplyStatus.HOST_UNREACHABLE
    if isinstance(error, OSError) and error.errno is not None:
        return BY_ERRNO.get(error.errno, ReplyStatus.GENERAL_FAILURE)
    return ReplyStatus.GENERAL_FAILURE
