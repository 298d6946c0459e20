"""The command line: thin commands over the other rooms.

`main` is the one entry. Each command is a module of its own, found through `socks5sniff.cli.commands.COMMANDS` and
imported only when it is the one that runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress


def main(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return the exit status; never raises for user errors.

    `--version` alone is answered before anything is imported, since scripts ask it often.
    """
    if list(arguments) == ["--version"]:
        from socks5sniff import __version__
        from socks5sniff.errors import ExitCode

        with suppress(OSError):  # the full way below tells what is wrong with the output
            print(f"socks5sniff {__version__}", flush=True)
            return ExitCode.OK
    try:
        from socks5sniff.cli.commands import run

        return run(list(arguments))
    except KeyboardInterrupt:  # while modules were still being imported
        from socks5sniff.errors import ExitCode

        return ExitCode.INTERRUPTED
