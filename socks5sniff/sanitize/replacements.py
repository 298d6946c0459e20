"""What stands for octets that are overwritten: as many others, the same for the same ones."""

from __future__ import annotations

from collections.abc import Set

from .addresses import AddressMap
from .options import Options, What
from .pseudonyms import Pseudonyms

FILLING = b"x"
"""What a password becomes."""


class Replacements:
    """Octets, given what they are, and what stands for them.

    Args:
        options: what is overwritten.
        key: 32 octets.
        places: addresses of destinations; more may come.
    """

    def __init__(self, options: Options, key: bytes, places: Set[bytes]) -> None:
        self._all = options.addresses
        self._places = places
        self._key = key
        self._names = Pseudonyms(key)
        # Made when first needed: whoever hides names alone needs no package for addresses.
        self._map: AddressMap | None = None

    def __call__(self, octets: bytes, what: int) -> bytes:
        """What stands for octets."""
        if what == What.USER:
            return self._names.user(octets)
        if what in (What.HOST, What.TEXT):
            return self._names.host(octets)
        if what == What.LABEL:
            return self._names.label(octets)
        if what == What.LABELS:
            return self._labels(octets)
        if what == What.ADDRESS:
            return self.ip(octets)
        if what == What.LINE:
            return _unknown(octets)
        return bytes(len(octets)) if what == What.NOTHING else FILLING * len(octets)

    def ip(self, address: bytes) -> bytes:
        """What stands for an address of 4 or 16 octets: itself, where it is not to be replaced."""
        return self._addresses().ip(address) if self._all or address in self._places else address

    def mac(self, address: bytes) -> bytes:
        """What stands for a MAC address."""
        return self._addresses().mac(address) if self._all else address

    def _addresses(self) -> AddressMap:
        if self._map is None:
            self._map = AddressMap(self._key)
        return self._map

    def _labels(self, octets: bytes) -> bytes:
        """A name as DNS writes it: lengths stay, and the words are those of the name in text."""
        lengths, at = [], 0
        while at < len(octets):
            lengths.append(at)
            at += 1 + octets[at]
        text = bytearray(octets)
        for place in lengths:
            text[place] = 0x2E
        found = bytearray(b"." + self._names.host(bytes(text[1:])))
        for place in lengths:
            found[place] = octets[place]
        return bytes(found)


def _unknown(line: bytes) -> bytes:
    """A PROXY protocol line that names nobody: what follows the word UNKNOWN is to be passed over."""
    return b"PROXY UNKNOWN".ljust(len(line) - 2, b" ") + line[-2:]
