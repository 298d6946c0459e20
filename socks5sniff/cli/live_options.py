"""The options of `live`, and what of them excludes each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from .options import check_output, display_options, time_option
from .pages import grouped
from .values import Duration, Size, Suggested, Whole, Words, interface_names

Command = TypeVar("Command", bound=Callable[..., Any])

ENGINES = ("auto", "ring", "scapy", "dumpcap")
VIEWS = ("lines", "table")
WEB = "127.0.0.1:0"
"""Where `--web` listens unless told: a free port."""
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
        click.option("--wait", is_flag=True, help="Wait for interfaces that are not there yet, or down (Linux)."),
        click.option("--promiscuous", is_flag=True, help="Also capture frames for other machines."),
        click.option(
            "--buffer",
            type=Size(),
            metavar="SIZE",
            help="Memory for frames not analysed yet, per interface. Default: 64M; dumpcap: up to 512M.",
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
            help="lines (default), or table, which fills the terminal and has keys.",
        ),
        click.option(
            "--format",
            "format_",
            type=Words("a format", lambda: FORMATS),
            metavar="NAME",
            help=f"Instead, a record for each conversation that ends: {', '.join(FORMATS)}.",
        ),
        click.option(
            "-o", "--output", type=click.Path(), metavar="FILE", help="Append to FILE, not to standard output."
        ),
        click.option(
            "--frames", is_flag=True, help="A line for each SOCKS frame, too (jsonl: UDP datagrams in the records)."
        ),
        click.option(
            "--web",
            is_flag=False,
            flag_value=WEB,
            metavar="[ADDRESS:PORT]",
            help="Also serve a page that follows the capture; its address is printed. Default: 127.0.0.1, a free port.",
        ),
        click.option("--allow-remote", is_flag=True, help="Let --web listen where other machines can reach it."),
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
            "-w",
            "--write",
            type=click.Path(),
            metavar="FILE",
            help="Save what is captured, readable by you only: pcapng, or pcap if FILE ends so; - is standard output.",
        ),
        click.option("--only-socks", is_flag=True, help="Save only packets of SOCKS conversations and their UDP."),
        click.option("--rotate-size", type=Size(), metavar="SIZE", help="Begin new files (-w, -o) at this size."),
        click.option("--rotate-seconds", type=Duration(), metavar="TIME", help="Begin new files after 5m, 1h, …"),
        click.option("--keep", type=Whole(1), metavar="N", help="Keep the newest N files of a rotation."),
        click.option("--keep-size", type=Size(), metavar="SIZE", help="Keep the newest files up to SIZE in all."),
    )


def service_options(command: Command) -> Command:
    """For a capture that runs on and on."""
    return _options(
        command,
        "As a service",
        click.option(
            "--stats-interval",
            type=Duration(),
            metavar="TIME",
            help="Say how it is every 30s, 5m, …: on standard error, with --format jsonl as a record.",
        ),
        click.option(
            "--interim",
            type=Duration(),
            metavar="TIME",
            help="Write records of open conversations too, every 30s, 5m, … (jsonl, csv, zeek).",
        ),
        click.option(
            "--metrics",
            type=click.Path(),
            metavar="FILE",
            help="Write the same for Prometheus, every 15 s unless TIME is given.",
        ),
    )


def limit_options(command: Command) -> Command:
    """When to stop."""
    return _options(
        command,
        "When to stop",
        click.option("-c", "--count", type=Whole(1), metavar="N", help="Stop when N records have been shown."),
        click.option("--duration", type=Duration(), metavar="TIME", help="Stop after this time: 30s, 5m, 1h30m."),
        click.option("--until-idle", type=Duration(), metavar="TIME", help="Stop after this time without a packet."),
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
    time: str | None
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
    interim: float | None
    metrics: str | None
    web: str | None
    allow_remote: bool

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
        check_output(self.format_, columns=None, time=self.time)
        if self.view and self.format_:
            raise click.UsageError("--view and --format exclude each other.")
        if self.frames and (self.view == "table" or self.format_ in ("csv", "zeek", "accesslog")):
            raise click.UsageError("--frames goes with lines and with --format jsonl.")
        if self.interim is not None and self.format_ not in ("jsonl", "csv", "zeek"):
            raise click.UsageError("--interim goes with --format jsonl, csv or zeek.")
        if self.allow_remote and self.web is None:
            raise click.UsageError("--allow-remote goes with --web.")
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


def _options(command: Command, title: str, *options: Callable[[Command], Command]) -> Command:
    decorated: Command = grouped(title, *options)(command)
    return decorated
