"""The command group, which imports a command's module only when that command runs, and the shell around it.

A command is a module with a click command in it and one line in `COMMANDS`. Its function returns an exit status
(or None for 0) and raises the kinds of `socks5sniff.errors` for what a user can cause.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from io import BufferedWriter, RawIOBase, TextIOWrapper
from typing import Any, NamedTuple

import click

from socks5sniff import __version__
from socks5sniff.errors import ExitCode, OutputError, Socks5sniffError

from .messages import complain
from .values import unknown


class Entry(NamedTuple):
    """Where a command is and what `--help` says of it; the help text is here so that listing imports nothing."""

    target: str
    """`module:attribute` of the click command."""
    help: str


COMMANDS: dict[str, Entry] = {
    "read": Entry("socks5sniff.cli.read:read", "Report every SOCKS conversation in capture files."),
    "stats": Entry("socks5sniff.cli.stats:stats", "Count what capture files hold: outcomes, destinations, times."),
    "explain": Entry("socks5sniff.cli.explain:explain", "Tell why conversations failed, and what to try."),
    "follow": Entry("socks5sniff.cli.follow:follow", "Show what one conversation's tunnel carried."),
    "extract": Entry("socks5sniff.cli.extract:extract", "Write what tunnels carried to files."),
    "bypass": Entry("socks5sniff.cli.bypass:bypass", "List what a proxy's clients sent past it."),
    "decap": Entry("socks5sniff.cli.decap:decap", "Write a capture as it would have been without the proxy."),
    "sanitize": Entry("socks5sniff.cli.sanitize:sanitize", "Write a capture without its secrets, fit to be shared."),
    "live": Entry("socks5sniff.cli.live:live", "Report SOCKS conversations on running interfaces, as they happen."),
    "interfaces": Entry("socks5sniff.cli.interfaces:interfaces", "List interfaces, and whether you may capture there."),
    "proxy": Entry("socks5sniff.cli.proxy:proxy", "Run a SOCKS proxy for tests, with faults on demand."),
    "record": Entry("socks5sniff.cli.record:record", "Make captures of known truth."),
    "demo": Entry("socks5sniff.cli.demo:demo", "See it work: a proxy, clients, their capture and its report."),
    "verify": Entry("socks5sniff.cli.verify:verify", "Compare our reading of a capture with tshark's."),
    "dissector": Entry("socks5sniff.cli.dissector:dissector", "Install the Wireshark dissector."),
    "help": Entry("socks5sniff.cli.help:help_", "Show the manual."),
}


_CAPTURE = re.compile(r"\.(?:pcap(?:ng)?|cap)(?:\.\w+)?$|^-$")
"""What looks like a capture's name."""


class LazyGroup(click.Group):
    """A group whose commands are looked up in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, click.Command | None, list[str]]:
        """The command that `args` begins with; a capture in its place is read."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            if os.path.exists(name) or _CAPTURE.search(name):
                return super().resolve_command(ctx, ["read", *args])
            raise click.UsageError(unknown(name, "a command", COMMANDS, "`socks5sniff --help`"), ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["read", *args] if args[:1] == ["-r"] else args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="socks5sniff %(version)s")
def group() -> None:
    """Capture and analyse SOCKS traffic.

    `socks5sniff FILE` is short for `socks5sniff read FILE`.
    """


COMPLETE = "_SOCKS5SNIFF_COMPLETE"
"""The environment variable by which a shell asks for completion."""


def run(arguments: Sequence[str]) -> int:
    """Run the group on `arguments`; every error a user can cause becomes one line on stderr and an exit status."""
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "socks5sniff", COMPLETE, os.environ[COMPLETE])
    buffer_stdout()
    try:
        # Not `group.main`: that turns a broken pipe into exit status 1.
        with group.make_context("socks5sniff", list(arguments)) as outermost:
            status = group.invoke(outermost)
        flush_stdout()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return ExitCode.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" See {context.command_path} --help." if isinstance(context, click.Context) else ""
        complain(" ".join(error.format_message().split()) + hint)
        return ExitCode.USAGE
    except Socks5sniffError as error:
        complain(str(error))
        if isinstance(error, OutputError):
            abandon_stdout()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        abandon_stdout()
        return ExitCode.BROKEN_PIPE
    except OSError as error:
        complain(str(error))
        abandon_stdout()
        return ExitCode.FAILED
    return int(status or 0)


def buffer_stdout() -> None:
    """Give standard output a buffer where `PYTHONUNBUFFERED` took it away.

    Without one Python loses the rest of a write that was cut short, as when a reader goes away, and raises nothing.
    Only the process's own stream: what a caller put in its place is the caller's.
    """
    stream = sys.stdout
    if stream is sys.__stdout__ and isinstance(stream, TextIOWrapper) and isinstance(stream.buffer, RawIOBase):
        buffer = BufferedWriter(stream.buffer)
        sys.stdout = TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=stream.isatty())


def flush_stdout() -> None:
    """Write what is still buffered for standard output while a failure can still be told.

    Raises:
        OutputError: it cannot be written. (A reader that went away stays a BrokenPipeError.)
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror or error}") from error


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail a second time."""
    if sys.stdout is None:
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, sys.stdout.fileno())
    except (OSError, ValueError):
        return  # stdout is not a descriptor here (a test's buffer): nothing is flushed at exit
    finally:
        os.close(sink)
