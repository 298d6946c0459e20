"""Figures over conversations: counts, quantiles of every timing step, top destinations, what was open when.

Memory is bounded, whatever is added; the figures of parts merge to those of the whole.
"""

from __future__ import annotations

from .report import report
from .statistics import Statistics

__all__ = ["Statistics", "report"]
