"""The few steps of cryptography that reading QUIC's first packets and MTProto's disguise takes.

All keys are public: they follow from octets in the packets themselves. Without the package `cryptography` nothing is
read and nothing fails.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from typing import Any


@cache
def _package() -> Any:
    """The package's ciphers, None without it: looked for once, since every look costs a millisecond."""
    try:
        from cryptography.hazmat.primitives import ciphers
        from cryptography.hazmat.primitives.ciphers import aead, algorithms, modes  # noqa: F401
    except ImportError:
        return None
    return ciphers


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """RFC 5869 s2.2, with SHA-256."""
    return hmac.new(salt, secret, hashlib.sha256).digest()


def expand_label(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label with SHA-256 and no context (RFC 8446 s7.1), for 32 octets at most."""
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0\x01"
    return hmac.new(secret, info, hashlib.sha256).digest()[:length]


def aes_block(key: bytes, block: bytes) -> bytes | None:
    """One block encrypted with AES, None without the package."""
    ciphers = _package()
    if ciphers is None:
        return None
    encryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.ECB()).encryptor()
    encrypted: bytes = encryptor.update(block) + encryptor.finalize()
    return encrypted


def aes_counter(key: bytes, counter: bytes, octets: bytes) -> bytes | None:
    """Octets decrypted with AES in counter mode, None without the package."""
    ciphers = _package()
    if ciphers is None:
        return None
    decryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CTR(counter)).decryptor()
    plain: bytes = decryptor.update(octets)
    return plain


def aes_gcm_open(key: bytes, nonce: bytes, octets: bytes, header: bytes) -> bytes | None:
    """Plain octets of an AES-GCM message, its tag at the end; None where that is wrong, or without the package."""
    ciphers = _package()
    if ciphers is None:
        return None
    from cryptography.exceptions import InvalidTag

    try:
        plain: bytes = ciphers.aead.AESGCM(key).decrypt(nonce, octets, header)
    except (InvalidTag, ValueError):
        return None
    return plain
