"""Changes of octets that are likely to matter: lengths, codes, cuts, repetitions, and text dangerous to show."""

from __future__ import annotations

from random import Random

ODD = (0, 1, 2, 3, 4, 5, 6, 0x0A, 0x1B, 0x20, 0x2F, 0x3D, 0x5A, 0x7F, 0x80, 0x90, 0xC0, 0xF0, 0xFE, 0xFF)
"""Octets that are codes, limits or signs somewhere."""

DANGEROUS = (
    b"=cmd|' /C calc'!A0",
    b"+1+1",
    b"@SUM(A1)",
    b"-2+3",
    b"\t=1",
    "\uff1d1".encode(),
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"\x9b2J",
    b"two\r\nlines\n",
    "\u202egnp.exe".encode(),
    "\u2066\u200b\ufeff\u2028".encode(),
    b"\xed\xa0\x80\xff\xfe",
    b"\0nul\0",
    b"a\tb,c;d\"e'f",
    b"</script><script>alert(1)</script><!--",
    b"\\x1b\\n%s%n{0}",
    "xn--\u00e9\u4e2d\U0001f600e\u0301".encode(),
    b"#fields\t-",
    b"(empty)",
)
"""Names that somebody would like a terminal, a spreadsheet, a page or a log to take for something else."""


def mutated(octets: bytes, chance: Random, most: int = 4) -> bytes:
    """The octets with one to `most` changes."""
    changed = bytearray(octets)
    for _ in range(chance.randint(1, most)):
        _change(changed, chance)
    return bytes(changed)


def _change(octets: bytearray, chance: Random) -> None:
    at = chance.randrange(len(octets) + 1)
    size = chance.choice((1, 1, 1, 2, 2, 4, 4, 8, 20, 300))
    kind = chance.randrange(9)
    if kind <= 2 and at < len(octets):
        octets[at] = chance.choice(ODD) if kind else octets[at] ^ 1 << chance.randrange(8)
    elif kind == 3 and at < len(octets):
        octets[at] = (octets[at] + chance.choice((-1, 1))) & 0xFF
    elif kind == 4:
        del octets[at : at + size]
    elif kind == 5:
        octets[at:at] = chance.randbytes(size)
    elif kind == 6:
        octets[at:at] = octets[at : at + size]
    elif kind == 7 and chance.randrange(4):
        value = chance.choice((0, 1, 0x7F, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(octets)))
        width = chance.choice((2, 4))
        octets[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, chance.choice(("big", "little")))
    else:
        del octets[at:]
