"""Records as columns: what the analyser hands on, and sinks print without making an object of each.

A row is either of a `Form`, which says what its dialogue has in common with many others, with the rest in columns, or
it is a `Conversation` that is written out. Whoever does not care asks for rows and gets conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .conversation import (
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    Target,
    Timing,
    Traffic,
    Tunnel,
)
from .form import Form, FormFrame, Step
from .text import Text, plain

NO_TIME = np.iinfo(np.int64).min
CLOSES = ("open", "fin", "reset")
CLOSERS = ("client", "proxy", None)
CHOICES: dict[str, tuple[str | None, ...]] = {"close": CLOSES, "closed_by": CLOSERS}
"""Columns that hold indexes of words."""


@dataclass(slots=True, eq=False, repr=False)
class Columns:
    """What rows of forms have of their own, an entry a row. Times are ns since 1970, NO_TIME where there is none.

    Attributes:
        form: index into `forms`.
        capture: index into `captures`.
        client_address, proxy_address, community_id, username, destination, bound, peer: text columns; `destination`,
            `bound` and `peer` are hosts.
        client_port, proxy_port, destination_port, bound_port, peer_port: numbers.
        start, end, first_frame, last_frame, packets, tcp_stream: of the connection.
        frames, times: int64[n, k]: frame number and time of the dialogue's segments, by place.
        request_length, login_length: octets of frames whose length varies.
        tunnel: index into `tunnels`.
        process: index into `processes`; only `live` knows any.
        sent, received: octets through the tunnel.
        tcp_handshake: ns, or NO_TIME.
        first_byte: when it came.
        close, closed_by: index into CLOSES and CLOSERS.
        upstream_source_address, upstream_destination_address: text columns; upstream_source_port,
            upstream_destination_port, upstream_handshake (ns, or NO_TIME): of the proxy's own connection where the
            form has one, else nothing.
    """

    forms: Sequence[Form]
    captures: Sequence[str]
    tunnels: Sequence[Tunnel | None]
    processes: list[dict[str, Any] | None]
    form: NDArray[np.intp]
    capture: NDArray[np.intp]
    client_address: Text
    client_port: NDArray[np.int64]
    proxy_address: Text
    proxy_port: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    username: Text
    destination: Text
    destination_port: NDArray[np.int64]
    bound: Text
    bound_port: NDArray[np.int64]
    peer: Text
    peer_port: NDArray[np.int64]
    tunnel: NDArray[np.intp]
    sent: NDArray[np.int64]
    received: NDArray[np.int64]
    tcp_handshake: NDArray[np.int64]
    first_byte: NDArray[np.int64]
    close: NDArray[np.intp]
    closed_by: NDArray[np.intp]
    packets: NDArray[np.int64]
    tcp_stream: NDArray[np.int64]
    community_id: Text
    first_frame: NDArray[np.int64]
    last_frame: NDArray[np.int64]
    frames: NDArray[np.int64]
    times: NDArray[np.int64]
    request_length: NDArray[np.int64]
    login_length: NDArray[np.int64]
    upstream_source_address: Text
    upstream_source_port: NDArray[np.int64]
    upstream_destination_address: Text
    upstream_destination_port: NDArray[np.int64]
    upstream_handshake: NDArray[np.int64]
    process: NDArray[np.intp]

    def alone(self, rows: NDArray[np.intp]) -> Columns:
        """Some rows, with no other forms and tunnels than theirs."""
        forms, form = np.unique(self.form[rows], return_inverse=True)
        tunnels, tunnel = np.unique(self.tunnel[rows], return_inverse=True)
        columns = {name: getattr(self, name) for name in self.__slots__}
        chosen: dict[str, Any] = {name: each[rows] for name, each in columns.items() if isinstance(each, np.ndarray)}
        chosen |= {"form": form, "tunnel": tunnel}
        return replace(
            self,
            **chosen,
            forms=[self.forms[number] for number in forms.tolist()],
            tunnels=[self.tunnels[number] for number in tunnels.tolist()],
        )

    def conversation(self, row: int, number: int) -> Conversation:
        """The record of a row, written out."""
        form = self.forms[self.form[row]]
        username = plain(self.username[row]) if form.username else None
        destination = self._target(form.destination, self.destination, self.destination_port, row)
        bound = self._target(form.bound, self.bound, self.bound_port, row)
        sent = Traffic(int(self.sent[row]), int(self.received[row])) if form.relays else None
        return Conversation(
            id=number,
            parent=None,
            capture=self.captures[self.capture[row]],
            protocol=form.protocol,
            client=Endpoint(plain(self.client_address[row]), int(self.client_port[row])),
            proxy=Endpoint(plain(self.proxy_address[row]), int(self.proxy_port[row])),
            reversed=False,
            start_ns=int(self.start[row]),
            end_ns=int(self.end[row]),
            phase=form.phase,
            outcome=form.outcome,
            methods=None if form.methods is None else list(form.methods),
            method=form.method,
            username=username,
            password=form.password,
            authenticated=form.authenticated,
            command=form.command,
            destination=destination,
            reply=form.reply,
            bound=bound,
            peer_reply=form.peer_reply,
            peer=self._target(form.peer, self.peer, self.peer_port, row),
            tunnel=self.tunnels[self.tunnel[row]] if form.relays else None,
            bytes=sent,
            udp=None,
            timing=self._timing(form, row),
            close=CLOSES[self.close[row]],
            closed_by=CLOSERS[self.closed_by[row]],
            packets=int(self.packets[row]),
            tcp_stream=int(self.tcp_stream[row]),
            community_id=plain(self.community_id[row]),
            name_resolution=None if destination is None else "remote" if destination.type == "domain" else "address",
            first_frame=int(self.first_frame[row]),
            last_frame=int(self.last_frame[row]),
            frames=[self._frame(frame, row) for frame in form.frames],
            anomalies=[
                AnomalyEntry(entry.code, entry.severity, int(self.frames[row, entry.place]), entry.message)
                for entry in form.anomalies
            ],
            upstream=self._upstream(form, row),
            process=self.processes[self.process[row]],
        )

    def _upstream(self, form: Form, row: int) -> dict[str, Any] | None:
        if form.upstream is None:
            return None
        source, destination = (
            Endpoint(plain(hosts[row]), int(ports[row]))._asdict()
            for hosts, ports in (
                (self.upstream_source_address, self.upstream_source_port),
                (self.upstream_destination_address, self.upstream_destination_port),
            )
        )
        matched_by, outcome = form.upstream
        return {"source": source, "destination": destination, "matched_by": matched_by, "outcome": outcome}

    @staticmethod
    def _target(kind: str | None, hosts: Text, ports: NDArray[np.int64], row: int) -> Target | None:
        return None if kind is None else Target(kind, plain(hosts[row]), int(ports[row]))

    def _timing(self, form: Form, row: int) -> Timing:
        times, handshake, upstream = self.times[row], int(self.tcp_handshake[row]), int(self.upstream_handshake[row])
        first = int(self.first_byte[row])

        def step(places: Step) -> float | None:
            return None if places is None else float(times[places[1]] - times[places[0]]) / 1e9

        began = form.replied is not None and form.relays and first != NO_TIME
        return Timing(
            None if handshake == NO_TIME else handshake / 1e9,
            step(form.negotiation),
            step(form.authentication),
            step(form.request),
            (first - int(times[form.replied])) / 1e9 if began and form.replied is not None else None,
            None if upstream == NO_TIME else upstream / 1e9,
        )

    def _frame(self, frame: FormFrame, row: int) -> FrameEntry:
        words = []
        for piece in frame.summary:
            if isinstance(piece, str):
                words.append(piece)
                continue
            text = plain(getattr(self, piece.column)[row])
            if piece.port is not None:
                text = f"[{text}]" if ":" in text else text
                text += f":{getattr(self, piece.port)[row]}"
            words.append(text)
        length = frame.length if isinstance(frame.length, int) else int(getattr(self, frame.length)[row])
        return FrameEntry(
            int(self.frames[row, frame.place]),
            int(self.times[row, frame.place]),
            frame.sender,
            frame.type,
            length,
            "".join(words),
        )


class Batch:
    """Some records in the order in which they are to be shown.

    Attributes:
        id: int64[n].
        written: by row, a conversation that is written out, or None for a row of a form.
        columns: the rows of forms; None where there are none.
        place: intp[n]: a form's row in `columns`.
        printed: by row, what a format says of it behind its id, where that was said already and nothing else is known,
            and nothing where the record is not wanted; None where no row is.
    """

    __slots__ = ("columns", "id", "place", "printed", "written")

    def __init__(
        self,
        number: NDArray[np.int64],
        written: list[Conversation | None],
        columns: Columns | None = None,
        place: NDArray[np.intp] | None = None,
        printed: list[str | None] | None = None,
    ) -> None:
        self.id = number
        self.written = written
        self.columns = columns
        self.place = np.zeros(len(number), np.intp) if place is None else place
        self.printed = printed

    def __len__(self) -> int:
        return len(self.written)

    def __iter__(self) -> Iterator[Conversation]:
        return map(self.row, range(len(self.written)))

    def row(self, row: int) -> Conversation:
        """One record; that of a form is written out for whoever asks, and not kept."""
        conversation = self.written[row]
        if conversation is None:
            assert self.columns is not None, "rows of forms have columns"
            conversation = self.columns.conversation(int(self.place[row]), int(self.id[row]))
        return conversation

    def write_out(self, row: int) -> Conversation:
        """One record, kept from now on, so that it can be changed."""
        conversation = self.written[row] = self.row(row)
        return conversation

    def of_forms(self) -> NDArray[np.intp]:
        """The rows of forms."""
        return np.array([row for row, each in enumerate(self.written) if each is None], np.intp)

    def endpoints(self) -> list[tuple[str, int, str, int]]:
        """Address and port of each row's client, and of its proxy."""
        found = [("", 0, "", 0) if each is None else (*each.client, *each.proxy) for each in self.written]
        columns, rows = self.columns, self.of_forms()
        if columns is not None:
            places = self.place[rows]
            clients, proxies = columns.client_address[places], columns.proxy_address[places]
            ports = columns.client_port[places].tolist(), columns.proxy_port[places].tolist()
            ends = zip(map(plain, clients), ports[0], map(plain, proxies), ports[1], strict=True)
            for row, one in zip(rows.tolist(), ends, strict=True):
                found[row] = one
        return found

    def by_proxy(self) -> Iterator[tuple[Endpoint, str, int, int, int]]:
        """The rows of forms together: proxy, outcome, how many, and octets sent and received through their tunnels."""
        columns, rows = self.columns, self.of_forms()
        if columns is None or not len(rows):
            return
        places = self.place[rows]
        same = np.column_stack((columns.form[places], columns.proxy_port[places], columns.proxy_address[places]))
        _, first, group = np.unique(same, axis=0, return_index=True, return_inverse=True)
        count = np.bincount(group).tolist()
        through = [np.bincount(group, way[places]) for way in (columns.sent, columns.received)]
        for number, place in enumerate(places[first].tolist()):
            form = columns.forms[columns.form[place]]
            proxy = Endpoint(plain(columns.proxy_address[place]), int(columns.proxy_port[place]))
            sent, received = (int(way[number]) if form.relays else 0 for way in through)
            yield proxy, form.outcome, count[number], sent, received

    def upstreams(self) -> Iterator[tuple[Endpoint, Endpoint]]:
        """Source and destination of the proxies' own connections, of the rows that have one."""
        for each in filter(None, self.written):
            if each.upstream is not None:
                yield Endpoint(**each.upstream["source"]), Endpoint(**each.upstream["destination"])
        columns = self.columns
        for place in () if columns is None else self.place[self.of_forms()].tolist():
            assert columns is not None, "rows of forms have columns"
            if columns.forms[columns.form[place]].upstream is not None:
                yield (
                    Endpoint(plain(columns.upstream_source_address[place]), int(columns.upstream_source_port[place])),
                    Endpoint(
                        plain(columns.upstream_destination_address[place]),
                        int(columns.upstream_destination_port[place]),
                    ),
                )

    def name(self, processes: Sequence[dict[str, Any] | None]) -> None:
        """Say whose program each row's client is, where that is known."""
        known: dict[tuple[Any, ...], int] = {}
        for row, process in enumerate(processes):
            if process is None:
                continue
            conversation = self.written[row]
            if conversation is not None:
                conversation.process = process
                continue
            assert self.columns is not None, "rows of forms have columns"
            index = known.setdefault((*process.values(),), len(self.columns.processes))
            if index == len(self.columns.processes):
                self.columns.processes.append(process)
            self.columns.process[self.place[row]] = index

    def numbers(self, name: str) -> NDArray[np.int64]:
        """What each row has under a name that records and columns share, such as `tcp_stream`."""
        return self._numbers(name, name)

    def times(self, name: str) -> NDArray[np.int64]:
        """`start` or `end` of each row, in nanoseconds since 1970."""
        return self._numbers(name, f"{name}_ns")

    def _numbers(self, column: str, key: str) -> NDArray[np.int64]:
        found = np.array([0 if each is None else getattr(each, key) for each in self.written], np.int64)
        if self.columns is not None:
            rows = self.of_forms()
            found[rows] = getattr(self.columns, column)[self.place[rows]]
        return found

    def slice(self, begin: int, end: int) -> Batch:
        """Some of the rows."""
        printed = None if self.printed is None else self.printed[begin:end]
        return Batch(self.id[begin:end], self.written[begin:end], self.columns, self.place[begin:end], printed)

    def alone(self) -> Batch:
        """The same rows, in columns that have no others."""
        rows = self.of_forms()
        if self.columns is None or not len(rows):
            return Batch(self.id, self.written, None, None, self.printed)
        place = np.zeros(len(self), np.intp)
        place[rows] = np.arange(len(rows))
        return Batch(self.id, self.written, self.columns.alone(self.place[rows]), place, self.printed)

    def wanted(self, keep: Callable[[Conversation], bool]) -> Batch:
        """The rows that `keep` lets through, which has been asked already of those that are printed."""
        printed = self.printed or [None] * len(self)
        return self.select([keep(self.row(row)) if text is None else text != "" for row, text in enumerate(printed)])

    def select(self, chosen: Sequence[bool]) -> Batch:
        """The rows that are chosen."""
        return self.take(np.flatnonzero(np.asarray(chosen, np.bool_)))

    def take(self, rows: NDArray[np.intp]) -> Batch:
        """These rows."""
        places = rows.tolist()
        printed = None if self.printed is None else [self.printed[row] for row in places]
        return Batch(self.id[rows], [self.written[row] for row in places], self.columns, self.place[rows], printed)


def joined(batches: Sequence[Batch]) -> Batch:
    """The rows of several batches; one of them at most may have columns."""
    columns = [batch.columns for batch in batches if batch.columns is not None]
    assert len(columns) < 2, "rows of forms have the columns of one batch"
    printed = None
    if any(batch.printed for batch in batches):
        printed = [text for batch in batches for text in batch.printed or [None] * len(batch)]
    return Batch(
        np.concatenate([batch.id for batch in batches]),
        [each for batch in batches for each in batch.written],
        columns[0] if columns else None,
        np.concatenate([batch.place for batch in batches]),
        printed,
    )


def written(conversations: Sequence[Conversation]) -> Batch:
    """A batch of conversations that are written out."""
    return Batch(np.array([each.id for each in conversations], np.int64), list(conversations))
