"""`socks5sniff interfaces`: where one could capture, and whether one may."""

from __future__ import annotations

import click

from socks5sniff.codec.text import escape_text
from socks5sniff.errors import ExitCode

from .pages import Command, Example

EXAMPLES = (
    Example("socks5sniff interfaces", "Where you may capture, and what stands against it."),
    Example("sudo socks5sniff interfaces", "Where root may."),
)


@click.command(cls=Command, examples=EXAMPLES)
def interfaces() -> int:
    """List interfaces with addresses, link type, state, and whether you may capture there."""
    from tabulate import tabulate

    from socks5sniff.live.interfaces import list_interfaces

    rows = []
    for found in list_interfaces():
        name = f"{found.name} ({found.description})" if found.description else found.name
        cells = (
            name,
            "loopback" if found.loopback else "",
            "up" if found.up else "down",
            found.link_type,
            " ".join(found.addresses),
            found.problem or "yes",
        )
        rows.append([escape_text(cell) for cell in cells])
    headers = ("interface", "kind", "state", "link type", "addresses", "may capture")
    click.echo(tabulate(rows, headers, disable_numparse=True))
    return ExitCode.OK
