"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from socks5sniff.codec.codes import ANOMALIES, COMMANDS
from socks5sniff.sinks.clock import FORMS

from .filters import OUTCOMES, SEVERITIES
from .pages import grouped
from .values import Condition, Ports, Words, joined

Command = TypeVar("Command", bound=Callable[..., Any])

RECORDS = ("json", "jsonl", "csv", "zeek", "accesslog", "parquet")
"""Formats for other programs; their times are UTC, whatever --time says."""
_ENDPOINT = "ADDRESS, CIDR, HOST, HOST:PORT or :PORT; * and ? are wildcards. Repeatable."


def each_option(command: Command) -> Command:
    """`--each`, for commands that take several captures."""
    decorated: Command = grouped(
        "Input",
        click.option(
            "--each",
            is_flag=True,
            help="Read every file by itself. Default: as one capture, as far as files do not contradict each other.",
        ),
    )(command)
    return decorated


def filter_options(command: Command) -> Command:
    """The options of `socks5sniff.cli.filters`, each a tuple of values by the option's name, and `--where`."""
    commands = Words("a command", lambda: [*COMMANDS.values(), "unknown"], many=True, extra="unknown-0x[0-9a-f]{2}")
    outcomes = Words("an outcome", lambda: OUTCOMES, many=True)
    anomalies = Words("an anomaly", lambda: ["any", *SEVERITIES, *ANOMALIES], "`socks5sniff help record`", many=True)
    decorated: Command = grouped(
        "Filters (of one kind any must match, of several kinds all)",
        click.option("--client", multiple=True, metavar="WHO", help=f"Only this client: {_ENDPOINT}"),
        click.option("--proxy", multiple=True, metavar="WHO", help="Only this proxy, written as for --client."),
        click.option(
            "--destination", multiple=True, metavar="WHERE", help="Only this destination, written as for --client."
        ),
        click.option("--user", multiple=True, metavar="NAME", help="Only this user name; * and ? are wildcards."),
        click.option(
            "--command",
            type=commands,
            metavar="NAME,…",
            help="Only connect, bind, udp-associate, …",
            multiple=True,
            callback=joined,
        ),
        click.option(
            "--outcome",
            type=outcomes,
            metavar="NAME,…",
            help=f"Only {', '.join(OUTCOMES)}.",
            multiple=True,
            callback=joined,
        ),
        click.option(
            "--anomaly",
            type=anomalies,
            metavar="CODE,…",
            help="Only with this anomaly, note, warning, error, or any.",
            multiple=True,
            callback=joined,
        ),
        click.option(
            "-Y",
            "--where",
            type=Condition(),
            metavar="EXPR",
            help="Only those an expression holds for: 'reply.code == 5 and client in 10.0.0.0/8'; see help where.",
        ),
    )(command)
    return decorated


time_option = click.option(
    "--time",
    type=Words("a form of time", lambda: FORMS),
    metavar="FORM",
    help=f"Times as {', '.join(FORMS)}. Default: utc.",
)
display_options = (
    click.option("--show-passwords", is_flag=True, help="Show passwords instead of ********."),
    click.option("--no-color", is_flag=True, help="No colours (so does the environment variable NO_COLOR)."),
    click.option("-n", "numeric", is_flag=True, hidden=True, expose_value=False),  # tcpdump's habit; we never ask DNS
)


def port_option(command: Command) -> Command:
    """`--port N,…`, as the tuple port."""
    decorated: Command = grouped(
        "Input",
        click.option(
            "--port",
            multiple=True,
            type=Ports(),
            callback=joined,
            metavar="N,…",
            help="Treat these TCP ports as a proxy's, as 1080, 9050 and 9150 are. Repeatable.",
        ),
    )(command)
    return decorated


def check_output(format_: str | None, *, columns: object, time: object, excel: bool = False) -> None:
    """Options of the output that do not go with a format.

    Raises:
        click.UsageError: one does not.
    """
    if format_ in RECORDS and time:
        raise click.UsageError(f"--time does not go with --format {format_}: records have UTC, as programs want it.")
    if columns and format_ != "table":
        raise click.UsageError("--columns goes with --format table.")
    if excel and format_ != "csv":
        raise click.UsageError("--excel goes with --format csv.")
