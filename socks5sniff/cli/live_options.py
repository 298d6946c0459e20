"""The options of `live`, and what of them excludes each other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

ENGINES = ("auto", "ring", "scapy", "dumpcap")
WEB = "127.0.0.1:0"
"""Where `--web` listens unless told: a free port."""
FORMATS = ("jsonl", "zeek", "accesslog")

_SECONDS = click.FloatRange(min=0, min_open=True)
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9}


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Octets out of a number with k, M or G behind it.

    Raises:
        click.BadParameter: it is none.
    """
    if value is None:
        return None
    factor = _FACTORS.get(value[-1:], 0)
    with suppress(ValueError, OverflowError):
        octets = int(float(value[:-1]) * factor) if factor else int(value)
        if octets > 0:
            return octets
    raise click.BadParameter(f"{value!r} is not a size: a number of octets, as in 500000, 100M or 2G.")


def source_options(command: Command) -> Command:
    """What is captured, and how."""
    return _options(
        command,
        click.option(
            "-i",
            "--iface",
            multiple=True,
            metavar="NAME",
            help="Interface. lo is loopback on every system, any is all interfaces (Linux). Repeatable. Default: lo.",
        ),
        click.option("--engine", type=click.Choice(ENGINES), default="auto", help="Default: auto, what you may use."),
        click.option("--filter", "filter_", default="", metavar="BPF", help="Capture only this, in tcpdump's syntax."),
        click.option(
            "--snaplen",
            type=click.IntRange(64, 262_144),
            default=262_144,
            metavar="N",
            help="Octets to keep of a frame. Default: 262144, which cuts none.",
        ),
        click.option("--promiscuous", is_flag=True, help="Also capture frames for other machines."),
        click.option(
            "--buffer",
            callback=size,
            default="64M",
            metavar="SIZE",
            help="Memory for frames not analysed yet, per interface. Default: 64M.",
        ),
    )


def view_options(command: Command) -> Command:
    """What is shown, and where."""
    return _options(
        command,
        click.option(
            "--view", type=click.Choice(("lines", "table")), help="Lines (default), or a table that is redrawn."
        ),
        click.option(
            "--format", "format_", type=click.Choice(FORMATS), help="Instead, a record for each conversation that ends."
        ),
        click.option("-o", "--output", metavar="FILE", help="Write lines or records to FILE, not to standard output."),
        click.option(
            "--frames", is_flag=True, help="A line for each SOCKS frame, too (jsonl: UDP datagrams in the records)."
        ),
        click.option("--show-passwords", is_flag=True, help="Show passwords instead of ********."),
        click.option("--no-color", is_flag=True, help="No colours (so does the environment variable NO_COLOR)."),
        click.option(
            "--web",
            is_flag=False,
            flag_value=WEB,
            metavar="[ADDRESS:PORT]",
            help="Also serve a page that follows the capture; its address is printed. Default: 127.0.0.1, a free port.",
        ),
        click.option("--allow-remote", is_flag=True, help="Let --web listen where other machines can reach it."),
        click.option("--no-process", is_flag=True, help="Do not look for the clients' processes."),
    )


def saving_options(command: Command) -> Command:
    """The capture file."""
    return _options(
        command,
        click.option("-w", "--write", metavar="FILE", help="Save what is captured as pcapng, readable by you only."),
        click.option("--only-socks", is_flag=True, help="Save only packets of SOCKS conversations and their UDP."),
        click.option("--rotate-size", callback=size, metavar="SIZE", help="Begin a new file at this size."),
        click.option("--rotate-seconds", type=_SECONDS, metavar="S", help="Begin a new file after S seconds."),
        click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep the newest N files of a rotation."),
    )


def limit_options(command: Command) -> Command:
    """When to stop."""
    return _options(
        command,
        click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N conversations have ended."),
        click.option("--duration", type=_SECONDS, metavar="S", help="Stop after S seconds."),
        click.option("--until-idle", type=_SECONDS, metavar="S", help="Stop after S seconds without a packet."),
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
    web: str | None,
    allow_remote: bool,
) -> None:
    """Options that don't go together.

    Raises:
        click.UsageError: some don't.
    """
    if view and format_:
        raise click.UsageError("--view and --format exclude each other.")
    if frames and (view == "table" or format_ in ("zeek", "accesslog")):
        raise click.UsageError("--frames goes with lines and with --format jsonl.")
    if write is None and (only_socks or rotating or keep):
        raise click.UsageError("--only-socks, --rotate-size, --rotate-seconds and --keep go with -w FILE.")
    if allow_remote and web is None:
        raise click.UsageError("--allow-remote goes with --web.")
    if keep and not rotating:
        raise click.UsageError("--keep goes with --rotate-size or --rotate-seconds.")


def _options(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
