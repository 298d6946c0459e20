"""Datagrams that were sent through a relay in fragments, put together again (RFC 1928 s7)."""

from __future__ import annotations

MAX_DATA = 65_507
"""Octets of data that a UDP datagram holds in IPv4."""
_LAST = 0x80


class Fragments:
    """One direction of one association.

    Attributes:
        lost: fragments of sequences that never got complete.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._pieces: list[bytes] = []
        self._place: tuple[str, int] | None = None

    def add(self, fragment: int, place: tuple[str, int], octets: bytes) -> bytes | None:
        """The datagram that this fragment completes, None where it completes none.

        Args:
            fragment: FRAG; its upper bit marks the last one.
            place: where the datagram goes or comes from, which all fragments of one have in common.
            octets: DATA.
        """
        position = fragment & ~_LAST
        if position != len(self._pieces) + 1 or (self._pieces and place != self._place):
            self.give_up()
            if position != 1:
                self.lost += 1
                return None
        self._place = place
        self._pieces.append(octets)
        if not fragment & _LAST:
            return None
        whole = b"".join(self._pieces)
        if len(whole) > MAX_DATA:
            self.give_up()
            return None
        self._pieces = []
        return whole

    def give_up(self) -> None:
        """The sequence will not be completed."""
        self.lost += len(self._pieces)
        self._pieces = []
