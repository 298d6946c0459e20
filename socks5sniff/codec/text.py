"""Octets and strings from the wire, made safe to read.

`decode_text` turns octets of no declared character set into a string, `escape_text` makes any string safe for a
terminal, a log line or a table cell. A record keeps the decoded string; escaping is the last step on the way out.
"""

from __future__ import annotations

import codecs

codecs.lookup("unicode_escape")  # loaded now: a program that gives up its rights may not read the library later


def decode_text(octets: bytes) -> str:
    r"""Octets as UTF-8; those that are not valid UTF-8 as `\xNN`. Never raises."""
    return octets.decode("utf-8", "backslashreplace")


def escape_text(text: str) -> str:
    r"""`text` with everything that does not print as itself shown as an escape: `\n`, `\x1b`, `\u202e`.

    That is Python's `str.isprintable`: control characters (newlines and the start of ANSI sequences among them),
    format characters such as bidirectional marks and zero-width ones, lone surrogates, separators other than the
    space, private-use and unassigned code points. Text that prints comes back unchanged, a backslash included.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
