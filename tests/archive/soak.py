"""Every capture cut at every k-th packet, k = 1, 2, 7, and what goes past its proxies: some minutes.

    python -m tests.archive.soak [NAME…]

or captures of any size, each read by one process and by two:

    python -m tests.archive.soak FILE…
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.analysis.test_net import CAPTURES, REPORTED, cut, lines, whole

from .test_past import everyone, one, several
from .test_seams import read


def differs(path: str) -> bool:
    """Whether two processes print something else than one."""
    command = [sys.executable, "-m", "socks5sniff", "read", path, "--format", "jsonl", "--jobs"]
    one, two = (subprocess.run([*command, jobs], capture_output=True) for jobs in "12")
    return one.stdout != two.stdout


def main(names: list[str]) -> int:
    files = [name for name in names if os.path.isfile(name)]
    wrong = sum(map(differs, files))
    if files:
        print(f"{wrong} differences in {len(files)} files")
        return int(wrong > 0)
    for path in CAPTURES + REPORTED:
        if names and path.name not in names:
            continue
        frames = whole(path)
        hosts = everyone(frames)
        expected = lines(frames), one(frames, hosts, True)
        for size in (1, 2, 7):
            stretches = [[batch] for batch in cut(frames, size)]
            if (read(stretches), several(stretches, hosts, True)) != expected:
                wrong += 1
                print(f"{path.name}: not the same when cut at every {size} packets", flush=True)
    print(f"{wrong} differences")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
