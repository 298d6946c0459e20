"""`socks5sniff sanitize`: a capture fit to be shared."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from socks5sniff.errors import ExitCode, InputError
from socks5sniff.sinks.words import counted

from .messages import complain
from .options import port_option
from .output import refuse_input, refuse_terminal
from .pages import Command, Example, grouped
from .progress import ProgressBar
from .surveying import capture_option, force_option
from .values import Words

if TYPE_CHECKING:
    from socks5sniff.sanitize import Outcome

EXAMPLES = (
    Example("socks5sniff sanitize x.pcapng -o y.pcapng", "Without the passwords."),
    Example(
        "socks5sniff sanitize x.pcapng -o y.pcapng --users --destinations --addresses --payload blank",
        "For a public report.",
    ),
)
_KEY = 32
"""Octets of a key."""


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("file", type=click.Path(), metavar="FILE")
@port_option
@grouped(
    "What is overwritten besides passwords",
    click.option("--users", is_flag=True, help="User names, SOCKS4's user ids as well."),
    click.option(
        "--destinations",
        is_flag=True,
        help="Where clients went: hosts and their addresses, in SOCKS, DNS, SNI and Host.",
    ),
    click.option("--addresses", is_flag=True, help="All IP and MAC addresses; those of a network stay together."),
    click.option(
        "--payload",
        type=Words("a way", lambda: ("blank", "cut")),
        metavar="WAY",
        help="What tunnels and associations carry: blank writes zeros, cut leaves it out of the frames.",
    ),
    click.option(
        "--key-file",
        type=click.Path(),
        metavar="FILE",
        help="Its 64 hexadecimal digits give the same names and addresses each time. Default: new ones each time.",
    ),
)
@grouped(
    "Output",
    capture_option,
    force_option,
)
def sanitize(
    file: str,
    port: tuple[int, ...],
    users: bool,
    destinations: bool,
    addresses: bool,
    payload: str | None,
    key_file: str | None,
    output: str,
    force: bool,
) -> int:
    """Write a capture again with secrets overwritten in place: passwords, and what the options name.

    Frames keep their number, times and lengths; checksums stay as right or as wrong as they were. What is overwritten
    is so in every copy: sent again, split over segments, in tunnels, in other connections. Comments and tables of names
    are left out. The result is looked through; where anything is left, there is none.
    """
    refuse_terminal([file], output)
    from socks5sniff.sanitize import Options
    from socks5sniff.sanitize import sanitize as write

    refuse_input(output, [file])
    options = Options(users, destinations, addresses, payload, None if key_file is None else _key(key_file), port)
    bar = ProgressBar()
    try:
        done = write(file, output, options, force=force, progress=bar.update)
    finally:
        bar.stop()
    for line in _notes(done):
        complain(line)
    if output != "-":
        click.echo(f"{counted(done.packets, 'frame')} in {output}; {counted(done.passwords, 'password')} overwritten")
    if done.fault is not None:
        raise done.fault
    return ExitCode.OK


def _key(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            key = binascii.unhexlify(file.read(4 * _KEY).strip())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except ValueError:
        key = b""
    if len(key) != _KEY:
        raise InputError(f"{path}: a key is 64 hexadecimal digits, as `openssl rand -hex 32` gives")
    return key


def _notes(done: Outcome) -> Iterator[str]:
    if done.brief:
        yield (
            f"{counted(done.brief, 'password')} of few octets: overwritten where SOCKS says them, and not looked for "
            "elsewhere"
        )
    if done.unread:
        yield f"{counted(done.unread, 'frame')} not understood: only searched for what was found in others"
    if done.silenced:
        yield f"{counted(done.silenced, 'frame')} of protocols that are not read here: zeros in place of what they said"
