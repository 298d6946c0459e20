"""Random numbers that nobody outside can guess, the same in every process of one reading.

They make hashes of addresses and of octets: whoever sends packets must not be able to prepare some that collide.
"""

from __future__ import annotations

import secrets
from functools import cache
from hashlib import blake2b

_key = [secrets.token_bytes(32)]


def key() -> bytes:
    """This process's secret, to be handed to another one's `share`."""
    return _key[0]


def share(other: bytes) -> None:
    """Use another process's secret, before anything is read."""
    if _key[0] != other:
        _key[0] = other
        odd_number.cache_clear()


@cache
def odd_number(purpose: str, place: int) -> int:
    """An odd number of 64 bits."""
    return int.from_bytes(blake2b(f"{purpose} {place}".encode(), digest_size=8, key=_key[0]).digest(), "big") | 1


def number_of(octets: bytes) -> int:
    """A number of 47 bits for some octets."""
    return int.from_bytes(blake2b(octets, digest_size=8, key=_key[0]).digest(), "big") >> 17
