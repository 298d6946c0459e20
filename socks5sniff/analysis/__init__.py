"""From batches of frames to conversation records."""

from __future__ import annotations

from .analyser import Analyser
from .reading import Reading, read

__all__ = ["Analyser", "Reading", "read"]
