"""Conversations of capture files for commands that say something about all of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socks5sniff.errors import ExitCode, InputError, Socks5sniffError
from socks5sniff.record import Conversation, Endpoint

from .filters import Test
from .interrupt import Interruption
from .messages import complain, own_fault
from .output import Output, is_stream, refuse_terminal
from .progress import ProgressBar
from .read import unreadable
from .working import ALONE, WholeReading, Working, open_reading

if TYPE_CHECKING:
    from socks5sniff.archive.tally import Tally


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a reading came to."""

    packets: int
    """Frames read."""
    conversations: int
    """Those found, also those that were not wanted."""
    status: ExitCode
    """OK, INTERRUPTED after a Ctrl-C, or FAILED where an error of this program was contained."""
    fault: Socks5sniffError | None
    """What the input ended with; to be raised when everything before it has been written."""
    attempts: Sequence[tuple[Endpoint, str, int]]
    """TCP connections to proxies that came to no conversation: proxy, outcome, how many."""


def gather(
    files: Sequence[str],
    ports: tuple[int, ...],
    keep: Test | None,
    take: Callable[[Conversation], Any],
    out: Output,
    last: Test | None = None,
    each: bool = False,
    working: Working = ALONE,
    tally: Tally | None = None,
) -> Gathered:
    """Read captures and hand over each conversation that `keep` lets through (None: all).

    Args:
        files: names of captures as people give them, `-` for standard input.
        ports: further proxy ports.
        take: called with each conversation.
        out: where the outcome will be written; the bar leaves the terminal before that.
        last: whether a conversation is the last one that is wanted; None for all.
        each: read every file by itself.
        working: who reads.
        tally: what `take` counts with, where several processes may count with others like it: then those that they
            have counted are not handed over, and `keep` is asked there.

    Raises:
        click.UsageError: standard input is a terminal.
        InputError: an input cannot be opened, and nothing was read.
    """
    refuse_terminal(files)
    from socks5sniff.capture.inputs import expand

    files = expand(files)
    bar = ProgressBar()
    out.before = bar.stop
    status, fault = ExitCode.OK, None
    with Interruption(any(map(is_stream, files))) as ctrl_c:
        reading = _open(files, ports, each, bar, ctrl_c, working, keep, tally)
        try:
            for conversation in reading:
                if keep is None or keep(conversation):
                    take(conversation)
                if last is not None and last(conversation):
                    break
        except KeyboardInterrupt:
            status = ExitCode.INTERRUPTED
        except Socks5sniffError as error:
            if isinstance(error, InputError) and not reading.conversations:
                raise
            fault = error
        finally:
            bar.stop()
    if reading.evicted:
        complain(f"{reading.evicted:,} open connections were forgotten early: there were too many at once.")
    if reading.faults:
        complain(own_fault(len(reading.faults), reading.faults.first))
        status = ExitCode.FAILED if status == ExitCode.OK else status
    for note in reading.notes:
        complain(note)
    if status == ExitCode.OK and fault is None and reading.unknown_links:
        fault = unreadable(reading.unknown_links)
    return Gathered(reading.packets, reading.conversations, status, fault, reading.attempt_counts)


def _open(
    files: Sequence[str],
    ports: tuple[int, ...],
    each: bool,
    bar: ProgressBar,
    ctrl_c: Interruption,
    working: Working,
    keep: Test | None,
    tally: Tally | None,
) -> WholeReading:
    """The conversations of the files; between two batches the bar moves and Ctrl-C is heard."""
    def between_batches(done: int, total: int) -> None:
        ctrl_c.check()
        bar.update(done, total, reading.conversations, reading.workers)

    counted: Any = {}
    if tally is not None:
        from socks5sniff.archive.tally import counting, merging

        counted = {"writer": counting(tally, keep), "wrote": merging(tally)}
    reading: WholeReading = open_reading(files, working, **counted, ports=ports, each=each, progress=between_batches)
    return reading
