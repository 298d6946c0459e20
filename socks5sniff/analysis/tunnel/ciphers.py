"""The few steps of cryptography that reading QUIC's first packets and MTProto's disguise takes.

All keys are public: they follow from octets in the packets themselves. Without the package `cryptography` nothing is
read and nothing fails.
"""

from __future__ import annotations

import hashlib
import hmac


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
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        return None
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def aes_counter(key: bytes, counter: bytes, octets: bytes) -> bytes | None:
    """Octets decrypted with AES in counter mode, None without the package."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        return None
    return Cipher(algorithms.AES(key), modes.CTR(counter)).decryptor().update(octets)


def aes_gcm_open(key: bytes, nonce: bytes, octets: bytes, header: bytes) -> bytes | None:
    """Plain octets of an AES-GCM message, its tag at the end; None where that is wrong, or without the package."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        return None
    try:
        return AESGCM(key).decrypt(nonce, octets, header)
    except (InvalidTag, ValueError):
        return None
