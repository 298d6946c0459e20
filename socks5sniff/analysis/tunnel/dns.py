"""The question of a DNS message, and what became of it (RFC 1035 s4.1)."""

from __future__ import annotations

from typing import NamedTuple

from socks5sniff.codec import decode_text

_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR",
    43: "DS", 48: "DNSKEY", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 252: "AXFR", 255: "ANY",
}  # fmt: skip
_CLASSES = frozenset({1, 3, 4, 255})
_CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class Question(NamedTuple):
    """What is asked for."""

    id: int
    name: str
    type: int

    def __str__(self) -> str:
        return f"{_TYPES.get(self.type, f'TYPE{self.type}')} {self.name}"


def question(octets: bytes) -> Question | None:
    """The one question of a query (its opcode QUERY, nothing answered); None where the octets are none."""
    if len(octets) < 17 or octets[2] & 0xF8 or octets[4:10] != b"\0\1\0\0\0\0":
        return None
    return _question(octets)


def outcome(octets: bytes, asked: Question) -> str | None:
    """`NOERROR, 2 answers` out of the answer to a question; None where the octets are not that."""
    if len(octets) < 12 or octets[2] & 0xF8 != 0x80 or octets[:2] != asked.id.to_bytes(2, "big"):
        return None
    code = octets[3] & 15
    count = octets[6] << 8 | octets[7]
    name = _CODES.get(code, f"RCODE{code}")
    return f"{name}, {count} answer{'' if count == 1 else 's'}" if code == 0 else name


def _question(octets: bytes) -> Question | None:
    labels = []
    at = 12
    while at < len(octets) and octets[at]:
        if octets[at] > 63 or at > 12 + 255:
            return None
        labels.append(octets[at + 1 : at + 1 + octets[at]])
        at += 1 + octets[at]
    if at + 5 > len(octets):
        return None
    kind, kind_class = (octets[at + i] << 8 | octets[at + i + 1] for i in (1, 3))
    if kind_class & 0x7FFF not in _CLASSES or not kind:
        return None
    name = decode_text(b".".join(labels)) or "."
    return Question(octets[0] << 8 | octets[1], name, kind)
