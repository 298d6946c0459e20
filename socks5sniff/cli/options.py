"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from socks5sniff.sinks import FORMATS

from .filters import OUTCOMES

Command = TypeVar("Command", bound=Callable[..., Any])

_ENDPOINT = "ADDRESS, CIDR, HOST, HOST:PORT or :PORT; * and ? are wildcards. Repeatable."


def filter_options(command: Command) -> Command:
    """The options of `socks5sniff.cli.filters`, each a tuple of values by the option's name."""
    options = (
        click.option("--client", multiple=True, metavar="WHO", help=f"Only this client: {_ENDPOINT}"),
        click.option("--proxy", multiple=True, metavar="WHO", help="Only this proxy, written as for --client."),
        click.option(
            "--destination", multiple=True, metavar="WHERE", help="Only this destination, written as for --client."
        ),
        click.option("--user", multiple=True, metavar="NAME", help="Only this user name; * and ? are wildcards."),
        click.option("--command", multiple=True, metavar="NAME", help="Only connect, bind, udp-associate, resolve, …"),
        click.option("--outcome", multiple=True, metavar="NAME", help=f"Only {', '.join(OUTCOMES)}."),
        click.option(
            "--anomaly", multiple=True, metavar="CODE", help="Only with this anomaly, note, warning, error, or any."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """`--format`, `-o`, `--frames`, `--show-passwords`, `--no-color`, as format, output, frames, …"""
    formats = [name for name in FORMATS if name != "frames"]
    options = (
        click.option("--format", "format_", type=click.Choice(formats), default="table", help="Default: table."),
        click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of standard output."),
        click.option(
            "--frames", is_flag=True, help="List each SOCKS frame, UDP datagrams included (table, json, jsonl, html)."
        ),
        click.option("--show-passwords", is_flag=True, help="Show passwords instead of ********."),
        click.option("--no-color", is_flag=True, help="No colours (so does the environment variable NO_COLOR)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def html_options(command: Command) -> Command:
    """`--max-rows N`, as max_rows, None where it is not given."""
    return click.option(
        "--max-rows",
        type=click.IntRange(0),
        metavar="N",
        help="Conversations in the table of --format html; its figures cover all. Default: 200000.",
    )(command)


def port_option(command: Command) -> Command:
    """`--port N`, as the tuple port."""
    return click.option(
        "--port",
        multiple=True,
        type=click.IntRange(1, 65535),
        metavar="N",
        help="Treat TCP port N as a proxy's, as 1080, 9050 and 9150 are. Repeatable.",
    )(command)


def sink_name(format_: str, frames: bool) -> str:
    """Which sink the options ask for.

    Raises:
        click.UsageError: frames are asked for in a format that has no place for them.
    """
    if not frames:
        return format_
    if format_ in ("json", "jsonl", "html"):
        return format_  # the record lists its frames
    if format_ == "table":
        return "frames"
    raise click.UsageError(f"--frames goes with --format table, json, jsonl or html, not with {format_}.")
