"""Reading a GSSAPI wrap token that protects integrity only.

After the level negotiation of RFC 1961 s4 the SOCKS request, its reply and the tunnel travel in wrap tokens. Where
confidentiality was not negotiated, a Kerberos token carries the plaintext, and it can be read without any key.
"""

from __future__ import annotations

_TOKEN_RFC4121 = b"\x05\x04"
_TOKEN_RFC1964 = b"\x02\x01"
_SEALED = 0x02
_SIGN_ALGORITHM_DES3 = b"\x04\x00"


def unwrap_readable(token: bytes) -> bytes | None:
    """The plaintext of a Kerberos wrap token that is not sealed; None when it is sealed or no such token."""
    if token[:2] == _TOKEN_RFC4121:
        return _unwrap_rfc4121(token)
    inner = _without_framing(token)
    return _unwrap_rfc1964(inner) if inner[:2] == _TOKEN_RFC1964 else None


def _unwrap_rfc4121(token: bytes) -> bytes | None:
    """RFC 4121 s4.2.6.2: TOK_ID, flags, filler FF, EC, RRC, SND_SEQ, then plaintext and checksum, rotated."""
    if len(token) < 16 or token[2] & _SEALED or token[3] != 0xFF:
        return None
    checksum_length = int.from_bytes(token[4:6], "big")
    body = token[16:]
    if checksum_length > len(body):
        return None
    if body:
        # The sender rotated the body to the right by RRC octets (s4.2.5); RRC may exceed its length.
        rotation = int.from_bytes(token[6:8], "big") % len(body)
        body = body[rotation:] + body[:rotation]
    return body[: len(body) - checksum_length]


def _unwrap_rfc1964(token: bytes) -> bytes | None:
    """RFC 1964 s1.2.2: TOK_ID, SGN_ALG, SEAL_ALG, filler, SND_SEQ, SGN_CKSUM, confounder, plaintext, padding."""
    if token[4:8] != b"\xff\xff\xff\xff":
        return None
    checksum_length = 20 if token[2:4] == _SIGN_ALGORITHM_DES3 else 8
    body = token[16 + checksum_length + 8 :]
    # Padding of 1 to 8 octets, each of which holds their number, is always there.
    padding = body[-1] if body else 0
    if not 1 <= padding <= min(8, len(body)) or body[-padding:] != bytes((padding,)) * padding:
        return None
    return body[:-padding]


def _without_framing(token: bytes) -> bytes:
    """The token inside RFC 2743's framing (s3.1: tag 60, length, mechanism OID); the token itself where there is none.

    The lengths are not compared with what is there: a token cut short shows in what it holds.
    """
    if token[:1] != b"\x60" or len(token) < 2:
        return token
    length_octets = token[1] & 0x7F if token[1] & 0x80 else 0
    oid_at = 2 + length_octets
    if token[oid_at : oid_at + 1] != b"\x06" or len(token) < oid_at + 2:
        return b""
    return token[oid_at + 2 + token[oid_at + 1] :]
