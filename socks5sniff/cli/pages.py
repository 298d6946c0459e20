"""How `--help` is laid out: options in groups, then examples. The manual's man pages are made from the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click

Decorator = Callable[[Any], Any]

OTHERS = "Options"
"""The group of options that are in none."""


class Example(NamedTuple):
    """A command line and what it is for."""

    command: str
    purpose: str


def grouped(title: str, *options: Decorator) -> Decorator:
    """Several options, listed under `title`."""

    def decorate(command: Any) -> Any:
        before = len(getattr(command, "__click_params__", ()))
        for each in reversed(options):
            command = each(command)
        for parameter in command.__click_params__[before:]:
            parameter.group = title
        return command

    return decorate


class Command(click.Command):
    """A command with its options in groups, and examples behind them."""

    def __init__(self, *arguments: Any, examples: tuple[Example, ...] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = examples

    def groups(self, context: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Each group's title and its options, as (how it is written, what it does)."""
        found: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
            if record is not None:
                found.setdefault(getattr(parameter, "group", OTHERS), []).append(record)
        yield from sorted(found.items(), key=lambda entry: entry[0] == OTHERS)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, records in self.groups(ctx):
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.examples:
            return
        with formatter.section("Examples"):
            for command, purpose in self.examples:
                formatter.write(
                    f"{'':{formatter.current_indent}}{command}\n{'':{formatter.current_indent}}    {purpose}\n"
                )
