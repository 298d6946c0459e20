"""`socks5sniff read`: every SOCKS conversation of capture files."""

from __future__ import annotations

import click


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def read(files: tuple[str, ...]) -> int:
    """Report every SOCKS conversation in capture files."""
    from socks5sniff.analysis import read as conversations

    for conversation in conversations(files):
        click.echo(str(conversation.id))
    return 0
