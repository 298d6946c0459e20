"""`--jobs` and `--cluster`: one reading by several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import click

from .output import is_stream
from .pages import grouped
from .report import Reading

if TYPE_CHECKING:
    from socks5sniff.analysis import Attempt
    from socks5sniff.analysis.reading import UnknownLink
    from socks5sniff.archive.flow import Workers
    from socks5sniff.archive.messages import Printer, Writer
    from socks5sniff.archive.parts import Keeper
    from socks5sniff.record import Conversation

Command = TypeVar("Command", bound=Callable[..., Any])

SHARE = 256 << 20
"""Octets of captures for each process that nobody asked for: with fewer they gain no more than they cost."""
MEMORY = 1 << 30
"""Octets of memory for each of these; it takes a third of that at most, and nobody has thought of it."""
MOST = 8
"""So many processes are started unasked: the one that joins what they found is as busy as they are by then."""


class WholeReading(Reading, Protocol):
    """What commands ask of a reading, whoever does it."""

    @property
    def attempts(self) -> Sequence[Attempt]: ...
    @property
    def workers(self) -> Mapping[str, int]: ...
    @property
    def unknown_links(self) -> Sequence[UnknownLink]: ...
    def __iter__(self) -> Iterator[Conversation]: ...


class Working(NamedTuple):
    """Who reads.

    Attributes:
        jobs: processes of this machine; None for as many as are worth it, and for all cores of a local cluster.
        cluster: the address of a Dask cluster, or `local`; None for none.
    """

    jobs: int | None
    cluster: str | None


ALONE = Working(1, None)
"""This process."""


def working_options(command: Command) -> Command:
    """`--jobs N` and `--cluster WHERE`, as working (a Working)."""

    @wraps(command)
    def decorated(*arguments: Any, jobs: int | None, cluster: str | None, **others: Any) -> Any:
        return command(*arguments, working=Working(jobs, cluster), **others)

    named: Command = grouped(
        "Speed",
        click.option(
            "--jobs",
            type=click.IntRange(1),
            metavar="N",
            help="Read with N processes. Default: one for every 256 MB, core and gigabyte of memory, at most 8.",
        ),
        click.option(
            "--cluster",
            metavar="WHERE",
            help="Read with the workers of a Dask cluster: its scheduler's address, or local.",
        ),
    )(decorated)
    return named


def open_reading(
    files: Sequence[str],
    working: Working,
    printer: Printer | None = None,
    writer: Writer | None = None,
    wrote: Callable[[Sequence[Any]], None] | None = None,
    keeper: Keeper | None = None,
    **options: Any,
) -> WholeReading:
    """The conversations of captures, read by whoever is to do it; the records are the same.

    Args:
        files: names of captures.
        working: who reads.
        printer: what makes lines of the records (see `sinks.printing`), where nothing else is wanted of them.
        writer: takes records where several processes make them; then only the others are given.
        wrote: is told what has come of that.
        keeper: see `archive.parts.Keeper`.
        options: of `analysis.read`.
    """
    from socks5sniff import analysis

    start, count = _workers(files, working)
    if start is None and keeper is not None and keeper.state is not None:
        start = _begun(keeper.state)
    if start is not None:
        from socks5sniff.archive.plan import UnsuitableError
        from socks5sniff.archive.reading import ArchiveReading

        try:
            taking: Any = {"printer": printer, "writer": writer, "wrote": wrote}
            return ArchiveReading(files, start, count, **taking, keeper=keeper, **options)
        except UnsuitableError:
            pass
    if keeper is not None:
        return analysis.Reading(files, keeper=keeper, **options)
    return analysis.read(files, **options)


def _workers(files: Sequence[str], working: Working) -> tuple[Callable[[], Workers] | None, int]:
    """How to start workers, None where this process reads alone, and how many they are."""
    if any(map(is_stream, filter(os.path.exists, files))) or "-" in files:
        return None, 1
    if working.cluster is not None:
        from socks5sniff.archive.cluster import Cluster

        cluster = Cluster(working.cluster, working.jobs)
        return lambda: cluster, cluster.count
    jobs = worthwhile(files) if working.jobs is None else working.jobs
    return (None if jobs == 1 else _processes(jobs)), jobs


def _processes(count: int) -> Callable[[], Workers]:
    from socks5sniff.archive.processes import Processes

    return lambda: Processes(count)


def _begun(state: object) -> Callable[[], Workers] | None:
    """What several processes have begun is not gone on with in another way, be it by one."""
    from socks5sniff.archive.reading import begun

    return _processes(1) if begun(state) else None


def worthwhile(files: Sequence[str]) -> int:
    """How many processes are worth it for these captures: by the size of those that are files of this machine."""
    octets = 0
    for name in files:
        with suppress(OSError):
            octets += os.stat(name).st_size
    return max(min(octets // SHARE, _cores(), _memory() // MEMORY, MOST), 1)


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    """Octets of memory, of this machine or on Linux of the container; more than anybody wants where nobody tells."""
    found = 1 << 62
    with suppress(AttributeError, OSError, ValueError):
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
        found = min(found, int(limit.read()))  # `max` where there is none
    return found
