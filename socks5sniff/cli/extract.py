"""`socks5sniff extract`: what tunnels carried, as files."""

from __future__ import annotations

from typing import Any

import click

from .filters import conversation_filter
from .messages import complain
from .options import filter_options, port_option
from .output import refuse_terminal
from .pages import Command, Example, grouped
from .surveying import force_option, look_over
from .values import Size

EXAMPLES = (
    Example("socks5sniff extract x.pcapng -o out", "Both streams of each tunnel, datagrams, and a manifest."),
    Example("socks5sniff extract x.pcapng -o out -Y 'id == 3' --objects", "Of conversation 3, HTTP bodies as well."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@port_option
@grouped(
    "Output",
    click.option("-o", "--output", required=True, type=click.Path(), metavar="DIR", help="The folder to write."),
    force_option,
    click.option("--fill-holes", is_flag=True, help="Write zeros for octets that are not in the capture."),
    click.option("--objects", is_flag=True, help="Write the bodies of HTTP/1 messages, too."),
    click.option(
        "--max-size", type=Size(), default="1G", show_default=True, metavar="SIZE", help="Octets of a file at most."
    ),
    click.option(
        "--max-files",
        type=click.IntRange(1),
        default=100_000,
        show_default=True,
        metavar="N",
        help="Files at most, the manifest not counted.",
    ),
)
@filter_options
def extract(
    files: tuple[str, ...],
    port: tuple[int, ...],
    output: str,
    force: bool,
    fill_holes: bool,
    objects: bool,
    max_size: int,
    max_files: int,
    **filters: Any,
) -> int:
    """Write what went through tunnels and UDP associations to files, without the handshakes.

    ID.client and ID.destination are the octets of a tunnel's two directions, each once and in order; a datagram is a
    file of its own. DIR/manifest.jsonl says of each file whose octets it holds, how many, their SHA-256, and what is
    missing. FILE is read twice; standard input is kept in a temporary file meanwhile.
    """
    refuse_terminal(files)
    if output == "-":
        raise click.UsageError("-o: many files are nothing for standard output; name a folder.")
    from socks5sniff.capture.inputs import expand
    from socks5sniff.payload import rewindable, second_look
    from socks5sniff.payload.extraction import Extraction, Wanted
    from socks5sniff.payload.files import Limits, whole_folder

    with (
        whole_folder(output, Limits(max_size, max_files), force=force) as folder,
        rewindable(expand(files)) as names,
    ):
        found = look_over(names, port, conversation_filter(filters))
        extraction = Extraction(found.tunnels, folder, Wanted(fill_holes, objects))
        extraction.take(second_look(names, found.tunnels))
        written = folder.write_manifest()
    _tell(written, output, folder.left_out, extraction.unreadable)
    if found.fault is not None:
        raise found.fault
    return 0


def _tell(written: int, output: str, left_out: int, unreadable: int) -> None:
    click.echo(f"{written:,} {'file' if written == 1 else 'files'} and manifest.jsonl in {output}")
    if left_out:
        complain(f"{left_out:,} files were not written, because there would have been too many: see --max-files")
    if unreadable:
        what = "1 conversation" if unreadable == 1 else f"{unreadable:,} conversations"
        complain(f"the HTTP of {what} could not be read to its end: it is no HTTP/1, or octets are missing")
