"""From conversations to a sink: what was decoded is printed, whatever ends the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from socks5sniff.errors import ExitCode, InputError, Socks5sniffError
from socks5sniff.record import Endpoint
from socks5sniff.record.batch import Batch
from socks5sniff.sinks import Files, Options, Row, Sink, Totals, Unfinished, Writer, open_sink

from .filters import Test
from .interrupt import Interruption
from .messages import complain, own_fault


class Keeper(Protocol):
    """Who has to know what writes."""

    sink: object


class Faults(Protocol):
    """Errors of this program that were contained."""

    first: str

    def __len__(self) -> int: ...

SAID = ("table", "html")
"""Sinks that write the notes of a reading; beside the others they are said."""


class Reading(Protocol):
    """Conversations as they are decoded, and counts of what was read so far."""

    @property
    def packets(self) -> int: ...

    @property
    def skipped(self) -> int: ...

    @property
    def conversations(self) -> int: ...

    @property
    def evicted(self) -> int: ...

    @property
    def faults(self) -> Faults: ...

    @property
    def attempts(self) -> Sequence[Row]: ...

    @property
    def bypasses(self) -> Sequence[Row]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    @property
    def attempt_counts(self) -> Sequence[tuple[Endpoint, str, int]]: ...

    def batches(self) -> Iterator[Batch]: ...


def report(
    reading: Reading,
    name: str,
    out: Writer | Files,
    options: Options,
    keep: Test | None,
    interruption: Interruption,
    keeper: Keeper | None = None,
) -> int:
    """Write the conversations that `keep` lets through (None: all) to the sink called `name`.

    Args:
        keeper: keeps how far it has come, where somebody does.

    Returns:
        The exit status: OK, INTERRUPTED after a Ctrl-C, or FAILED where an error of this program was contained.

    Raises:
        Socks5sniffError: what the input ended with, after everything before it is written. An input that could not
            be opened at all leaves the output untouched.
    """
    sink = open_sink(name, out, options)
    if keeper is not None:
        keeper.sink = sink
    try:
        status = _written(reading, sink, keep, interruption)
    except BaseException:
        if isinstance(sink, Unfinished):
            sink.discard()
        raise
    finally:
        if name not in SAID:
            for note in reading.notes:
                complain(note)
    return status


def _written(reading: Reading, sink: Sink, keep: Test | None, interruption: Interruption) -> int:
    fault: Socks5sniffError | None = None
    status = ExitCode.OK
    delivered = False
    try:
        for batch in reading.batches():
            delivered = True
            kept = batch if keep is None else batch.wanted(keep)
            interruption.writing = True
            sink.records(kept)
            interruption.writing = False
    except KeyboardInterrupt:
        status = ExitCode.INTERRUPTED
    except InputError as error:
        if not delivered:
            raise
        fault = error
    except Socks5sniffError as error:
        fault = error
    ended = None if fault is None else str(fault)
    counts = reading.packets, reading.skipped, reading.conversations, reading.evicted
    beside = reading.attempt_counts, reading.attempts, reading.bypasses, reading.notes
    sink.close(Totals(*counts, ended, *beside))
    if reading.evicted:
        complain(f"{reading.evicted:,} open connections were forgotten early: there were too many at once.")
    if reading.faults:
        complain(own_fault(len(reading.faults), reading.faults.first))
    if fault is not None:
        raise fault
    return ExitCode.FAILED if reading.faults and status == ExitCode.OK else status
