"""Names replaced by others of the same length, keyed.

A name is replaced word by word: a label of a domain name, the parts of a URL, the numbers of an address in text. What
stands between the words stays, so that a name keeps its form, names that share a domain share one afterwards, and a
name in a DNS message may be compressed as it was.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from ipaddress import ip_address

_WORD = re.compile(rb"[0-9A-Za-z_\-\x80-\xff]+")
_HEX = re.compile(rb"[0-9A-Fa-f]+")
_KEPT = frozenset((b"arpa", b"onion", b"local", b"localhost", b"test", b"example", b"invalid"))
"""Last words of special-use names (RFC 6761 and IANA's registry): they say what kind of name it is."""
_REVERSE = (b"in-addr", b"ip6")
"""Words before `arpa` of names that stand for addresses."""
ANNOUNCEMENTS = (b"udp-over-tcp.arpa", b"mux.sing-box.arpa", b"packet-addr.v2fly.arpa")
"""What destinations end with that are no hosts: they say what the tunnel carries."""
_ARABIC, _HEXADECIMAL, _LETTERS = b"0123456789", b"0123456789abcdef", b"abcdefghijklmnopqrstuvwxyz"


class Pseudonyms:
    """Names, each with what stands for it.

    Args:
        key: any octets; the same key gives the same names.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._words: dict[tuple[bytes, bytes], bytes] = {}

    def user(self, name: bytes) -> bytes:
        """What stands for a user name."""
        return self._word(name, _LETTERS, b"user")

    def host(self, name: bytes) -> bytes:
        """What stands for a host: a name, an address in text, or whatever a client put there."""
        if is_announcement(name):
            return name
        bare = name[1:-1] if name[:1] == b"[" and name[-1:] == b"]" else name
        try:
            version = ip_address(bare.decode("ascii")).version
        except ValueError:
            return self._labels(name)
        return self.address4(name) if version == 4 and b":" not in name else self.address6(name)

    def label(self, label: bytes) -> bytes:
        """What stands for a label of a domain name, the words of which are not special."""
        return _WORD.sub(lambda found: self._word(found[0], _alphabet(found[0]), b"label"), label)

    def address4(self, text: bytes) -> bytes:
        """What stands for an IPv4 address in text: another of the same length."""
        return b".".join(self._number(number) for number in text.split(b"."))

    def address6(self, text: bytes) -> bytes:
        """What stands for an IPv6 address in text: another of the same length."""
        return _HEX.sub(lambda found: self._hexadecimal(found[0]), text)

    def _labels(self, name: bytes) -> bytes:
        words = [*_WORD.finditer(name)]
        found = bytearray(name)
        for word in words[: len(words) - kept_words([word[0] for word in words])]:
            found[word.start() : word.end()] = self.label(word[0])
        return bytes(found)

    def _number(self, number: bytes) -> bytes:
        """A number of an IPv4 address; one of three digits is 1xx."""
        word = self._word(number, _ARABIC, b"number")
        if len(word) == 1:
            return word
        first = b"1" if len(word) == 3 else word[:1] if word[:1] != b"0" else b"1"
        found = first + word[1:]
        return found if found != number else first + bytes((48 + (found[-1] - 47) % 10,)).rjust(len(found) - 1, b"7")

    def _hexadecimal(self, group: bytes) -> bytes:
        word = self._word(group, _HEXADECIMAL, b"group")
        return b"a" + word[1:] if word[:1] == b"0" and group != b"a" + word[1:] else word

    def _word(self, word: bytes, alphabet: bytes, purpose: bytes) -> bytes:
        """As many characters of an alphabet as a word has octets, never the word itself; capitals stay capitals."""
        plain = word.lower()
        found = self._words.get((purpose, plain))
        if found is None:
            attempt = 0
            while found is None or (found == plain and plain):
                found = self._drawn(plain, alphabet, purpose + bytes((attempt,)))
                attempt += 1
            self._words[purpose, plain] = found
        capitals = [at for at, octet in enumerate(word) if 0x41 <= octet <= 0x5A]
        if not capitals:
            return found
        shown = bytearray(found)
        for at in capitals:
            shown[at : at + 1] = shown[at : at + 1].upper()
        return bytes(shown)

    def _drawn(self, word: bytes, alphabet: bytes, purpose: bytes) -> bytes:
        octets = b""
        block = 0
        while len(octets) < len(word):
            said = purpose + b"\0" + block.to_bytes(4, "big") + word
            octets += hmac.digest(self._key, said, hashlib.sha256)
            block += 1
        return bytes(alphabet[octet % len(alphabet)] for octet in octets[: len(word)])


def kept_words(words: Sequence[bytes]) -> int:
    """How many of the last words of a name stay: those that say what kind of name it is."""
    if not words or words[-1].lower() not in _KEPT:
        return 0
    return 2 if len(words) > 1 and words[-1].lower() == b"arpa" and words[-2].lower() in _REVERSE else 1


def is_announcement(name: bytes) -> bool:
    """Whether a destination is no host but says what the tunnel carries."""
    return name.lower().endswith(ANNOUNCEMENTS)


def _alphabet(word: bytes) -> bytes:
    return _ARABIC if word.isdigit() else _LETTERS
