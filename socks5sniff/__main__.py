"""The console script and `python -m socks5sniff`."""

from __future__ import annotations

import gc
import os
import sys

from socks5sniff.cli import main


def run() -> None:
    """Run the command line of this process and leave with its exit status."""
    # No linear algebra here: the threads that numpy's BLAS starts when it is imported would only cost time and memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Records hold no reference cycles: the collector would only walk through them again and again, a third of the time.
    gc.set_threshold(500_000, 100, 100)
    status = main(sys.argv[1:])
    # All memory goes back with the process: the collector need not look through it once more (a fifth of a short run).
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
