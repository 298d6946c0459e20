"""From batches of frames to conversation records."""

from __future__ import annotations

from .analyser import Analyser
from .attempts import Attempt
from .bypass import Bypass, Bypasses
from .reading import Reading, read

__all__ = ["Analyser", "Attempt", "Bypass", "Bypasses", "Reading", "read"]
