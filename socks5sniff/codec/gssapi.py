"""Reading a GSSAPI wrap token that protects integrity only.

After the level negotiation of RFC 1961 s4 the SOCKS request, its reply and the tunnel travel in wrap tokens. Where
confidentiality was not negotiated, a Kerberos token carries the plaintext, and it can be read without any key.
"""

from __future__ import annotations

_TOKEN_RFC4121 = b"\x05\x04"
_TOKEN_RFC1964 = b"\x02\x01"
_SEALED = 0x02
_SIGN_ALGORITHM_DES3 = b"\x04\x00"


Spans = tuple[tuple[int, int], ...]
"""Where octets lie: begin and end of each part, in the order in which the parts follow each other."""


def unwrap_readable(token: bytes) -> bytes | None:
    """The plaintext of a Kerberos wrap token that is not sealed; None when it is sealed or no such token."""
    spans = readable_spans(token)
    return None if spans is None else b"".join([token[begin:end] for begin, end in spans])


def readable_spans(token: bytes) -> Spans | None:
    """Where in a token the plaintext is that `unwrap_readable` gives."""
    if token[:2] == _TOKEN_RFC4121:
        return _rfc4121_spans(token)
    at = _behind_framing(token)
    return _rfc1964_spans(token, at) if token[at : at + 2] == _TOKEN_RFC1964 else None


def _rfc4121_spans(token: bytes) -> Spans | None:
    """RFC 4121 s4.2.6.2: TOK_ID, flags, filler FF, EC, RRC, SND_SEQ, then plaintext and checksum, rotated."""
    if len(token) < 16 or token[2] & _SEALED or token[3] != 0xFF:
        return None
    checksum_length = int.from_bytes(token[4:6], "big")
    length = len(token) - 16
    if checksum_length > length:
        return None
    # The sender rotated the body to the right by RRC octets (s4.2.5); RRC may exceed its length.
    rotation = int.from_bytes(token[6:8], "big") % length if length else 0
    plain = length - checksum_length
    first = min(plain, length - rotation)
    return (16 + rotation, 16 + rotation + first), (16, 16 + plain - first)


def _rfc1964_spans(token: bytes, at: int) -> Spans | None:
    """RFC 1964 s1.2.2: TOK_ID, SGN_ALG, SEAL_ALG, filler, SND_SEQ, SGN_CKSUM, confounder, plaintext, padding."""
    if token[at + 4 : at + 8] != b"\xff\xff\xff\xff":
        return None
    checksum_length = 20 if token[at + 2 : at + 4] == _SIGN_ALGORITHM_DES3 else 8
    begin = at + 16 + checksum_length + 8
    body = token[begin:]
    # Padding of 1 to 8 octets, each of which holds their number, is always there.
    padding = body[-1] if body else 0
    if not 1 <= padding <= min(8, len(body)) or body[-padding:] != bytes((padding,)) * padding:
        return None
    return ((begin, len(token) - padding),)


def _behind_framing(token: bytes) -> int:
    """Where the token inside RFC 2743's framing begins (s3.1: tag 60, length, mechanism OID); 0 where there is none.

    The lengths are not compared with what is there: a token cut short shows in what it holds.
    """
    if token[:1] != b"\x60" or len(token) < 2:
        return 0
    length_octets = token[1] & 0x7F if token[1] & 0x80 else 0
    oid_at = 2 + length_octets
    if token[oid_at : oid_at + 1] != b"\x06" or len(token) < oid_at + 2:
        return len(token)
    return oid_at + 2 + token[oid_at + 1]
