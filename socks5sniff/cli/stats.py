"""`socks5sniff stats`: figures over the conversations of capture files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .filters import conversation_filter
from .gathering import gather
from .judging import Judge, judging_options
from .options import each_option, filter_options, port_option
from .output import open_output
from .pages import Command, Example, grouped
from .values import Words
from .working import Working, working_options

if TYPE_CHECKING:
    from socks5sniff.where import Expression

EXAMPLES = (
    Example("socks5sniff stats x.pcapng", "Outcomes, destinations, and how long each proxy took for each step."),
    Example("socks5sniff stats *.pcapng -Y 'reply.code == 5' --format json", "The same for some, for a program."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@port_option
@each_option
@grouped(
    "Output",
    click.option(
        "--format",
        "format_",
        type=Words("a format", lambda: ("table", "json")),
        default="table",
        metavar="NAME",
        help="table, json. Default: table.",
    ),
    click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, not to standard output."),
    click.option(
        "--top", type=click.IntRange(1), metavar="N", help="Names and destinations to show of each kind. Default: 10."
    ),
)
@filter_options
@judging_options
@working_options
def stats(
    files: tuple[str, ...],
    port: tuple[int, ...],
    each: bool,
    format_: str,
    output: str | None,
    top: int | None,
    fail_if: Expression | None,
    quiet: bool,
    working: Working,
    **filters: Any,
) -> int:
    """Count the SOCKS conversations in capture files: outcomes, replies, clients, destinations, times, octets.

    Several files are read as one capture, in time order. Times of each step are quantiles by proxy, interpolated, and
    exact up to a million conversations; above that they are within half a percent.
    """
    if quiet and output:
        raise click.UsageError("--quiet and -o exclude each other.")
    from socks5sniff.stats import Statistics, report
    from socks5sniff.stats.report import SHOWN
    from socks5sniff.stats.statistics import TOP

    judge = Judge(fail_if)
    figures = Statistics()
    with open_output(output, files, private=False) as out:
        gathered = gather(
            files,
            port,
            judge.keeping(conversation_filter(filters)),
            figures.add,
            out,
            each=each,
            working=working,
            tally=figures if fail_if is None else None,
        )
        figures.packets = gathered.packets
        for attempts in gathered.attempts:
            figures.attempt(*attempts)
        if not quiet:
            if format_ == "json":
                out.write(json.dumps(figures.as_dict(top or TOP), indent=2) + "\n")
            else:
                out.write(report(figures.as_dict(), top or SHOWN))
            out.flush()
    if gathered.fault is not None:
        raise gathered.fault
    return judge.status(gathered.status)
