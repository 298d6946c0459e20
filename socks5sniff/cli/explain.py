"""`socks5sniff explain`: a conversation, or a whole capture, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import InputError
from socks5sniff.record import Conversation

from .filters import Test, conversation_filter
from .gathering import gather
from .judging import Judge, judging_options
from .options import filter_options, port_option
from .output import open_output
from .pages import Command, Example, grouped
from .values import Words
from .working import Working, working_options

if TYPE_CHECKING:
    from socks5sniff.explain import Overview
    from socks5sniff.where import Expression

EXAMPLES = (
    Example("socks5sniff explain x.pcapng", "What failed, by cause, the commonest first, and what is fine."),
    Example("socks5sniff explain x.pcapng 3", "Conversation 3 as a ladder, what is wrong with it, and what to try."),
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("file", type=click.Path(), metavar="FILE")
@click.argument("number", type=click.IntRange(1), required=False, metavar="[ID]")
@port_option
@grouped(
    "Output",
    click.option(
        "--format",
        "format_",
        type=Words("a format", lambda: ("text", "json")),
        default="text",
        metavar="NAME",
        help="text, json. Default: text.",
    ),
    click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, not to standard output."),
)
@filter_options
@judging_options
@working_options
def explain(
    file: str,
    number: int | None,
    port: tuple[int, ...],
    format_: str,
    output: str | None,
    fail_if: Expression | None,
    quiet: bool,
    working: Working,
    **filters: Any,
) -> int:
    """Tell why conversations failed, with the frames that show it, the likeliest causes and the next thing to try.

    With the ID of a conversation (the number that read shows) that one is told as a ladder; without, the whole capture
    is told by causes.
    """
    if quiet and output:
        raise click.UsageError("--quiet and -o exclude each other.")
    from socks5sniff.explain import Overview

    judge = Judge(fail_if)
    keep = judge.keeping(conversation_filter(filters))
    overview = Overview()
    found: list[Conversation] = []
    with open_output(output, [file], private=False) as out:
        if number is None:
            tally = overview if fail_if is None else None
            gathered = gather([file], port, keep, overview.add, out, working=working, tally=tally)
            for attempts in gathered.attempts:
                overview.attempt(*attempts)
        else:
            wanted = _numbered(number)
            gathered = gather(
                [file], port, lambda c: wanted(c) and (keep is None or keep(c)), found.append, out, last=wanted
            )
        if not quiet:
            out.write(_summed(overview, format_) if number is None else "".join(_told(c, format_) for c in found))
            out.flush()
    if gathered.fault is not None and not found:
        raise gathered.fault
    if number is not None and not found:
        there = f"there are {gathered.conversations:,}"
        raise InputError(f"{file}: conversation {number} is not there, or not wanted; {there}")
    return judge.status(gathered.status)


def _numbered(number: int) -> Test:
    return lambda conversation: conversation.id == number


def _summed(overview: Overview, format_: str) -> str:
    from socks5sniff.explain import overview_text

    plain = overview.as_dict()
    return json.dumps(plain, indent=2) + "\n" if format_ == "json" else overview_text(plain)


def _told(c: Conversation, format_: str) -> str:
    from socks5sniff.explain import conversation_text, findings, ladder

    if format_ == "text":
        return conversation_text(c)
    told = {"conversation": c.id, "outcome": c.outcome, "ladder": ladder(c)}
    return json.dumps({**told, "findings": [finding._asdict() for finding in findings(c)]}, indent=2) + "\n"
