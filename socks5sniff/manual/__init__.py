"""The manual: one Markdown file for each topic, which `socks5sniff help TOPIC` shows.

A topic is a file beside this module, `NAME.md`, that begins with its title; a translation of the README is
`README.LANGUAGE.md` and its topic's name the language.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def titles() -> dict[str, str]:
    """Each topic's title, by its name, in the order of the names."""
    return {name: page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for name, page in _pages()}


def text(topic: str) -> str:
    """The Markdown of a topic.

    Raises:
        KeyError: there is no such topic.
    """
    return dict(_pages())[topic].read_text(encoding="utf-8")


def _pages() -> list[tuple[str, Path]]:
    return sorted((page.stem.removeprefix("README."), page) for page in FOLDER.glob("*.md"))
