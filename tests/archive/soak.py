"""Every capture cut at every k-th packet, k = 1, 2, 7: `python -m tests.archive.soak [NAME…]` (some minutes)."""

from __future__ import annotations

import sys

from tests.analysis.test_net import CAPTURES, REPORTED, cut, lines, whole

from .test_seams import read


def main(names: list[str]) -> int:
    wrong = 0
    for path in CAPTURES + REPORTED:
        if names and path.name not in names:
            continue
        frames = whole(path)
        expected = lines(frames)
        for size in (1, 2, 7):
            if read([[batch] for batch in cut(frames, size)]) != expected:
                wrong += 1
                print(f"{path.name}: not the same when cut at every {size} packets")
    print(f"{wrong} differences")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
