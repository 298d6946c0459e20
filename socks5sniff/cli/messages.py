"""What the user is told beside the report."""

from __future__ import annotations

import sys
from contextlib import suppress

from socks5sniff.codec.text import escape_text

ISSUES = "https://github.com/socks5sniff/socks5sniff/issues"
"""Where errors of this program are reported."""


def own_fault(count: int, first: str) -> str:
    """What to say of errors of this program that were contained: how many, the first, and how to report it."""
    many = "an error" if count == 1 else f"{count:,} errors, the first of them"
    return (
        f"{many} in socks5sniff itself: {first}; everything else was analysed (conversations that it has touched have "
        f"the anomaly internal-error). Please report this line, if you can with the capture: {ISSUES}"
    )


def complain(message: str) -> None:
    """One line on stderr, whatever a file name or an octet from the wire put into it."""
    if sys.stderr is None:  # closed by whoever started this; print() would take standard output instead
        return
    with suppress(OSError):
        print(f"socks5sniff: {escape_text(message)}", file=sys.stderr)
