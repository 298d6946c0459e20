"""What stretches and whoever joins them tell each other: values that go from one process to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.attempts import Attempts
from socks5sniff.analysis.bypass import Sought
from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.handshakes import Kept
from socks5sniff.analysis.numbering import Finished
from socks5sniff.analysis.unproxied import Part
from socks5sniff.analysis.watch import IGNORED
from socks5sniff.capture.batch import FrameBatch, Interface, Process
from socks5sniff.packets.columns import Datagrams, Segments
from socks5sniff.packets.icmp import Reported
from socks5sniff.packets.marks import Networks
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.packets.rows import Skipped
from socks5sniff.record.batch import Batch
from socks5sniff.streams.flows import NO_TIME
from socks5sniff.streams.slots import Rows

from .narrow import narrow, narrow_rows, wide, wide_rows

Printer = Callable[[Batch], list[str]]
"""See `Batch.printed`; it can be sent to other processes."""
Writer = Callable[[int, Batch, int], tuple[list[Any], Batch]]
"""Takes records where they are, once they have their ids, and gives what came of it, and those that are left. It can be
sent to other processes.

Of a dataset it writes files, given a number that no others have, but for those that would have fewer records than so
many, and gives their names; they are whole by then and take the place of any that had them. See also `tally`."""


class Settings(NamedTuple):
    """How to analyse."""

    ports: tuple[int, ...] = ()
    show_passwords: bool = False
    udp_frames: bool = False
    printer: Printer | None = None
    """What makes the lines of records, where nobody asks for more."""
    sought: Sought | None = None
    """What is looked for that goes past proxies."""
    writer: Writer | None = None
    """What writes records where they are made."""
    least: int = 0
    """Records that are worth a file of their own."""


class State(NamedTuple):
    """All that is known of some flows; `slots` are their places in the stretch."""

    slots: NDArray[np.intp]
    kept: Kept
    fins: Rows

    def part(self, rows: NDArray[np.intp]) -> State:
        """That of some of the flows."""
        place = np.full(len(self.slots), -1, np.intp)
        place[rows] = np.arange(len(rows))
        octets, watch, marks, heads = self.kept
        heads = heads.take(np.flatnonzero(place[heads.slot] >= 0))
        return State(
            self.slots[rows],
            Kept(
                *(_rows(octets, rows), _rows(watch, rows), _rows(marks, rows)),
                heads._replace(slot=place[heads.slot]),
            ),
            _rows(self.fins, rows),
        )


class Packets(NamedTuple):
    """Segments, and what was left out of them; see `Thinned`."""

    segments: Segments
    whose: NDArray[np.intp]
    first: NDArray[np.int64]


class Outline(NamedTuple):
    """What a stretch holds.

    Attributes:
        frames: how many; earliest, latest: ns, of all of them.
        first: ns, the latest time by the first segment; clock: by the last one.
        interfaces: that `capture` of flows and packets means.
        addresses: IPv6 addresses by their numbers.
        skipped, unknown_links: see `PacketReader`.
        flows: columns of the flow table but for `stream`, in the order of their beginning.
        newest: intp[n], of the flows between the same endpoints the last one, by which these endpoints are called.
        opening: intp[n], the first one of these.
        syn: bool[n], a flow's first packet has SYN; clocks: int64[n], the latest time by then.
        kind: uint8[n], as far as it is known; marks: uint64[2, n], see `Watch`.
        shared: flows with the same endpoints that may still have packets.
        closed: intp[m], flows that have closed, in the order in which they closed.
        associating: endpoints (see `newest`) of flows that open UDP associations.
        open: what is known of flows that have not closed.
        dns: segments from name servers.
        networks, processes: that flows and packets mean by their numbers.
        named: int32[2, n], processes of the flows, see `Provenance`; None where none is named.
        errors: what ICMP says of datagrams.
        past: all connections and datagrams, where it is looked for what goes past proxies.
        fragments: frames of IP packets that are not complete here, None where there are none, and their numbers.
        datagrams: answers of name servers, and those that look like a SOCKS UDP header; of `all_datagrams` in all.
    """

    frames: int
    earliest: int
    latest: int
    first: int
    clock: int
    interfaces: list[Interface]
    addresses: dict[int, bytes]
    skipped: Skipped
    unknown_links: list[UnknownLink]
    flows: Rows
    newest: NDArray[np.intp]
    opening: NDArray[np.intp]
    syn: NDArray[np.bool_]
    clocks: NDArray[np.int64]
    kind: NDArray[np.uint8]
    marks: NDArray[np.uint64]
    shared: list[list[int]]
    closed: NDArray[np.intp]
    associating: NDArray[np.intp]
    open: State
    dns: Segments
    datagrams: Datagrams
    all_datagrams: int
    networks: Networks
    processes: list[Process]
    named: NDArray[np.int32] | None
    errors: list[Reported]
    past: Part | None
    fragments: FrameBatch | None
    fragment_frames: NDArray[np.int64]

    def __reduce__(self) -> tuple[Callable[..., Outline], tuple[Any, ...]]:
        """How it goes to another process."""
        columns = narrow_rows({**self.flows, "clocks": self.clocks})
        newest, opening = narrow(self.newest, np.arange(len(self.newest))), narrow(self.opening, self.newest)
        narrowed = ("flows", "clocks", "newest", "opening")
        rest = {name: getattr(self, name) for name in self._fields if name not in narrowed}
        return _outline, (columns, newest, opening, rest)

    @property
    def openings(self) -> NDArray[np.intp]:
        """The first flow between the same endpoints, of each pair of them, in order."""
        return np.flatnonzero(self.opening == np.arange(len(self.opening)))

    @property
    def last_closing(self) -> int:
        """The latest time by which a flow has closed that may be SOCKS."""
        closed = self.flows["close_clock"][self.kind != IGNORED]
        return int(closed.max(initial=NO_TIME))


def _outline(columns: Any, newest: Any, opening: Any, rest: dict[str, Any]) -> Outline:
    flows = wide_rows(columns)
    newest = wide(newest, np.arange(len(flows["low"])))
    return Outline(clocks=flows.pop("clocks"), flows=flows, newest=newest, opening=wide(opening, newest), **rest)


class Order(NamedTuple):
    """What is to be finished where.

    Attributes:
        frames: number of frames before this stretch.
        streams: int64[n], numbers of its flows.
        elsewhere: intp[k], flows that another analyser follows.
        learned: clients and addresses that they got from DNS.
        since, until: ns, what lies around the stretch; upstream connections that began there are not known here.
    """

    frames: int
    streams: NDArray[np.int64]
    elsewhere: NDArray[np.intp]
    learned: frozenset[tuple[str, str]]
    since: int
    until: int

    def __reduce__(self) -> tuple[Callable[..., Order], tuple[Any, ...]]:
        """How it goes to another process."""
        return _order, (narrow(self.streams, np.arange(len(self.streams))), len(self.streams), *self[2:], self.frames)


def _order(streams: Any, count: int, *rest: Any) -> Order:
    return Order(rest[-1], wide(streams, np.arange(count)), *rest[:-1])


class Inner(NamedTuple):
    """What came of the flows that lie in a stretch as a whole.

    Attributes:
        finished: records; streams: int64[n], of their flows.
        places: of the records that stay with the stretch until `Stretch.write`, see `Numbering`; then there are no
            others.
        related: what is known of flows whose records depend on others, as far as `State` tells.
        requested: names that proxies were asked for, see `Names`.
        attempts: those of these flows.
        faults: errors of this program that were contained in them.
    """

    finished: Finished
    streams: NDArray[np.int64]
    places: NDArray[np.int64]
    related: State
    requested: dict[tuple[str, bytes], int]
    attempts: Attempts
    faults: Faults


class Written(NamedTuple):
    """What became of records that had stayed with a stretch.

    Attributes:
        results: see `Writer`: names of files, or what was counted.
        left: records that were not worth one.
        unnumbered: those that have no numbers yet.
    """

    results: list[Any]
    left: Batch
    unnumbered: Finished


def _rows(table: Rows, rows: NDArray[np.intp]) -> Rows:
    return {name: column[..., rows] for name, column in table.items()}
