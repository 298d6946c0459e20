"""`socks5sniff decap`: a capture as it would have been without the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import ExitCode, Socks5sniffError
from socks5sniff.sinks.words import counted

from .filters import conversation_filter
from .messages import complain
from .options import filter_options, port_option
from .output import refuse_input, refuse_terminal
from .pages import Command, Example, grouped
from .progress import ProgressBar
from .surveying import capture_option, force_option, look_over

if TYPE_CHECKING:
    from socks5sniff.decap import Decapped
    from socks5sniff.payload import Survey

EXAMPLES = (
    Example("socks5sniff decap x.pcapng -o plain.pcapng", "All tunnels, as plain TCP and UDP."),
    Example("socks5sniff decap x.pcapng -o - --client 10.0.0.7 | tshark -r - -Y http", "One client's, for a program."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@port_option
@grouped(
    "Output",
    capture_option,
    click.option("--keep-others", is_flag=True, help="Copy all other frames, too, as they are."),
    force_option,
)
@filter_options
def decap(
    files: tuple[str, ...], port: tuple[int, ...], output: str, keep_others: bool, force: bool, **filters: Any
) -> int:
    """Write a capture as it would have been had there been no proxy.

    What tunnels carried becomes plain TCP between the client and the destination, relayed datagrams become plain UDP;
    of proxies behind each other only the last one's tunnel is left. Names get addresses of 198.18.0.0/15 or
    2001:db8::/32, the same ones each time, which the file names.
    """
    refuse_terminal(files, output)
    from socks5sniff.capture.creating import whole_file
    from socks5sniff.capture.inputs import expand
    from socks5sniff.decap import decap as write
    from socks5sniff.payload import rewindable

    files = tuple(expand(files))
    refuse_input(output, files)
    bar = ProgressBar()
    with whole_file(output, force=force) as file, rewindable(files) as names:
        found = look_over(names, port, conversation_filter(filters))
        if not (keep_others or any(tunnel.carries or tunnel.datagram_count for tunnel in found.tunnels)):
            raise found.fault or _nothing(found)
        try:
            done = write(names, found.tunnels, file, others=keep_others, progress=bar.update)
        finally:
            bar.stop()
    for line in _short(done):
        complain(line)
    if output != "-":
        click.echo(f"{_written(done)} in {output}")
    if found.fault is not None:
        raise found.fault
    return ExitCode.OK


def _nothing(found: Survey) -> Socks5sniffError:
    there = counted(found.conversations, "conversation")
    if len(found.tunnels) != found.conversations:
        there += f", {len(found.tunnels):,} of them wanted"
    return Socks5sniffError(f"nothing to write: of {there}, none carried anything")


def _written(done: Decapped) -> str:
    said = f"{counted(done.connections, 'connection')} and {counted(done.datagrams, 'datagram')}"
    return said + f", {counted(done.others, 'other frame')}" * bool(done.others)


def _short(done: Decapped) -> Iterator[str]:
    """What could not be written, and what may surprise."""
    if done.gaps:
        there = counted(done.gaps, "connection")
        yield f"octets of {there} are not in the capture, and missing in the sequence numbers"
    if done.unread:
        yield f"{counted(done.unread, 'tunnel')} inside GSSAPI cannot be read, or not to the end"
    if done.lost:
        yield f"{counted(done.lost, 'datagram')} in fragments that are not all there, or too long, left out"
    if done.shared:
        yield f"{counted(done.shared, 'name')} had to take the address of another: there are no more"
    if done.mixed:
        yield "frames of several link types are in the file, which programs other than Wireshark's may not read"
