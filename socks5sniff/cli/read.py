"""`socks5sniff read`: every SOCKS conversation of capture files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import ExitCode, InputError
from socks5sniff.sinks import printing

from .filters import conversation_filter, is_told_early
from .interrupt import Interruption
from .judging import Judge, Silence, judging_options
from .options import check_output, each_option, filter_options, html_options, output_options, port_option, sink_name
from .output import FilesOutput, is_stream, opened, refuse_terminal, sink_options
from .pages import Command, Example, grouped
from .progress import ProgressBar
from .report import report
from .resuming import keeping
from .working import Working, open_reading, working_options

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
@output_options
@html_options
@grouped(
    "Output",
    click.option(
        "--attempts",
        is_flag=True,
        help="List connections to proxies that were refused, not answered, or closed before a greeting (table).",
    ),
)
@filter_options
@judging_options
@working_options
def read(
    files: tuple[str, ...],
    more: tuple[str, ...],
    format_: str,
    output: str | None,
    dataset: str | None,
    resume: bool,
    frames: bool,
    columns: tuple[str, ...] | None,
    excel: bool,
    time: str | None,
    show_passwords: bool,
    no_color: bool,
    max_rows: int | None,
    attempts: bool,
    port: tuple[int, ...],
    each: bool,
    fail_if: Expression | None,
    quiet: bool,
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
    name = sink_name(format_, frames, output, dataset)
    check_output("parquet" if dataset else format_, columns=columns, time=time, excel=excel)
    for wrong, why in (
        (columns and frames, "--columns are the conversations', --frames lists frames."),
        (quiet and (output or dataset), f"--quiet and {'-o' if output else '--dataset'} exclude each other."),
        (attempts and name != "table", "--attempts goes with --format table."),
        (max_rows is not None and name != "html", "--max-rows goes with --format html."),
        (resume and not dataset, "--resume goes with --dataset."),
        (resume and fail_if, "--resume and --fail-if, which judges a whole reading, exclude each other."),
    ):
        if wrong:
            raise click.UsageError(why)
    from socks5sniff.capture.inputs import expand

    keeper = None
    if dataset is not None:
        asked = {"port": port, "show_passwords": show_passwords, "frames": frames, "each": each, **filters}
        keeper = keeping(dataset, show_passwords, files, asked, resume)
    files = tuple(expand(files)) if keeper is None else keeper.names
    judge = Judge(fail_if)
    wanted = conversation_filter(filters)
    keep = judge.keeping(wanted)
    bar = ProgressBar()
    streaming = any(map(is_stream, files))
    with opened(name, dataset or output, files, show_passwords, keeper) as out, Interruption(streaming) as ctrl_c:
        if keeper is not None:
            keeper.listen(ctrl_c)
        if name == "html" and out.is_terminal:
            raise click.UsageError("a page is nothing for a terminal: add -o FILE.")
        out.before = bar.stop

        def between_batches(done: int, total: int) -> None:
            if keeper is None:  # else the reading is to be kept before it ends
                ctrl_c.check()
            bar.update(done, total, reading.conversations, reading.workers)

        reading = open_reading(
            files,
            working,
            None if fail_if or quiet or excel or not is_told_early(wanted) else printing(name, wanted),
            None if keeper is None or fail_if is not None else keeper.writer(keep),
            ports=port,
            show_passwords=show_passwords,
            udp_frames=frames,
            each=each,
            bypasses=name == "html",
            progress=between_batches,
            keeper=keeper,
        )
        ended = None
        try:
            options = replace(
                sink_options(out, files, colour=not no_color, rows=name in ("table", "html")),
                time=time or "utc",
                columns=columns or (),
                excel=excel,
                inputs=files,
                command=(*sys.argv[1:],),
                ports=port,
            )
            if max_rows is not None:
                options = replace(options, max_rows=max_rows)
            if keeper is not None:
                options = keeper.options(options)
            written = Silence() if quiet else out
            ended = report(reading, name, written, options, keep, ctrl_c, keeper)
            status = judge.status(ended)
            if attempts and not isinstance(written, FilesOutput):
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
