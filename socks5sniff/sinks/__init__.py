"""Writing conversations: a terminal table, JSON, CSV, Zeek's socks.log, an access log, a list of frames.

`open_sink(format, out, options)` gives a `Sink`; hand it each conversation as it comes, then close it.
"""

from __future__ import annotations

from .sink import FORMATS, Options, Sink, Totals, Writer, open_sink

__all__ = ["FORMATS", "Options", "Sink", "Totals", "Writer", "open_sink"]
