"""The options of `live`, and what of them excludes each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .options import display_options, time_option
from .pages import grouped
from .values import Duration, Size, Suggested, Whole, Words, interface_names

Command = TypeVar("Command", bound=Callable[..., Any])

ENGINES = ("auto", "ring", "scapy", "dumpcap")
VIEWS = ("lines", "table")
FORMATS = ("jsonl", "csv", "zeek", "accesslog")


def source_options(command: Command) -> Command:
    """What is captured, and how."""
    return _options(
        command,
        "Capture",
        click.option(
            "-i",
            "--iface",
            multiple=True,
            type=Suggested(interface_names),
            metavar="NAME",
            help="Interface. lo is loopback on every system, any is all interfaces (Linux). Repeatable. Default: lo.",
        ),
        click.option(
            "--engine",
            type=Words("an engine", lambda: ENGINES),
            default="auto",
            metavar="NAME",
            help=f"{', '.join(ENGINES)}. Default: auto, what you may use.",
        ),
        click.option(
            "-f", "--filter", "filter_", default="", metavar="BPF", help="Capture only this, in tcpdump's syntax."
        ),
        click.option(
            "--snaplen",
            type=Whole(64, 262_144),
            default=262_144,
            metavar="N",
            help="Octets to keep of a frame. Default: 262144, which cuts none.",
        ),
        click.option("--promiscuous", is_flag=True, help="Also capture frames for other machines."),
        click.option(
            "--buffer",
            type=Size(),
            default="64M",
            metavar="SIZE",
            help="Memory for frames not analysed yet, per interface. Default: 64M.",
        ),
    )


def view_options(command: Command) -> Command:
    """What is shown, and where."""
    return _options(
        command,
        "Output",
        click.option(
            "--view",
            type=Words("a view", lambda: VIEWS),
            metavar="NAME",
            help="lines (default), or table, which is redrawn and has keys.",
        ),
        click.option(
            "--format",
            "format_",
            type=Words("a format", lambda: FORMATS),
            metavar="NAME",
            help=f"Instead, a record for each conversation that ends: {', '.join(FORMATS)}.",
        ),
        click.option(
            "-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, not to standard output."
        ),
        click.option(
            "--frames", is_flag=True, help="A line for each SOCKS frame, too (jsonl: UDP datagrams in the records)."
        ),
        time_option,
        *display_options,
        click.option("--no-process", is_flag=True, help="Do not look for the clients' processes."),
    )


def saving_options(command: Command) -> Command:
    """The capture file."""
    return _options(
        command,
        "Saving",
        click.option(
            "-w", "--write", type=click.Path(), metavar="FILE", help="Save what is captured as pcapng, for you only."
        ),
        click.option("--only-socks", is_flag=True, help="Save only packets of SOCKS conversations and their UDP."),
        click.option("--rotate-size", type=Size(), metavar="SIZE", help="Begin a new file at this size."),
        click.option("--rotate-seconds", type=Duration(), metavar="TIME", help="Begin a new file after 5m, 1h, …"),
        click.option("--keep", type=Whole(1), metavar="N", help="Keep the newest N files of a rotation."),
    )


def limit_options(command: Command) -> Command:
    """When to stop."""
    return _options(
        command,
        "When to stop",
        click.option("-c", "--count", type=Whole(1), metavar="N", help="Stop after N ended conversations."),
        click.option("--duration", type=Duration(), metavar="TIME", help="Stop after this time: 30s, 5m, 1h30m."),
        click.option("--until-idle", type=Duration(), metavar="TIME", help="Stop after this time without a packet."),
    )


def check(
    *,
    view: str | None,
    format_: str | None,
    frames: bool,
    write: str | None,
    only_socks: bool,
    rotating: bool,
    keep: int | None,
) -> None:
    """Options that don't go together.

    Raises:
        click.UsageError: some don't.
    """
    if view and format_:
        raise click.UsageError("--view and --format exclude each other.")
    if frames and (view == "table" or format_ in ("csv", "zeek", "accesslog")):
        raise click.UsageError("--frames goes with lines and with --format jsonl.")
    if write is None and (only_socks or rotating or keep):
        raise click.UsageError("--only-socks, --rotate-size, --rotate-seconds and --keep go with -w FILE.")
    if keep and not rotating:
        raise click.UsageError("--keep goes with --rotate-size or --rotate-seconds.")


def _options(command: Command, title: str, *options: Callable[[Command], Command]) -> Command:
    decorated: Command = grouped(title, *options)(command)
    return decorated
