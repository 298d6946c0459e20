"""The console script and `python -m socks5sniff`."""

from __future__ import annotations

import sys

from socks5sniff.cli import main


def run() -> None:
    """Run the command line of this process and leave with its exit status."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
