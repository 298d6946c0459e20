"""The command line: thin commands over the other rooms.

`main` is the one entry. Each command is a module of its own, found through `socks5sniff.cli.commands.COMMANDS` and
imported only when it is the one that runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return the exit status; never raises for user errors.

    `--version` alone is answered before anything is imported, since scripts ask it often.
    """
    if list(arguments) == ["--version"]:
        from socks5sniff import __version__

        print(f"socks5sniff {__version__}")
        return 0
    from socks5sniff.cli.commands import run

    return run(list(arguments))
