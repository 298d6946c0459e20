"""The first look of commands that take octets out of a capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from socks5sniff.errors import Socks5sniffError
from socks5sniff.record import Conversation

from .messages import complain, own_fault
from .progress import ProgressBar
from .read import unreadable

if TYPE_CHECKING:
    from socks5sniff.capture.source import Input
    from socks5sniff.payload import Survey

capture_option = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="The capture to write, in pcapng; - for standard output.",
)
force_option = click.option("--force", is_flag=True, help="Replace what is there under the output's name.")


def look_over(
    names: Sequence[Input],
    ports: tuple[int, ...],
    keep: Callable[[Conversation], bool] | None,
    last: Callable[[Conversation], bool] | None = None,
) -> Survey:
    """Find the conversations that are wanted, with a bar on the terminal where it takes long; see `survey`.

    Raises:
        InputError: an input cannot be opened, or its frames cannot be read.
    """
    from socks5sniff.payload import survey

    bar = ProgressBar()
    try:
        found = survey(names, keep=keep, last=last, ports=ports, progress=bar.update)
    finally:
        bar.stop()
    if found.evicted:
        complain(f"{found.evicted:,} open connections were forgotten early: there were too many at once.")
    if not found.conversations and found.fault is None and found.unknown_links:
        raise unreadable(found.unknown_links)
    if found.faults and found.fault is None:  # said, and told by the exit status, once what there is was written
        found.fault = Socks5sniffError(own_fault(len(found.faults), found.faults.first))
    return found
