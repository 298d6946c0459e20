"""A dataset whose making is ended again and again: `python -m tests.archive.killed [--jobs N] [--rounds N] FILE…`.

Each round ends the command (SIGKILL of the process, or Ctrl-C) at random moments and goes on with `--resume`, until it
comes to its end; then the dataset must hold the rows of a reading that nothing ended, and nothing else be left.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

COMMAND = """
import sys
from socks5sniff.archive import plan, reading
from socks5sniff.cli import main, resuming
resuming.LEAST, resuming.SHARE = 0.05, 1
plan.LEAST, reading.WORTH = 1_000_000, 100
sys.exit(main(sys.argv[1:]))
"""
"""Reads with many more checkpoints than usual, and pieces, which workers write however small they are."""
KILLS = 6


def rows(folder: Path) -> tuple[str, int]:
    """A hash of all rows, and how many there are."""
    query = f"""SELECT md5(list(t ORDER BY id)::VARCHAR), count(*)
                FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true, union_by_name = true) t"""
    found = duckdb.connect().execute(query).fetchone()
    assert found is not None
    return found


def ended(command: list[str], folder: Path, longest: float, chance: random.Random) -> int:
    """Make a dataset with interruptions; how many there were."""
    kills = 0
    while True:
        resume = ["--resume"] if [*folder.glob("_unfinished-*")] else []
        process = subprocess.Popen([*command, str(folder), *resume], stderr=subprocess.PIPE, text=True)
        if kills < KILLS:
            try:
                process.wait(chance.uniform(0.1, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
                kills += 1
        _, said = process.communicate()
        if process.returncode == 0 or ([*folder.glob("*/part-*")] and not [*folder.glob("_unfinished-*")]):
            return kills  # or it was killed when all was done
        if process.returncode == 2 and "another program is at it" in said:
            time.sleep(0.1)  # workers of the one that was killed are about to end
        elif process.returncode not in (-signal.SIGKILL, -signal.SIGINT, 130):
            raise SystemExit(f"exit status {process.returncode}: {said}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    command = [sys.executable, "-c", COMMAND, "read", *asked.files, "--jobs", asked.jobs, "--dataset"]
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        begun = time.monotonic()
        subprocess.run([*command, str(whole)], check=True)
        longest, expected = time.monotonic() - begun, rows(whole)
        for number in range(asked.rounds):
            folder = Path(scratch) / str(number)
            kills = ended(command, folder, longest, chance)
            left = [*folder.glob("[_.]*"), *folder.glob("*/.*")]
            fine = rows(folder) == expected and not left
            wrong += not fine
            print(f"{kills} interruptions, {expected[1]:,} rows: {'the same' if fine else 'WRONG'}", *left, flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
