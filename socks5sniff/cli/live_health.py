"""How a capture is: what it has taken, dropped and left out, and what it holds."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from socks5sniff.live.engine import Engine
from socks5sniff.record import iso_time

if TYPE_CHECKING:
    from socks5sniff.live.processes.asking import Processes
    from socks5sniff.live.saving import Saving

    from .live_output import LiveOutput
    from .live_run import Watch


@dataclass(frozen=True, slots=True)
class Health:
    """The state at one moment; counts are since the start.

    Attributes:
        time: ISO 8601, UTC.
        uptime: seconds.
        packets: frames analysed.
        received: by interface, frames that arrived; None where the engine does not know (yet).
        dropped: by interface, frames lost because nobody took them in time; likewise.
        saved: frames in the capture files.
        lost_packets: frames that are not in the capture files, because the disk was too slow or full.
        lost_lines: lines and records left out, because they could not be written for too long.
        open: connections found to be SOCKS that have not ended.
        ended: conversations that have.
        outcomes: of those, how many with each.
        lookups_left_out: connections whose process was not asked for, because there were too many at once.
        backlog_file: octets that wait to be written to the capture file.
        backlog_output: octets of lines and records that wait to be written.
        memory: octets that this process has in memory.
    """

    time: str
    uptime: float
    packets: int
    received: dict[str, int | None]
    dropped: dict[str, int | None]
    saved: int
    lost_packets: int
    lost_lines: int
    open: int
    ended: int
    outcomes: dict[str, int]
    lookups_left_out: int
    backlog_file: int
    backlog_output: int
    memory: int | None

    def record(self) -> str:
        """As a line among the records of `--format jsonl`."""
        return json.dumps({"type": "health", **asdict(self)}, separators=(",", ":"))

    def line(self) -> str:
        """In words."""
        known = [count for count in self.dropped.values() if count is not None]
        lost = [
            f"{sum(known):,} dropped" if known else "drops not known",
            *([f"{self.lost_packets:,} not saved"] if self.lost_packets else []),
            *([f"{self.lost_lines:,} lines left out"] if self.lost_lines else []),
        ]
        waiting = self.backlog_file + self.backlog_output
        memory = "" if self.memory is None else f", {self.memory / 1e6:,.0f} MB in memory"
        return (
            f"up {self.uptime:,.0f} s: {self.packets:,} packets, {', '.join(lost)}; {self.open:,} open, "
            f"{self.ended:,} ended; {waiting / 1e6:,.1f} MB wait to be written{memory}"
        )


class Examination:
    """Asks all that takes part in a capture how it is."""

    def __init__(
        self,
        names: Sequence[str],
        engine: Engine,
        watch: Watch,
        out: LiveOutput,
        saving: Saving | None,
        processes: Processes | None,
    ) -> None:
        self._began = time.monotonic()
        self._names = names
        self._engine = engine
        self._watch = watch
        self._out = out
        self._saving = saving
        self._processes = processes

    def health(self) -> Health:
        """The state now."""
        counts = dict(zip(self._names, self._engine.counts(), strict=True))
        saving, tally = self._saving, self._watch.tally
        return Health(
            time=iso_time(time.time_ns()),
            uptime=round(time.monotonic() - self._began, 3),
            packets=self._watch.packets,
            received={name: None if count is None else count.received for name, count in counts.items()},
            dropped={name: None if count is None else count.dropped for name, count in counts.items()},
            saved=0 if saving is None else saving.frames,
            lost_packets=0 if saving is None else saving.lost,
            lost_lines=self._out.lost,
            open=self._watch.open,
            ended=tally.conversations,
            outcomes=tally.outcomes(),
            lookups_left_out=0 if self._processes is None else self._processes.left_out,
            backlog_file=0 if saving is None else saving.waiting,
            backlog_output=self._out.waiting,
            memory=_memory(),
        )


def _memory() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open("/proc/self/statm", "rb") as kept:
            return int(kept.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
