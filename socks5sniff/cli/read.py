"""`socks5sniff read`: every SOCKS conversation of capture files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import ExitCode, InputError
from socks5sniff.sinks import printing

from .filters import conversation_filter, is_told_early
from .interrupt import Interruption
from .judging import Judge, Silence, judging_options
from .options import each_option, filter_options, port_option
from .output import FilesOutput, is_stream, opened, refuse_terminal
from .pages import Command, Example
from .progress import ProgressBar
from .report import report
from .resuming import keeping
from .working import Working, open_reading, working_options
from .writing import Writing, writing_options

if TYPE_CHECKING:
    from socks5sniff.analysis import Attempt
    from socks5sniff.analysis.reading import UnknownLink
    from socks5sniff.where import Expression

_NAMED = 3
"""Interfaces of unknown link types that are named."""


EXAMPLES = (
    Example("socks5sniff read x.pcapng --outcome rejected,auth-failed --frames", "What the proxy refused, and why."),
    Example("ssh host tcpdump -U -w - tcp | socks5sniff read - --format jsonl", "Another machine's, as they come."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path(), metavar="FILE...")
@click.option("-r", "more", multiple=True, type=click.Path(), hidden=True)  # tcpdump's and tshark's habit
@port_option
@each_option
@writing_options
@filter_options
@judging_options
@working_options
def read(
    files: tuple[str, ...],
    more: tuple[str, ...],
    port: tuple[int, ...],
    each: bool,
    fail_if: Expression | None,
    quiet: bool,
    writing: Writing,
    working: Working,
    **filters: Any,
) -> int:
    """Report every SOCKS conversation in capture files, at any port.

    FILE is a pcap or pcapng file, compressed or not, or - for standard input; a directory, a pattern, @FILE for a
    list of names, or a URL (s3, gs, az, http, ssh). Several files are read as one capture, in time order; files whose
    connections contradict each other are read one after the other.
    """
    files += more
    if not files:
        raise click.UsageError("which capture? Name a pcap or pcapng file, or - for standard input.")
    refuse_terminal(files)
    writing.check(quiet, fail_if is not None)
    name = writing.sink
    from socks5sniff.capture.inputs import expand

    keeper = None
    if writing.dataset is not None:
        asked = {"port": port, "show_passwords": writing.show_passwords, "frames": writing.frames, "each": each}
        keeper = keeping(writing.dataset, writing.show_passwords, files, {**asked, **filters}, writing.resume)
    files = tuple(expand(files)) if keeper is None else keeper.names
    judge = Judge(fail_if)
    wanted = conversation_filter(filters)
    keep = judge.keeping(wanted)
    bar = ProgressBar()
    streaming = any(map(is_stream, files))
    place = writing.dataset or writing.output
    with opened(name, place, files, writing.show_passwords, keeper) as out, Interruption(streaming) as ctrl_c:
        if keeper is not None:
            keeper.listen(ctrl_c)
        options = writing.options(out, files, port, keeper)
        out.before = bar.stop

        def between_batches(done: int, total: int) -> None:
            if keeper is None:  # else the reading is to be kept before it ends
                ctrl_c.check()
            bar.update(done, total, reading.conversations, reading.workers)

        reading = open_reading(
            files,
            working,
            None if fail_if or quiet or writing.excel or not is_told_early(wanted) else printing(name, wanted),
            None if keeper is None or fail_if is not None else keeper.writer(keep),
            ports=port,
            show_passwords=writing.show_passwords,
            udp_frames=writing.frames,
            each=each,
            bypasses=name == "html",
            progress=between_batches,
            keeper=keeper,
        )
        ended = None
        try:
            written = Silence() if quiet else out
            ended = report(reading, name, written, options, keep, ctrl_c, keeper)
            status = judge.status(ended)
            if writing.attempts and not isinstance(written, FilesOutput):
                written.write(_listed(reading.attempts, options.time))
                written.flush()
        finally:
            bar.stop()
            if keeper is not None:
                keeper.end(ended)
    if status == ExitCode.OK and reading.unknown_links:
        raise unreadable(reading.unknown_links)
    return status


def _listed(attempts: Sequence[Attempt], form: str) -> str:
    """Attempts, a line each."""
    from socks5sniff.sinks.clock import Clock

    clock = Clock(form)
    lines = [f"{clock.full(each.start_ns)}  {each.client} > {each.proxy}  {each.outcome}" for each in attempts]
    return "".join(f"{line}\n" for line in ("", *lines)) if lines else ""


def unreadable(links: Sequence[UnknownLink]) -> InputError:
    """The error for interfaces none of whose frames could be read."""
    said = [
        f"{link.capture}: link type {link.link_type}{f' ({link.name})' * bool(link.name)} is not known, so its frames "
        f"cannot be read (the first is frame {link.frame})"
        for link in links[:_NAMED]
    ]
    if len(links) > _NAMED:
        said.append(f"and {len(links) - _NAMED:,} more interfaces")
    return InputError("; ".join(said))
