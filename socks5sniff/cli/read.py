"""`socks5sniff read`: every SOCKS conversation of capture files."""

from __future__ import annotations

import sys
from typing import Any

import click

from .filters import OPTIONS, conversation_filter
from .interrupt import Interruption
from .options import filter_options, output_options, port_option, sink_name
from .output import is_stream, open_output, sink_options
from .progress import ProgressBar
from .report import report


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_options
@port_option
@filter_options
def read(
    files: tuple[str, ...],
    format_: str,
    output: str | None,
    frames: bool,
    show_passwords: bool,
    no_color: bool,
    port: tuple[int, ...],
    **filters: Any,
) -> int:
    """Report every SOCKS conversation in capture files, at any port.

    FILE is a pcap or pcapng file, compressed or not, or - for standard input. Several files are read as one
    capture, in time order. Filters of one kind are alternatives, different kinds must all match.
    """
    if "-" in files and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: give a capture file, or pipe a capture in.")
    name = sink_name(format_, frames)
    keep = conversation_filter({option: filters[option] for option in OPTIONS})
    bar = ProgressBar()
    with open_output(output, files, private=show_passwords) as out, Interruption(any(map(is_stream, files))) as ctrl_c:
        out.before = bar.stop

        def between_batches(done: int, total: int) -> None:
            ctrl_c.check()
            bar.update(done, total)

        from socks5sniff.analysis import read as conversations

        reading = conversations(
            files, ports=port, show_passwords=show_passwords, udp_frames=frames, progress=between_batches
        )
        try:
            options = sink_options(out, files, colour=not no_color, rows=name == "table")
            return report(reading, name, out, options, keep, ctrl_c)
        finally:
            bar.stop()
