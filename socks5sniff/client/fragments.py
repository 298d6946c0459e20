"""Reassembly of UDP relay fragments (RFC 1928 s7), the same for both ends."""

from __future__ import annotations

from socks5sniff.codec import Address, UdpHeader

LAST_FRAGMENT = 0x80
"""The high bit of FRAG marks the end of a sequence."""

LARGEST_DATAGRAM = 65_507
"""Octets of UDP payload that IPv4 can carry."""


class Fragments:
    """The reassembly queue and timer: one sequence at a time, given up when its order breaks or its time is over.

    Args:
        timeout: seconds from a sequence's first fragment; the RFC asks for at least 5.
    """

    def __init__(self, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._started = 0.0
        self._highest = 0
        self._data = bytearray()
        self._destination: Address | None = None

    def add(self, header: UdpHeader, data: bytes, now: float) -> bytes | None:
        """The whole datagram's data when this fragment completes it, else None. Standalone data come back at once.

        `now` is in seconds of any clock that does not jump.
        """
        if header.fragment == 0:
            self._forget()
            return data
        position = header.fragment & ~LAST_FRAGMENT
        late = now - self._started > self._timeout
        if position != self._highest + 1 or late or header.destination != self._destination:
            self._forget()
            if position != 1:
                return None
            self._destination = header.destination
            self._started = now
        self._highest = position
        self._data += data
        if len(self._data) > LARGEST_DATAGRAM:
            self._forget()
            return None
        if not header.fragment & LAST_FRAGMENT:
            return None
        whole = bytes(self._data)
        self._forget()
        return whole

    def _forget(self) -> None:
        self._highest = 0
        self._data.clear()
        self._destination = None
