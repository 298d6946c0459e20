"""IPv6 addresses as numbers, so that an endpoint of either IP version is one unsigned 64-bit number."""

from __future__ import annotations

import binascii
import hashlib
import struct
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from . import secret
from .columns import IPV6

_SLOTS = 1 << 16
_TEXTS = 1 << 16
_INDEX_MASK = (1 << 47) - 1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SLOT_SHIFT = np.uint64(64 - 16)
_NONE = np.int64(-1)
_COMMUNITY4 = struct.Struct(">HIIBBHH")


class AddressBook:
    """Gives each IPv6 address an index, and endpoints their text.

    An index is a hash of the address, so that all processes of a reading give it the same one, and an endpoint kept
    too long can't turn into another address. Memory grows with the addresses seen until `retain` names those still
    needed.
    """

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._packed: dict[int, bytes] = {}
        self._texts: dict[int, str] = {}
        # A direct-mapped cache in front of the dictionary: which address was last seen in a slot, and its index.
        self._slot_high = np.zeros(_SLOTS, np.uint64)
        self._slot_low = np.zeros(_SLOTS, np.uint64)
        self._slot_index = np.full(_SLOTS, _NONE)

    def __len__(self) -> int:
        """Number of IPv6 addresses held."""
        return len(self._packed)

    def intern(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Endpoints without a port for a column of IPv6 addresses.

        Args:
            high, low: the first and the last eight octets of each address as they lie in memory (native numbers).

        Returns:
            uint64[n]: `1 << 63 | index << 16`; a port is put in with `|`.
        """
        slot = (((low * _MIX) ^ high) * _MIX >> _SLOT_SHIFT).astype(np.intp)
        index = self._slot_index.take(slot)
        missing = (self._slot_high.take(slot) != high) | (self._slot_low.take(slot) != low) | (index < 0)
        if missing.any():
            rows = np.flatnonzero(missing)
            index[rows] = self._intern_each(high[rows], low[rows])
            self._slot_high[slot[rows]] = high[rows]
            self._slot_low[slot[rows]] = low[rows]
            self._slot_index[slot[rows]] = index[rows]
        endpoints: NDArray[np.uint64] = index.astype(np.uint64) << np.uint64(16) | np.uint64(IPV6)
        return endpoints

    def _intern_each(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        both = np.empty((len(high), 2), np.uint64)
        both[:, 0] = high
        both[:, 1] = low
        octets = both.tobytes()
        get = self._index.get
        found = np.empty(len(high), np.int64)
        for row in range(len(high)):
            packed = octets[row * 16 : row * 16 + 16]
            index = get(packed)
            found[row] = self._add(packed) if index is None else index
        return found

    def _add(self, packed: bytes) -> int:
        index = secret.number_of(packed)
        while index in self._packed:
            index = (index + 1) & _INDEX_MASK
        self._index[packed] = index
        self._packed[index] = packed
        return index

    def make(self, packed: bytes, port: int) -> int:
        """The endpoint of an address of 4 or 16 octets and a port.

        Raises:
            ValueError: neither 4 nor 16 octets, or a port outside 0-65535.
        """
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"port {port} is outside 0-65535")
        if len(packed) == 4:
            return int.from_bytes(packed, "big") << 16 | port
        if len(packed) != 16:
            raise ValueError(f"an address has 4 or 16 octets, not {len(packed)}")
        index = self._index.get(packed)
        if index is None:
            index = self._add(packed)
        return IPV6 | index << 16 | port

    def known(self) -> dict[int, bytes]:
        """All addresses by their indices."""
        return dict(self._packed)

    def learn(self, known: Mapping[int, bytes]) -> None:
        """Know what another process's book knows.

        Raises:
            ValueError: an index means another address here; of a million addresses this happens once in 300 readings.
        """
        for index, packed in known.items():
            if self._index.get(packed, index) != index or self._packed.get(index, packed) != packed:
                raise ValueError("two IPv6 addresses have the same hash")
            self._index[packed] = index
            self._packed[index] = packed

    def packed(self, endpoint: int) -> bytes:
        """The address's 4 or 16 octets.

        Raises:
            KeyError: an IPv6 address that `retain` has forgotten.
        """
        if endpoint & IPV6:
            return self._packed[endpoint >> 16 & _INDEX_MASK]
        return (endpoint >> 16 & 0xFFFFFFFF).to_bytes(4, "big")

    @staticmethod
    def port(endpoint: int) -> int:
        """The endpoint's port."""
        return endpoint & 0xFFFF

    def endpoint_address(self, endpoint: int) -> str:
        """The endpoint's address as text: dotted quad, or IPv6 as in RFC 5952.

        Raises:
            KeyError: an IPv6 address that `retain` has forgotten.
        """
        key = endpoint >> 16
        text = self._texts.get(key)
        if text is None:
            text = address_text(self.packed(endpoint))
            if len(self._texts) >= _TEXTS:
                self._texts.clear()
            self._texts[key] = text
        return text

    def retain(self, indices: Iterable[int]) -> None:
        """Forget all IPv6 addresses but those with these indices (`endpoint >> 16`, with or without the top bit)."""
        keep = {index & _INDEX_MASK for index in indices}
        self._packed = {index: packed for index, packed in self._packed.items() if index in keep}
        self._index = {packed: index for index, packed in self._packed.items()}
        self._texts.clear()
        self._slot_index.fill(_NONE)

    def community_id(self, source: int, destination: int, protocol: int) -> str:
        """Community ID, version 1 with seed 0, of a flow (https://github.com/corelight/community-id-spec).

        The same whichever side is named first.

        Args:
            source, destination: endpoints.
            protocol: IP protocol number, 6 for TCP and 17 for UDP.
        """
        if not (source | destination) & IPV6:
            low, high = (source, destination) if source < destination else (destination, source)
            flow = _COMMUNITY4.pack(0, low >> 16, high >> 16, protocol, 0, low & 0xFFFF, high & 0xFFFF)
        else:
            here = self.packed(source), source & 0xFFFF
            there = self.packed(destination), destination & 0xFFFF
            if here > there:
                here, there = there, here
            flow = b"\0\0" + here[0] + there[0] + struct.pack(">BBHH", protocol, 0, here[1], there[1])
        digest = hashlib.sha1(flow, usedforsecurity=False).digest()
        return "1:" + binascii.b2a_base64(digest, newline=False).decode("ascii")


def address_text(packed: bytes) -> str:
    """Text of an address of 4 or 16 octets; IPv4-mapped addresses end in a dotted quad (RFC 5952 s5)."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        return "::ffff:" + ".".join(map(str, packed[12:]))
    from ipaddress import IPv6Address

    # Not inet_ntop, whose text of "::1.2.3.4" and of lone zero groups depends on the platform.
    return str(IPv6Address(packed))
