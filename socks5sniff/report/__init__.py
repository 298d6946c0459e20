"""The HTML report: `Report` takes conversations and gives one self-contained page, made of what lies in `assets`.

`columns` packs records, `figures` counts those that the page does not hold, `page` puts the text together. The page
also serves `live --web`, which feeds it by server-sent events.
"""

from __future__ import annotations

from .report import MAX_ROWS, Report, live_page, page_policy

__all__ = ["MAX_ROWS", "Report", "live_page", "page_policy"]
