"""Captures fit to be shared: secrets overwritten in place, everything else as it was."""

from __future__ import annotations

from .options import Options
from .run import Outcome, sanitize

__all__ = ["Options", "Outcome", "sanitize"]
