"""The page: one HTML text with its styles, scripts and data inside, which asks nobody for anything.

Whatever came from a wire lies in the data, which is base64, or is escaped; a Content-Security-Policy allows the
page's own scripts and styles by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from socks5sniff.codec.text import escape_text

SCRIPTS = (
    "text.js", "languages.js", "columns.js", "community.js", "networks.js", "keys.js", "syntax.js", "operators.js",
    "source.js", "where.js", "figures.js", "charts.js", "table.js", "sequence.js", "ladder.js", "besides.js", "live.js",
    "page.js",
)  # fmt: skip
"""In the order in which they run; each one makes one name that those after it use."""
STYLES = ("uplot.css", "page.css")
NOWHERE, HERE = "'none'", "'self'"
"""Where a page may connect to, as a Content-Security-Policy says it."""
Summary = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""What a browser without scripts shows: headings, each with rows of a name and a value."""
_LINE = 4096
"""Characters of base64 a line, so that an editor can open the file."""


@cache
def asset(name: str) -> str:
    """The text of a file of the folder `assets`."""
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


@cache
def plotter() -> str:
    return asset("uplot.js").rstrip() + "\n/*\n" + asset("uplot-LICENSE").strip() + "\n*/\n"


@cache
def program() -> str:
    """The page's own script: all of `SCRIPTS` in one scope."""
    return '(() => {\n"use strict";\n' + "\n".join(asset(name) for name in SCRIPTS) + "})();\n"


@cache
def style() -> str:
    return "\n".join(asset(name) for name in STYLES)


def policy(connect: str) -> str:
    """The Content-Security-Policy; a page in a file need not connect to anywhere."""
    scripts = " ".join(f"'{_hash(text)}'" for text in (plotter(), program()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src '{_hash(style())}'; img-src data:;"
        f" connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def page(data: bytes, title: str, summary: Summary, connect: str = NOWHERE) -> Iterator[str]:
    """The page's text, in pieces.

    Args:
        data: a container (see `columns`).
        title: the document's title.
        summary: what a browser without scripts shows.
        connect: NOWHERE or HERE.
    """
    before, after = asset("page.html").split("$data")
    values = {
        "policy": escape(policy(connect), quote=True),
        "title": escape(escape_text(title)),
        "style": style(),
        "plotter": plotter(),
        "program": program(),
        "summary": _without_scripts(summary),
    }
    yield Template(before).substitute(values)
    text = base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")
    for begin in range(0, len(text), _LINE):
        yield text[begin : begin + _LINE] + "\n"
    yield Template(after).substitute(values)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _without_scripts(summary: Summary) -> str:
    parts = []
    for heading, rows in summary:
        parts.append(f"<h2>{_shown(heading)}</h2>\n<table>")
        parts += [f"<tr><th scope=row>{_shown(name)}<td>{_shown(value)}" for name, value in rows]
        parts.append("</table>")
    return "\n".join(parts)


def _shown(text: str) -> str:
    return escape(escape_text(text))
