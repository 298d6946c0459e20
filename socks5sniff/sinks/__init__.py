"""Writing conversations: a terminal table, JSON, CSV, Zeek's socks.log, an access log, Parquet, a list of frames.

`open_sink(format, out, options)` gives a `Sink`; hand it each conversation as it comes, then close it.
"""

from __future__ import annotations

from .parts import writing
from .sink import FORMATS, Files, Lasting, Options, Row, Sink, Totals, Unfinished, Writer, open_sink, printing

__all__ = [
    "FORMATS",
    "Files",
    "Lasting",
    "Options",
    "Row",
    "Sink",
    "Totals",
    "Unfinished",
    "Writer",
    "open_sink",
    "printing",
    "writing",
]
