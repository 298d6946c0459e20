"""The options of `live`, and what of them excludes each other."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

ENGINES = ("auto", "ring", "scapy", "dumpcap")
FORMATS = ("jsonl", "zeek", "accesslog")


class Seconds(click.FloatRange):
    """A time that passes."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        seconds = super().convert(value, parameter, context)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", parameter, context)
        return seconds


_SECONDS = Seconds(min=0, min_open=True)
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
        click.option("--wait", is_flag=True, help="Wait for interfaces that are not there yet, or down (Linux)."),
        click.option("--promiscuous", is_flag=True, help="Also capture frames for other machines."),
        click.option(
            "--buffer",
            callback=size,
            metavar="SIZE",
            help="Memory for frames not analysed yet, per interface. Default: 64M; dumpcap: up to 512M.",
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
        click.option("-o", "--output", metavar="FILE", help="Append to FILE instead of writing to standard output."),
        click.option(
            "--frames", is_flag=True, help="A line for each SOCKS frame, too (jsonl: UDP datagrams in the records)."
        ),
        click.option("--show-passwords", is_flag=True, help="Show passwords instead of ********."),
        click.option("--no-color", is_flag=True, help="No colours (so does the environment variable NO_COLOR)."),
        click.option("--no-process", is_flag=True, help="Do not look for the clients' processes."),
    )


def saving_options(command: Command) -> Command:
    """The capture file."""
    return _options(
        command,
        click.option(
            "-w",
            "--write",
            metavar="FILE",
            help="Save what is captured, readable by you only: pcapng, or pcap if FILE ends so; - is standard output.",
        ),
        click.option("--only-socks", is_flag=True, help="Save only packets of SOCKS conversations and their UDP."),
        click.option("--rotate-size", callback=size, metavar="SIZE", help="Begin new files (-w, -o) at this size."),
        click.option("--rotate-seconds", type=_SECONDS, metavar="S", help="Begin new files after S seconds."),
        click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep the newest N files of a rotation."),
        click.option("--keep-size", callback=size, metavar="SIZE", help="Keep the newest files up to SIZE in all."),
    )


def service_options(command: Command) -> Command:
    """For a capture that runs on and on."""
    return _options(
        command,
        click.option(
            "--stats-interval",
            type=_SECONDS,
            metavar="S",
            help="Say every S seconds how it is: on standard error, with --format jsonl as a record.",
        ),
        click.option("--metrics", metavar="FILE", help="Write the same for Prometheus, every 15 s unless S is given."),
    )


def limit_options(command: Command) -> Command:
    """When to stop."""
    return _options(
        command,
        click.option("--count", type=click.IntRange(1), metavar="N", help="Stop when N records have been shown."),
        click.option("--duration", type=_SECONDS, metavar="S", help="Stop after S seconds."),
        click.option("--until-idle", type=_SECONDS, metavar="S", help="Stop after S seconds without a packet."),
    )


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What was asked for; names as on the command line."""

    iface: tuple[str, ...]
    engine: str
    filter_: str
    snaplen: int
    wait: bool
    promiscuous: bool
    buffer: int | None
    port: tuple[int, ...]
    view: str | None
    format_: str | None
    output: str | None
    frames: bool
    show_passwords: bool
    no_color: bool
    no_process: bool
    write: str | None
    only_socks: bool
    rotate_size: int | None
    rotate_seconds: float | None
    keep: int | None
    keep_size: int | None
    count: int | None
    duration: float | None
    until_idle: float | None
    stats_interval: float | None
    metrics: str | None

    @property
    def rotating(self) -> bool:
        return bool(self.rotate_size or self.rotate_seconds)

    @property
    def output_file(self) -> str | None:
        """The file of `-o`."""
        return None if self.output == "-" else self.output

    @property
    def write_file(self) -> str | None:
        """The file of `-w`."""
        return None if self.write == "-" else self.write

    def check(self) -> None:
        """See that the options go together.

        Raises:
            click.UsageError: some don't.
        """
        if self.view and self.format_:
            raise click.UsageError("--view and --format exclude each other.")
        if self.frames and (self.view == "table" or self.format_ in ("zeek", "accesslog")):
            raise click.UsageError("--frames goes with lines and with --format jsonl.")
        if self.only_socks and self.write is None:
            raise click.UsageError("--only-socks goes with -w FILE.")
        if self.rotating and not (self.write_file or self.output_file):
            raise click.UsageError("--rotate-size and --rotate-seconds go with -w FILE and -o FILE.")
        if (self.keep or self.keep_size) and not self.rotating:
            raise click.UsageError("--keep and --keep-size go with --rotate-size or --rotate-seconds.")
        if self.write == "-" and self.format_ and not self.output_file:
            raise click.UsageError("-w - writes the capture to standard output: --format goes with -o FILE then.")
        if self.write_file and self.output_file and _same(self.write_file, self.output_file):
            raise click.UsageError("-w and -o are the same file.")
        self._check_buffer()

    def _check_buffer(self) -> None:
        if self.buffer is None or not hasattr(os, "sysconf"):
            return
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if self.buffer * max(len(self.iface), 1) > memory // 2:
            raise click.UsageError(
                f"--buffer {self.buffer:,} for each interface: this machine has {memory:,} octets of memory, and half "
                "of it at most may be used."
            )


def _same(one: str, other: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(one, other)
    return os.path.abspath(one) == os.path.abspath(other)


def _options(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
