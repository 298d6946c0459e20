"""`socks5sniff read`: every SOCKS conversation of capture files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from socks5sniff.errors import ExitCode, InputError

from .filters import OPTIONS, conversation_filter
from .interrupt import Interruption
from .options import filter_options, html_options, output_options, port_option, sink_name
from .output import is_stream, open_output, sink_options
from .progress import ProgressBar
from .report import report

_NAMED = 3
"""Interfaces of unknown link types that are named."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_options
@html_options
@port_option
@filter_options
def read(
    files: tuple[str, ...],
    format_: str,
    output: str | None,
    frames: bool,
    show_passwords: bool,
    no_color: bool,
    max_rows: int | None,
    port: tuple[int, ...],
    **filters: Any,
) -> int:
    """Report every SOCKS conversation in capture files, at any port.

    FILE is a pcap or pcapng file, compressed or not, or - for standard input. Several files are read as one
    capture, in time order. Filters of one kind are alternatives, different kinds must all match.
    """
    if "-" in files and sys.stdin is not None and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: give a capture file, or pipe a capture in.")
    name = sink_name(format_, frames)
    if max_rows is not None and name != "html":
        raise click.UsageError("--max-rows goes with --format html.")
    keep = conversation_filter({option: filters[option] for option in OPTIONS})
    bar = ProgressBar()
    with open_output(output, files, private=show_passwords) as out, Interruption(any(map(is_stream, files))) as ctrl_c:
        if name == "html" and out.is_terminal:
            raise click.UsageError("a page is nothing for a terminal: add -o FILE.")
        out.before = bar.stop

        def between_batches(done: int, total: int) -> None:
            ctrl_c.check()
            bar.update(done, total)

        from socks5sniff.analysis import read as conversations

        reading = conversations(
            files, ports=port, show_passwords=show_passwords, udp_frames=frames, progress=between_batches
        )
        try:
            options = sink_options(out, files, colour=not no_color, rows=name in ("table", "html"))
            options = replace(options, inputs=files, command=(*sys.argv[1:],), ports=port)
            if max_rows is not None:
                options = replace(options, max_rows=max_rows)
            status = report(reading, name, out, options, keep, ctrl_c)
        finally:
            bar.stop()
    if status == ExitCode.OK and reading.unknown_links:
        raise _unreadable(reading.unknown_links)
    return status


def _unreadable(links: Sequence[tuple[str, int, int]]) -> InputError:
    """The error for interfaces (capture, link type, first frame) none of whose frames could be read."""
    said = [
        f"{capture}: link type {link_type} is not known, so its frames cannot be read (the first is frame {frame})"
        for capture, link_type, frame in links[:_NAMED]
    ]
    if len(links) > _NAMED:
        said.append(f"and {len(links) - _NAMED:,} more interfaces")
    return InputError("; ".join(said))
