"""`socks5sniff follow`: what one conversation's tunnel carried."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from socks5sniff.errors import OutputError

from .messages import complain
from .options import port_option
from .output import open_output, refuse_terminal
from .pages import Command, Example, grouped
from .surveying import force_option, look_over
from .values import Words

if TYPE_CHECKING:
    from socks5sniff.payload import Chunk, Delivered, Tunnel
    from socks5sniff.payload.rendering import Rendering

MOST_GAPS = 10
"""Gaps that are told one by one."""

EXAMPLES = (
    Example("socks5sniff follow x.pcapng 3", "What conversation 3 carried, both directions."),
    Example("socks5sniff follow x.pcapng 3 --from destination --format raw -o answer", "The destination's octets."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("file", type=click.Path(), metavar="FILE")
@click.argument("number", type=click.IntRange(1), metavar="ID")
@port_option
@click.option(
    "--from",
    "sender",
    type=Words("a sender", lambda: ("client", "destination")),
    metavar="WHO",
    help="Only the octets of the client, or of the destination.",
)
@grouped(
    "Output",
    click.option(
        "--format",
        "format_",
        type=Words("a format", lambda: ("text", "hex", "raw")),
        default="text",
        metavar="NAME",
        help="text, hex, raw. Default: text.",
    ),
    click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, not to standard output."),
    force_option,
    click.option("--no-color", is_flag=True, help="No colours (so does the environment variable NO_COLOR)."),
)
def follow(
    file: str,
    number: int,
    port: tuple[int, ...],
    sender: str | None,
    format_: str,
    output: str | None,
    force: bool,
    no_color: bool,
) -> int:
    """Show the octets that went through a conversation's tunnel, without the handshake, in the order of the capture.

    ID is the number that read shows. Lines of the client begin with >, those of the destination with <, and ! tells of
    octets that are not in the capture. Of a UDP association the datagrams are shown. FILE is read twice; standard input
    is kept in a temporary file meanwhile.
    """
    refuse_terminal([file])
    terminal = output in (None, "-") and sys.stdout is not None and sys.stdout.isatty()
    if terminal and format_ == "raw":
        raise click.UsageError("raw octets are nothing for a terminal: add -o FILE, or pipe them into a program.")
    from socks5sniff.payload import rewindable, second_look
    from socks5sniff.payload.streams import DIRECTIONS, chosen

    with rewindable([file]) as names:
        found = look_over(names, port, lambda c: c.id == number, lambda c: c.id == number)
        tunnel = chosen(found, number, file)
        if tunnel.extent.cut:
            complain(f"{file}: packets of conversation {number} were cut when they were captured (snapshot length)")
        wanted = None if sender is None else DIRECTIONS.index(sender)
        gaps: list[Chunk] = []
        colour = terminal and not no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        pieces = _rendered(second_look(names, [tunnel]), tunnel, wanted, _rendering(format_, colour), gaps)
        if terminal:
            _page(pieces, colour)
        elif output in (None, "-") and format_ != "raw":
            with open_output(None, [file], private=False) as out:
                for piece in pieces:
                    out.write(piece.decode("utf-8"))
                out.flush()
        else:
            _write(pieces, output or "-", force)
        if format_ == "raw":
            _tell(gaps)
    if found.fault is not None:
        raise found.fault
    return 0


def _rendering(format_: str, colour: bool) -> Rendering:
    from socks5sniff.payload.rendering import Hex, Raw, Text

    return Raw() if format_ == "raw" else Hex(colour) if format_ == "hex" else Text(colour)


def _rendered(
    look: Iterator[Delivered], tunnel: Tunnel, wanted: int | None, rendering: Rendering, gaps: list[Chunk]
) -> Iterator[bytes]:
    """What to write, piece by piece; notes the gaps.

    Datagrams on a tunnel's stream are in its chunks as well: there the stream is shown.
    """
    for delivered in look:
        for chunk in delivered.chunks.each():
            if wanted in (None, chunk.direction):
                if chunk.octets is None:
                    gaps.append(chunk)
                yield from rendering.chunk(chunk)
        for datagram in () if tunnel.carries else delivered.datagrams.each():
            if wanted in (None, datagram.direction):
                yield from rendering.datagram(datagram)
    yield from rendering.finish()


def _page(pieces: Iterator[bytes], colour: bool) -> None:
    """Show on the terminal, a page at a time where it is more than one."""
    os.environ.setdefault("LESS", "FRX")
    click.echo_via_pager((piece.decode("utf-8") for piece in pieces), color=colour)


def _write(pieces: Iterator[bytes], output: str, force: bool) -> None:
    from socks5sniff.capture.creating import whole_file

    with whole_file(output, force=force) as file:
        try:
            for piece in pieces:
                file.write(piece)
            file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            where = "standard output" if output == "-" else output
            raise OutputError(f"{where}: {error.strerror or error}") from error


def _tell(gaps: list[Chunk]) -> None:
    """Raw octets have no place for what is missing."""
    from socks5sniff.payload.rendering import gap_text

    for gap in gaps[:MOST_GAPS]:
        complain(gap_text(gap))
    if len(gaps) > MOST_GAPS:
        complain(
            f"and {len(gaps) - MOST_GAPS:,} more gaps, of {sum(max(gap.length, 0) for gap in gaps):,} octets in all"
        )
