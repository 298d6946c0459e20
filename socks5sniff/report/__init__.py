"""The HTML report: `Report` takes conversations and gives one self-contained page; `assets` is what the page is made of.

`columns` packs records, `figures` counts those that the page does not hold, `page` puts the text together. The page
also serves `live --web`, which feeds it by server-sent events.
"""

from __future__ import annotations

from .page import live_page
from .report import MAX_ROWS, Report, empty

__all__ = ["MAX_ROWS", "Report", "empty", "live_page"]
