"""What `read` writes, and where: `--format`, `-o`, `--dataset` and what goes with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from socks5sniff.sinks import FORMATS, Options

from .options import check_output, display_options, time_option
from .output import FilesOutput, Output, sink_options
from .pages import grouped
from .values import Words

if TYPE_CHECKING:
    from .resuming import Keeper

Command = TypeVar("Command", bound=Callable[..., Any])


class Writing(NamedTuple):
    """The options of the output, by their names."""

    format_: str
    output: str | None
    dataset: str | None
    resume: bool
    frames: bool
    columns: tuple[str, ...] | None
    excel: bool
    time: str | None
    show_passwords: bool
    no_color: bool
    max_rows: int | None
    attempts: bool

    @property
    def sink(self) -> str:
        """The name of the sink.

        Raises:
            click.UsageError: frames are asked for in a format that has no place for them, or Parquet without a place.
        """
        if self.dataset is not None:
            if self.output is not None or self.format_ not in ("table", "parquet"):
                raise click.UsageError("--dataset is Parquet, and goes with neither -o nor another --format.")
            return "dataset"
        if self.format_ == "parquet" and self.output in (None, "-"):
            raise click.UsageError("Parquet is nothing for a stream: add -o FILE, or --dataset DIR.")
        if not self.frames:
            return self.format_
        if self.format_ in ("json", "jsonl", "html", "parquet"):
            return self.format_  # the record lists its frames
        if self.format_ == "table":
            return "frames"
        known = "table, json, jsonl, html or parquet"
        raise click.UsageError(f"--frames goes with --format {known}, not with {self.format_}.")

    def check(self, quiet: bool, judged: bool) -> None:
        """Whether all of them go together, and with what else is asked for.

        Args:
            quiet: nothing is to be written.
            judged: `--fail-if` is given.

        Raises:
            click.UsageError: they do not.
        """
        name = self.sink
        format_ = "parquet" if self.dataset else self.format_
        check_output(format_, columns=self.columns, time=self.time, excel=self.excel)
        place = "-o" if self.output else "--dataset"
        for wrong, why in (
            (self.columns and self.frames, "--columns are the conversations', --frames lists frames."),
            (quiet and (self.output or self.dataset), f"--quiet and {place} exclude each other."),
            (self.attempts and name != "table", "--attempts goes with --format table."),
            (self.max_rows is not None and name != "html", "--max-rows goes with --format html."),
            (self.resume and not self.dataset, "--resume goes with --dataset."),
            (self.resume and judged, "--resume and --fail-if, which judges a whole reading, exclude each other."),
        ):
            if wrong:
                raise click.UsageError(why)

    def options(
        self, out: Output | FilesOutput, files: tuple[str, ...], ports: tuple[int, ...], keeper: Keeper | None
    ) -> Options:
        """What the sink is told.

        Raises:
            click.UsageError: a page would go to a terminal.
        """
        if self.sink == "html" and out.is_terminal:
            raise click.UsageError("a page is nothing for a terminal: add -o FILE.")
        options = replace(
            sink_options(out, files, colour=not self.no_color, rows=self.sink in ("table", "html")),
            time=self.time or "utc",
            columns=self.columns or (),
            excel=self.excel,
            inputs=files,
            command=(*sys.argv[1:],),
            ports=ports,
        )
        if self.max_rows is not None:
            options = replace(options, max_rows=self.max_rows)
        return options if keeper is None else keeper.options(options)


def format_names() -> list[str]:
    return [name for name in FORMATS if name not in ("frames", "dataset")]


def column_names() -> tuple[str, ...]:
    from socks5sniff.sinks.columns import NAMES

    return NAMES


def writing_options(command: Command) -> Command:
    """All of these, as writing (a Writing)."""

    @wraps(command)
    def decorated(*arguments: Any, **others: Any) -> Any:
        writing = Writing(**{name: others.pop(name) for name in Writing._fields})
        return command(*arguments, writing=writing, **others)

    named: Command = grouped(
        "Output",
        click.option(
            "--format",
            "format_",
            type=Words("a format", format_names),
            default="table",
            metavar="NAME",
            help=f"{', '.join(format_names())}. Default: table.",
        ),
        click.option(
            "-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, not to standard output."
        ),
        click.option(
            "--dataset",
            metavar="DIR",
            help="Write Parquet into folders by day under DIR, or a URL (s3, gs, az, ssh), beside what is there.",
        ),
        click.option("--resume", is_flag=True, help="Go on with the dataset that the same command has not finished."),
        click.option(
            "--frames",
            is_flag=True,
            help="List each SOCKS frame, UDP datagrams included (table, json, jsonl, html, Parquet).",
        ),
        click.option(
            "--columns",
            type=Words("a column", column_names, "`socks5sniff help record`", many=True),
            metavar="NAME,…",
            help="Columns of the table: its own (id, time, user, …) or any name of the record (destination.host, …).",
        ),
        click.option("--excel", is_flag=True, help="With --format csv: as spreadsheets open it without questions."),
        time_option,
        *display_options,
        click.option(
            "--max-rows",
            type=click.IntRange(0),
            metavar="N",
            help="Conversations in the table of --format html; its figures cover all. Default: 200000.",
        ),
        click.option(
            "--attempts",
            is_flag=True,
            help="List connections to proxies that were refused, not answered, or closed before a greeting (table).",
        ),
    )(decorated)
    return named
