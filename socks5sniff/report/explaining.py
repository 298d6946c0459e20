"""Sentences that explain a conversation, where the package can explain."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from socks5sniff.record import Conversation

Explainer = Callable[[Conversation], list[str]]


def explainer() -> Explainer:
    """`socks5sniff.explain.sentences` where there is such a function, else one that says nothing."""
    try:
        sentences: Explainer = import_module("socks5sniff.explain").sentences
    except (ImportError, AttributeError):
        return lambda conversation: []
    return sentences
