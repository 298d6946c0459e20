"""Telegram's MTProto, where it shows: its transports, plain or under the keys that they carry with them.

Plain transports (core.telegram.org/mtproto/mtproto-transports) are told by their mark; those of the abridged and the
full one are so short that the first message must be a plain one of the key exchange, whose key id is zero. An
obfuscated transport begins with 64 octets that look random and hold the key under which octets 56 to 60 are a plain
one's mark; a proxy's secret, or a disguise as TLS, hides that.
"""

from __future__ import annotations

import re

from socks5sniff.record import Tunnel

from .ciphers import aes_counter
from .heads import WAIT, Finding, Talk

_MARKS = {
    b"\xee\xee\xee\xee": "intermediate",
    b"\xdd\xdd\xdd\xdd": "padded intermediate",
    b"\xef\xef\xef\xef": "abridged",
}
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]*")
_NO_KEY = bytes(8)
_LONGEST_FIRST = 1024
"""Octets of a plain first message at most."""


def rule(talk: Talk) -> Finding:
    """The client's octets as MTProto."""
    octets, whole = talk.client
    if len(octets) < 8 and not whole:
        return WAIT
    if _TEXT.fullmatch(octets[:8]):
        return None  # as if random, one in 2,700 would be; all other texts need not wait for 64 octets
    if len(octets) < 20 and not whole:
        return WAIT
    name = _plain(octets)
    if name is None:
        if len(octets) < 64 and not whole:
            return WAIT
        name = _obfuscated(octets)
    return None if name is None else Tunnel("mtproto", detail=f"{name} transport")


def _plain(octets: bytes) -> str | None:
    mark = octets[:4]
    if mark in _MARKS and mark[0] != 0xEF:
        return _MARKS[mark]
    if octets[:1] == b"\xef" and octets[1:2] < b"\x7f" and octets[2:10] == _NO_KEY:
        return "abridged"
    length = int.from_bytes(mark, "little")
    if length % 4 == 0 and 24 <= length <= _LONGEST_FIRST and octets[4:16] == bytes(12) and len(octets) >= 16:
        return "full"
    return None


def _obfuscated(octets: bytes) -> str | None:
    if len(octets) < 64:
        return None
    plain = aes_counter(octets[8:40], octets[40:56], octets[:64])
    name = None if plain is None else _MARKS.get(plain[56:60])
    return None if name is None else f"obfuscated {name}"
