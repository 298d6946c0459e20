"""Captures fit to be shared: secrets overwritten in place, everything else as it was."""

from __future__ import annotations

from .run import Options, Outcome, sanitize

__all__ = ["Options", "Outcome", "sanitize"]
