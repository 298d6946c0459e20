"""Conversations told as an expert would: what was said, what is wrong, why that mostly is so, and what to try next.

`findings` is about one conversation, `ladder` draws it, `Overview` is about a whole capture.
"""

from __future__ import annotations

from .findings import Finding, findings
from .ladder import ladder
from .overview import Overview
from .text import conversation_text, overview_text

__all__ = ["Finding", "Overview", "conversation_text", "findings", "ladder", "overview_text"]
