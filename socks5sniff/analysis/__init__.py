"""From batches of frames to conversation records."""

from __future__ import annotations

from .analyser import Analyser
from .attempts import Attempt
from .bypass import Bypass, Past
from .reading import Reading, read

__all__ = ["Analyser", "Attempt", "Bypass", "Past", "Reading", "read"]
