"""`socks5sniff verify`: a capture through our pipeline and through tshark, and where they differ."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from socks5sniff.errors import ExitCode

from .pages import Command, Example
from .values import Ports, Words, joined

if TYPE_CHECKING:
    from socks5sniff.dissector.verify import Comparison


EXAMPLES = (
    Example("socks5sniff verify x.pcapng", "Whether both readings agree."),
    Example("socks5sniff verify x.pcapng --against builtin", "What Wireshark's own dissector reads otherwise."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option(
    "--against",
    type=Words("a dissector", lambda: ("lua", "builtin")),
    default="lua",
    show_default=True,
    help="tshark with this project's Lua dissector, or with Wireshark's own.",
)
@click.option("--format", "form", type=Words("a format", lambda: ("table", "json")), default="table", show_default=True)
@click.option("--port", "ports", type=Ports(), callback=joined, multiple=True, help="A further proxy port. Repeatable.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each pass of tshark may take before it is ended.",
)
def verify(file: str, against: str, form: str, ports: tuple[int, ...], timeout: float) -> int:
    """Compare our reading of FILE with tshark's, frame by frame.

    The exit status is 0 when all agree and 8 when anything differs.
    """
    from socks5sniff.dissector.verify import verify as compare

    found = compare(file, against, ports, timeout)
    click.echo(_as_json(found) if form == "json" else _as_table(found))
    return ExitCode.DIFFERENCE if found.differences else ExitCode.OK


def _as_json(found: Comparison) -> str:
    plain = {**found._asdict(), "differences": [difference._asdict() for difference in found.differences]}
    return json.dumps(plain, indent=2)


def _as_table(found: Comparison) -> str:
    theirs = "tshark with our Lua" if found.against == "lua" else "tshark's own dissector"
    total = f"{found.capture}: {found.conversations} conversations, {found.frames} frames, against {theirs}: "
    if not found.differences:
        return total + "all agree"
    from tabulate import tabulate

    from socks5sniff.codec import escape_text

    rows = [
        [d.stream, d.depth, d.frame, d.type, d.field, *(escape_text(value or "-") for value in (d.ours, d.theirs))]
        for d in found.differences
    ]
    headers = ["stream", "depth", "frame", "type", "field", "socks5sniff", "tshark"]
    table = tabulate(rows, headers, disable_numparse=True)
    return f"{table}\n{total}{len(rows)} differences"
