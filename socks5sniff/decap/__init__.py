"""Captures as they would have been without the proxy: what tunnels and relays carried, as plain TCP and UDP."""

from __future__ import annotations

from .conversion import Decapped, decap, innermost

__all__ = ["Decapped", "decap", "innermost"]
