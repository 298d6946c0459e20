"""IP and MAC addresses replaced by others, prefix-preserving and keyed.

The algorithm is Crypto-PAn's (Xu, Fan, Ammar, Moon: "Prefix-Preserving IP Address Anonymization", ICNP 2002): bit
number n of an address is flipped or not by what AES makes of the n bits before it. Two things are added, so that a
capture still says the same:

- An address keeps its block where the block says nothing of anybody: private, shared and link-local ones stay
  private, shared and link-local, and unspecified, loopback, multicast and broadcast addresses stay what they are.
- A public address never becomes one of those: where it would, it is replaced once more.

So addresses of a block that share 16 bits or more share exactly as many afterwards.
"""

from __future__ import annotations

from typing import Any

from ..errors import MissingError

KEY = 32
"""Octets of a key: AES's, and what the padding is made of."""
_ROUNDS = 64

_KEPT4 = ((0x00000000, 8), (0x7F000000, 8), (0xE0000000, 3))
_OWN4 = ((0x0A000000, 8), (0x64400000, 10), (0xA9FE0000, 16), (0xAC100000, 12), (0xC0A80000, 16))
_EMBEDDING = (bytes(12), bytes(10) + b"\xff\xff", b"\0\x64\xff\x9b" + bytes(8))
"""Prefixes of IPv6 addresses whose last four octets are an IPv4 address (RFC 4291 s2.5.5, RFC 6052)."""
_KEPT6 = {"multicast": 128, "link-local": 64, "local": 8, "other": 3}
"""Bits that stay by the kind of an IPv6 address: global ones are those that begin with 001 (RFC 4291 s2.4)."""
_UNSPECIFIED, _LOOPBACK = bytes(16), bytes(15) + b"\1"
_SOLICITED = bytes.fromhex("ff0200000000000000000001ff")
"""What the multicast address begins with that asks for an address by its last 24 bits (RFC 4291 s2.7.1)."""
_SOLICITED_MAC = b"\x33\x33\xff"
_NO_MAC = bytes(6)


class CryptoPan:
    """The published algorithm, for addresses of 4 and of 16 octets.

    Args:
        key: 32 octets.

    Raises:
        MissingError: the package `cryptography` is not installed.
    """

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError:
            raise MissingError(
                'replacing addresses needs the package cryptography: pip install "socks5sniff[sanitize]"'
            ) from None
        self._cipher: Any = Cipher(algorithms.AES(key[:16]), modes.ECB())
        self._pad = int.from_bytes(self.encrypt(key[16:32]), "big")

    def encrypt(self, blocks: bytes) -> bytes:
        """AES of blocks of 16 octets."""
        encryptor = self._cipher.encryptor()
        octets: bytes = encryptor.update(blocks) + encryptor.finalize()
        return octets

    def flips(self, address: bytes) -> int:
        """A number with as many bits as an address: those that are flipped."""
        bits = len(address) * 8
        whole = int.from_bytes(address, "big") << (128 - bits)
        pad = self._pad
        blocks = b"".join(
            (pad & (1 << 128 - n) - 1 | whole >> 128 - n << 128 - n).to_bytes(16, "big") for n in range(bits)
        )
        octets = self.encrypt(blocks)
        flips = 0
        for at in range(0, len(octets), 16):
            flips = flips << 1 | octets[at] >> 7
        return flips

    def __call__(self, address: bytes) -> bytes:
        """The address in place of this one."""
        return (int.from_bytes(address, "big") ^ self.flips(address)).to_bytes(len(address), "big")


class AddressMap:
    """Addresses, each with what stands for it; see the module."""

    def __init__(self, key: bytes) -> None:
        self._pan = CryptoPan(key)
        self._known: dict[bytes, bytes] = {}

    def ip(self, address: bytes) -> bytes:
        """What stands for an address of 4 or 16 octets."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = self._ip4(address) if len(address) == 4 else self._ip6(address)
        return found

    def mac(self, address: bytes) -> bytes:
        """What stands for a MAC address: a locally administered one. Groups stay what they are."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = self._mac(address)
        return found

    def _ip4(self, address: bytes) -> bytes:
        number = int.from_bytes(address, "big")
        if _block(number, _KEPT4) is not None:
            return address
        own = _block(number, _OWN4)
        if own is not None:
            return (number ^ self._pan.flips(address) & (1 << 32 - own) - 1).to_bytes(4, "big")
        for _ in range(_ROUNDS):
            address = self._pan(address)
            number = int.from_bytes(address, "big")
            if _block(number, _KEPT4) is None and _block(number, _OWN4) is None:
                break
        return address

    def _ip6(self, address: bytes) -> bytes:
        if address in (_UNSPECIFIED, _LOOPBACK):
            return address
        for prefix in _EMBEDDING:
            if address.startswith(prefix):
                return prefix + self.ip(address[12:])
        if address[0] == 0xFF:
            return _SOLICITED + self._last(address[13:]) if address.startswith(_SOLICITED) else address
        kept = _KEPT6[_kind6(address)]
        for _ in range(_ROUNDS):
            number = int.from_bytes(address, "big") ^ self._pan.flips(address) & (1 << 128 - kept) - 1
            address = number.to_bytes(16, "big")
            if _KEPT6[_kind6(address)] == kept and not address.startswith(_EMBEDDING):
                break
        return address

    def _mac(self, address: bytes) -> bytes:
        if address.startswith(_SOLICITED_MAC):
            return _SOLICITED_MAC + self._last(address[3:])
        if address[0] & 1 or address == _NO_MAC:
            return address
        octets = self._pan.encrypt(b"MAC".ljust(10, b"\0") + address)
        return bytes((octets[0] & 0xFC | 2,)) + octets[1:6]

    def _last(self, octets: bytes) -> bytes:
        """What stands for the last 24 bits of an address."""
        return self._pan.encrypt(b"solicited".ljust(13, b"\0") + octets)[:3]


def _kind6(address: bytes) -> str:
    if address[0] == 0xFF:
        return "multicast"
    if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
        return "link-local"
    return "local" if address[0] & 0xFE == 0xFC else "other"


def _block(number: int, blocks: tuple[tuple[int, int], ...]) -> int | None:
    """Bits of the prefix of the block that an IPv4 address is in."""
    for prefix, bits in blocks:
        if number >> 32 - bits == prefix >> 32 - bits:
            return bits
    return None
