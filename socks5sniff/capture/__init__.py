"""Sources of frame batches (capture files, pipes), and the writing of capture files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import FrameBatch, Interface
    from .merge import open_captures
    from .writer import PcapngWriter

__all__ = ["FrameBatch", "Interface", "PcapngWriter", "open_captures"]

_HOMES = {"FrameBatch": "batch", "Interface": "batch", "PcapngWriter": "writer", "open_captures": "merge"}


def __getattr__(name: str) -> Any:
    """Imports on first use: writing needs no numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
