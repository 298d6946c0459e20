"""What explains a conversation, where the package can explain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol

from socks5sniff.record import Conversation


class Finding(Protocol):
    """One thing worth knowing about a conversation."""

    @property
    def code(self) -> str: ...

    @property
    def severity(self) -> str:
        """`error`, `warning` or `note`."""

    @property
    def sentence(self) -> str: ...

    @property
    def frames(self) -> Sequence[int]:
        """Numbers of the frames that show it."""

    @property
    def causes(self) -> Sequence[str]:
        """Likeliest first."""

    @property
    def advice(self) -> str:
        """What to try next."""


Explainer = Callable[[Conversation], Sequence[Finding]]


def explainer() -> Explainer:
    """`socks5sniff.explain.findings` where there is such a function, else one that finds nothing."""
    try:
        findings: Explainer = import_module("socks5sniff.explain").findings
    except (ImportError, AttributeError):
        return lambda conversation: []
    return findings
