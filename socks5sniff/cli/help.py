"""`socks5sniff help`: the manual, rendered in a terminal and as it is written in a pipe."""

from __future__ import annotations

import json
import os
import sys

import click

from socks5sniff import manual
from socks5sniff.errors import ExitCode

from .commands import COMMANDS
from .pages import Command, Example
from .values import Suggested, unknown

WIDEST = 100
"""Columns beyond which running text is hard to read."""


EXAMPLES = (
    Example("socks5sniff help", "The topics."),
    Example("socks5sniff help recipes", "Answers to common questions."),
)


def topics() -> list[str]:
    return list(dict.fromkeys([*manual.titles(), *COMMANDS]))


@click.command("help", cls=Command, examples=EXAMPLES)
@click.argument("topic", required=False, type=Suggested(topics))
@click.option("--schema", is_flag=True, help="With the topic record: print the record's JSON schema instead.")
@click.pass_context
def help_(context: click.Context, topic: str | None, schema: bool) -> int:
    """Show a topic of the manual, a command's options, or the list of topics."""
    if schema:
        if topic != "record":
            raise click.UsageError("--schema goes with the topic record.")
        from .schema import schema as of_the_record

        click.echo(json.dumps(of_the_record(), indent=2))
        return ExitCode.OK
    titles = manual.titles()
    if topic is None:
        click.echo("Topics of the manual (socks5sniff help TOPIC):\n")
        for name, title in titles.items():
            click.echo(f"  {name:12}{title}")
        return ExitCode.OK
    if topic in titles:
        show(manual.text(topic))
        return ExitCode.OK
    assert context.parent is not None
    group = context.parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(context.parent, topic)
    if command is None:
        raise click.UsageError(unknown(topic, "a topic or a command", topics(), "`socks5sniff help`"), context)
    with click.Context(command, info_name=topic, parent=context.parent) as about:
        click.echo(command.get_help(about))
    return ExitCode.OK


def show(markdown: str) -> None:
    """Rendered where standard output is a terminal, through the pager where it is longer than that."""
    if sys.stdout is None or not sys.stdout.isatty():
        click.echo(markdown, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    # No backgrounds: nobody knows whether the terminal's is dark or light.
    theme = Theme({"markdown.code": "bold", "markdown.code_block": "bold"})
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    console = Console(no_color=not colour, highlight=False, theme=theme)
    console.width = min(console.width, WIDEST)
    with console.capture() as captured:
        console.print(Markdown(markdown, hyperlinks=False, code_theme="ansi_light"))
    rendered = captured.get()
    if rendered.count("\n") < console.height:
        click.echo(rendered, nl=False, color=colour)
    else:
        os.environ.setdefault("LESS", "-FRX")
        click.echo_via_pager(rendered, color=colour)
