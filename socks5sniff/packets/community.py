"""Community ID, version 1 with seed 0, of many IPv4 flows at once (https://github.com/corelight/community-id-spec).

The id is SHA-1 (FIPS 180-4) of a message of 16 octets, which fits into one block, in base64. A column of blocks is
hashed in one go, a numpy operation for each step of the rounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LENGTH = 28
"""Characters of an id, without its `1:`."""

_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_CONSTANTS = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_MESSAGE_BITS = 128


def community_ids(low: NDArray[np.uint64], high: NDArray[np.uint64], protocol: int) -> NDArray[np.uint8]:
    """The ids of flows, uint8[n, LENGTH] of ASCII.

    Args:
        low, high: IPv4 endpoints (see `columns`), the smaller first.
        protocol: IP protocol number.
    """
    addresses = [(ends >> np.uint64(16)).astype(np.uint32) for ends in (low, high)]
    ports = [(ends & np.uint64(0xFFFF)).astype(np.uint32) for ends in (low, high)]
    half = np.uint32(16)
    nothing = np.zeros(len(low), np.uint32)
    # Seed, both addresses, protocol, padding, both ports; then SHA-1's own padding and the message's length.
    words = [
        addresses[0] >> half,
        (addresses[0] << half) | (addresses[1] >> half),
        (addresses[1] << half) | np.uint32(protocol << 8),
        (ports[0] << half) | ports[1],
        nothing + np.uint32(1 << 31),
        *[nothing] * 10,
        nothing + np.uint32(_MESSAGE_BITS),
    ]
    digest = np.stack(_sha1(words), 1).astype(">u4").view(np.uint8).reshape(len(low), 20)
    return _in_base64(digest)


def _sha1(words: list[NDArray[np.uint32]]) -> list[NDArray[np.uint32]]:
    """SHA-1 of messages of one block, as five words each."""
    words = [*words]
    for place in range(16, 80):
        words.append(_left(words[place - 3] ^ words[place - 8] ^ words[place - 14] ^ words[place - 16], 1))
    a, b, c, d, e = (np.full(len(words[0]), value, np.uint32) for value in _INITIAL)
    for place in range(80):
        phase = place // 20
        if phase == 0:
            mixed = d ^ (b & (c ^ d))
        elif phase == 2:
            mixed = (b & c) | (d & (b | c))
        else:
            mixed = b ^ c ^ d
        following = _left(a, 5)
        following += mixed
        following += e
        following += words[place]
        following += np.uint32(_CONSTANTS[phase])
        a, b, c, d, e = following, a, _left(b, 30), c, d
    return [value + np.uint32(initial) for value, initial in zip((a, b, c, d, e), _INITIAL, strict=True)]


def _left(value: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    turned: NDArray[np.uint32] = (value << np.uint32(bits)) | (value >> np.uint32(32 - bits))
    return turned


def _in_base64(digest: NDArray[np.uint8]) -> NDArray[np.uint8]:
    triples = np.zeros((len(digest), 21), np.uint8)
    triples[:, :20] = digest
    first, second, third = (triples[:, place::3] for place in range(3))
    text = np.empty((len(digest), 7, 4), np.uint8)
    text[:, :, 0] = _BASE64[first >> 2]
    text[:, :, 1] = _BASE64[(first & 3) << 4 | second >> 4]
    text[:, :, 2] = _BASE64[(second & 15) << 2 | third >> 6]
    text[:, :, 3] = _BASE64[third & 63]
    text[:, 6, 3] = ord("=")
    return text.reshape(len(digest), LENGTH)
