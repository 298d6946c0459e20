"""Every capture cut at every k-th packet, k = 1, 2, 7, and what goes past its proxies: some minutes.

    python -m tests.archive.soak [NAME…]
"""

from __future__ import annotations

import sys

from tests.analysis.test_net import CAPTURES, REPORTED, cut, lines, whole

from .test_past import everyone, one, several
from .test_seams import read


def main(names: list[str]) -> int:
    wrong = 0
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
