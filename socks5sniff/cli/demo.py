"""`socks5sniff demo`: see it work."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from .interrupt import Interruption
from .output import open_output, sink_options
from .pages import Command, Example
from .report import report

FILE = "socks5sniff-demo.pcapng"


EXAMPLES = (
    Example("socks5sniff demo", "See it."),
    Example("socks5sniff demo -o x.pcapng && wireshark x.pcapng", "See it in Wireshark."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help=f"The capture to write. Default: {FILE}.")
def demo(output: str | None) -> int:
    """Start a proxy, servers and clients, record them, and report what they did.

    Everything stays on this machine's loopback, and no rights are needed: the capture is written by the proxy.
    """
    from socks5sniff.analysis import read
    from socks5sniff.errors import OutputError
    from socks5sniff.lab.demo import perform

    path = output or FILE
    try:
        perform(path)
    except OutputError:
        if output is not None:
            raise
        path = str(Path(tempfile.mkdtemp(prefix="socks5sniff-")) / FILE)  # this folder is not the user's
        perform(path)
    with open_output(None, [path], private=False) as out, Interruption(streaming=False) as interruption:
        options = sink_options(out, [path], colour=True, rows=True)
        status = report(read(path), "table", out, options, None, interruption)
        out.flush()
    click.echo(f"\nThe capture is {path}. What to do next:")
    for command, what in (
        (f"socks5sniff read {path} --frames", "every SOCKS frame"),
        (f"socks5sniff read {path} --format jsonl", "every fact, a conversation a line"),
        (f"wireshark {path}", "the packets"),
        ("socks5sniff proxy --capture mine.pcapng", "a proxy of your own, on 127.0.0.1:1080"),
    ):
        click.echo(f"  {command:55} {what}")
    return status
