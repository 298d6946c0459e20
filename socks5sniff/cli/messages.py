"""What the user is told beside the report."""

from __future__ import annotations

import sys
from contextlib import suppress

from socks5sniff.codec.text import escape_text


def complain(message: str) -> None:
    """One line on stderr, whatever a file name or an octet from the wire put into it."""
    if sys.stderr is None:  # closed by whoever started this; print() would take standard output instead
        return
    with suppress(OSError):
        print(f"socks5sniff: {escape_text(message)}", file=sys.stderr)
