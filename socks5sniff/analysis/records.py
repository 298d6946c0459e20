"""Records out of what dialogues said and what the flow table counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from socks5sniff.capture.batch import Interface
from socks5sniff.codec import Address
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.packets.columns import IPV6, TcpFlag
from socks5sniff.packets.community import community_ids
from socks5sniff.record import Conversation, Tunnel, text
from socks5sniff.record.batch import Batch, Columns
from socks5sniff.record.text import Text, plain
from socks5sniff.session import Session
from socks5sniff.streams.flows import NO_TIME, UNKNOWN

from .agreements import Agreements
from .asked import Asked, by_dialogues, by_forms
from .association import Association
from .build import FlowFacts, add_association, build, build_bare, build_nested, carried
from .connections import Connections
from .dialogue import Dialogue
from .faults import Faults, internal_error
from .forms import Recognised
from .handshakes import Decided
from .names import Names
from .numbering import Finished, Numbering, place_of
from .upstream import Legs, Upstreams

_TCP = 6
_VERSION = np.frombuffer(b"1:\0\0", np.uint8)
"""What Community IDs begin with."""
_CLOSING = TcpFlag.FIN | TcpFlag.RST
_CLOSE = {0: "open", TcpFlag.FIN: "fin", TcpFlag.RST: "reset", _CLOSING: "reset"}
_SIDES = (0, 1, None)
_NEVER = 1 << 62


class Records:
    """Makes records.

    Attributes:
        interfaces: where frames come from, as the batches say.
        names: what DNS has told, to clients and proxies.
        upstreams: the proxies' own connections.
    """

    def __init__(
        self,
        connections: Connections,
        numbering: Numbering,
        book: AddressBook,
        show_passwords: bool,
        faults: Faults,
    ) -> None:
        self.interfaces: list[Interface] = []
        self.names = Names(book)
        self._faults = faults
        self._flows = connections.flows
        self._octets = connections.octets
        self._watch = connections.watch
        self._handshakes = connections.handshakes
        self._provenance = connections.provenance
        self._book = book
        self._numbering = numbering
        self._show_passwords = show_passwords
        self.upstreams = Upstreams(self._flows, self._watch, book)

    def make(
        self, slots: NDArray[np.intp], decided: Decided, agreements: Agreements, over: bool = False
    ) -> Finished:
        """The records of these flows, those of conversations in their tunnels behind them.

        Args:
            over: no more packets of them will come.
        """
        recognised = decided.recognised
        if recognised is not None:
            recognised = recognised.take(np.isin(recognised.slot, slots))
        said = {slot: decided.dialogues[slot] for slot in slots.tolist() if slot in decided.dialogues}
        made: dict[int, list[tuple[int, Conversation, Conversation | None]]] = {}
        columns = None
        try:
            columns = None if recognised is None or not recognised.size else self._columns(recognised)
        except Exception as error:
            made = self._bare(() if recognised is None else recognised.slot.tolist(), error)
            recognised = None
        if columns is not None:
            with self._faults.contained():
                self._note_requests(columns)
        made |= self.written([*said.items()], agreements)
        place = {} if recognised is None else {slot: row for row, slot in enumerate(recognised.slot.tolist())}
        rows: list[tuple[int, Conversation | None, Conversation | None, int]] = []
        first = self._flows.first_frame
        for slot, frame in zip(slots.tolist(), first[slots].tolist(), strict=True):
            row = place.get(slot)
            if row is not None:
                rows.append((place_of(frame), None, None, row))
            rows += [(at, record, around, 0) for at, record, around in made.get(slot, ())]
        if any(around is not None for _, _, around, _ in rows):
            rows.sort(key=itemgetter(0))
        batch = Batch(
            np.zeros(len(rows), np.int64),
            [record for _, record, _, _ in rows],
            columns,
            np.array([row for _, _, _, row in rows], np.intp),
        )
        outer = {number: around for number, (_, _, around, _) in enumerate(rows) if around is not None}
        of_forms = [(row, number) for number, (_, record, _, row) in enumerate(rows) if record is None]
        if columns is not None:
            self._note_associations(batch, place, dict(of_forms), agreements)
            with self._faults.contained():
                if len(self.names):
                    self._judge_names(batch, columns, dict(of_forms))
        with self._faults.contained():
            self._note_upstreams(batch, dict(of_forms), recognised, said, made, over)
        self._note_provenance(slots, batch, place, dict(of_forms), said, made)
        return Finished(batch, [at for at, _, _, _ in rows], outer)

    def written(
        self, dialogues: Sequence[tuple[int, Dialogue]], agreements: Agreements
    ) -> dict[int, list[tuple[int, Conversation, Conversation | None]]]:
        """The records of dialogues as they stand, by slot: each one's place, and the one around it."""
        found: dict[int, list[tuple[int, Conversation, Conversation | None]]] = {}
        slots = np.array([slot for slot, _ in dialogues], np.intp)
        told = [*zip(dialogues, self._facts(slots), strict=True)]
        for (_, dialogue), facts in told:
            session = dialogue.session
            if session.request is not None and facts.opener == facts.responder:
                self.names.request(facts.responder, session.destination, session.request.frame)
        for (slot, dialogue), facts in told:
            found[slot] = []
            association = agreements.by_slot.get(slot)
            try:
                for entry in self._each(dialogue, association, facts):
                    found[slot].append(entry)
            except Exception as error:
                dialogue.fault = self._faults.note(error, facts.stream, dialogue.session.password)
            dialogue.fault = dialogue.fault or agreements.fault(slot)
            if dialogue.fault is not None:
                self._mark(found[slot], dialogue.fault, facts)
        return found

    def _each(
        self, dialogue: Dialogue, association: Association | None, facts: FlowFacts
    ) -> Iterator[tuple[int, Conversation, Conversation | None]]:
        """The records of one dialogue; see `written`."""
        number, show, now = self._numbering.number, self._show_passwords, self._handshakes.now
        place = place_of(facts.first_frame)
        record = build(
            dialogue, association, facts, self._book, number=number(place), show_passwords=show, now=now
        )
        self._judge(record, dialogue.session)
        yield place, record, None
        conversations = dialogue.nested()
        for depth, (nested, passed) in enumerate(zip(conversations, carried(dialogue, facts), strict=False), 1):
            place, outer = place_of(nested.frame, depth), record
            record = build_nested(nested, passed, facts, number=number(place), parent=outer.id, show_passwords=show)
            self._judge(record, nested.session)
            yield place, record, outer

    def _mark(
        self, made: list[tuple[int, Conversation, Conversation | None]], fault: str, facts: FlowFacts
    ) -> None:
        """An error was contained: say so in the connection's record, and have one in any case."""
        place = place_of(facts.first_frame)
        if not made:
            made.append((place, build_bare(facts, self._numbering.number(place)), None))
        made[0][1].anomalies.append(internal_error(fault, facts.last_frame))

    def _bare(
        self, slots: Sequence[int], error: Exception
    ) -> dict[int, list[tuple[int, Conversation, Conversation | None]]]:
        """Records of connections that no more can be told of."""
        found: dict[int, list[tuple[int, Conversation, Conversation | None]]] = {}
        for slot, facts in zip(slots, self._facts(np.array(slots, np.intp)), strict=True):
            found[slot] = []
            self._mark(found[slot], self._faults.note(error, facts.stream), facts)
        return found

    def _judge(self, record: Conversation, session: Session) -> None:
        if session.request is not None:
            self.names.judge(record, session.request.frame, session.request.time)

    def _note_associations(
        self, batch: Batch, place: dict[int, int], of_forms: dict[int, int], agreements: Agreements
    ) -> None:
        """Write out the records of forms that have opened an association, with what came of it; see `_note_provenance`.
        """
        for slot in place.keys() & agreements.slots:
            record = batch.write_out(of_forms[place[slot]])
            association, fault = agreements.by_slot.get(slot), agreements.fault(slot)
            try:
                if association is not None:
                    add_association(record, association, self._book)
            except Exception as error:
                fault = self._faults.note(error, record.tcp_stream)
            if fault is not None:
                record.anomalies.append(internal_error(fault, record.last_frame))

    def _note_upstreams(
        self,
        batch: Batch,
        of_forms: dict[int, int],
        recognised: Recognised | None,
        said: dict[int, Dialogue],
        made: dict[int, list[tuple[int, Conversation, Conversation | None]]],
        over: bool,
    ) -> None:
        """Tell of the proxies' own connections that are in the capture."""
        asked, in_dialogues = self._asked([(slot, said[slot]) for slot in made if slot in said], recognised)
        found = self.upstreams.find(asked, self._resolved(asked, in_dialogues, recognised, said), over)
        if not found:
            return
        legs = self.upstreams.legs(found.values())
        in_columns = []
        for row, at in enumerate(found):
            number = int(asked.row[at])
            record = made[number][0][1] if at < in_dialogues else batch.written[of_forms[number]]
            if record is None:
                in_columns.append((number, row))
            else:
                legs.note(row, record)
        if batch.columns is not None and in_columns:
            self._note_in_columns(batch.columns, legs, *map(np.array, zip(*in_columns, strict=True)))

    def _asked(self, said: Iterable[tuple[int, Dialogue]], recognised: Recognised | None) -> tuple[Asked, int]:
        """The requests of dialogues and, behind so many, those of forms."""
        about = self._flows, self._watch, self._book
        asked = by_dialogues(((slot, dialogue) for slot, dialogue in said if not dialogue.fault), *about)
        in_dialogues = len(asked.row)
        if recognised is not None and recognised.size:
            asked = Asked.join((asked, by_forms(recognised, self._handshakes.forms.forms, *about)))
        return asked, in_dialogues

    def legs(self, decided: Decided) -> NDArray[np.intp]:
        """Connections that may turn out to be the proxies' own ones of conversations that are still open."""
        settled = self._handshakes.settled.all()
        forms = [part for part in (decided.recognised, settled) if part is not None]
        recognised = Recognised.join(forms) if forms else None
        asked, in_dialogues = self._asked(decided.dialogues.items(), recognised)
        # Where the reply has not come the proxy may be trying still; what BND alone will show is not known then.
        waits = asked.until >= self._flows.last_time[asked.slot]
        asked = asked._replace(
            until=np.where(waits, _NEVER, asked.until), answered=np.where(waits, _NEVER, asked.answered)
        )
        return self.upstreams.fitting(asked, self._resolved(asked, in_dialogues, recognised, decided.dialogues))

    def _note_in_columns(
        self, columns: Columns, legs: Legs, rows: NDArray[np.intp], of: NDArray[np.intp]
    ) -> None:
        size, forms = len(columns.form), self._handshakes.forms
        told = [legs.told(row) for row in of.tolist()]
        pairs = zip(columns.form[rows].tolist(), told, strict=True)
        columns.form[rows] = [forms.with_upstream(form, upstream) for form, upstream in pairs]
        columns.upstream_handshake[rows] = legs.handshake[of]
        for end, ends in (("source", legs.source[of]), ("destination", legs.destination[of])):
            addresses = self._addresses(ends)
            shown = np.zeros((size, addresses.shape[1]), np.uint32)
            shown[rows] = addresses
            setattr(columns, f"upstream_{end}_address", shown)
            getattr(columns, f"upstream_{end}_port")[rows] = (ends & np.uint64(0xFFFF)).astype(np.int64)

    def _note_provenance(
        self,
        slots: NDArray[np.intp],
        batch: Batch,
        place: dict[int, int],
        of_forms: dict[int, int],
        said: dict[int, Dialogue],
        made: dict[int, list[tuple[int, Conversation, Conversation | None]]],
    ) -> None:
        """Say which process and which network a record is of, where that is known.

        Args:
            place: by slot of a form's row, which row it is.
            of_forms: by row of a form, its place in the batch.
        """
        provenance = self._provenance
        known = slots[provenance.known(slots)]
        for slot, turn in zip(known.tolist(), self._watch.turns(known).tolist(), strict=True):
            number, dialogue = of_forms.get(place.get(slot, -1)), said.get(slot)
            side = 0 if dialogue is None else dialogue.session.client_side or 0
            records = [record for _, record, _ in made.get(slot, ())]
            for record in records if number is None else [batch.write_out(number)]:
                record.process = provenance.process_of(slot, turn ^ side)
                record.network = provenance.network_of(slot, self.interfaces)

    def _resolved(
        self, asked: Asked, in_dialogues: int, recognised: Recognised | None, said: dict[int, Dialogue]
    ) -> dict[int, list[int]]:
        """The endpoints that DNS gave proxies for the names they were asked for, by place in `asked`."""
        found: dict[int, list[int]] = {}
        if not len(self.names):
            return found
        for at in np.flatnonzero(asked.place == 0).tolist():
            row = int(asked.row[at])
            if at < in_dialogues or recognised is None:
                place = said[row].session.destination
                name = "" if place is None else place.text
            else:
                name = plain(recognised.destination[row])
            proxy, port = self._book.endpoint_address(int(asked.proxy[at])), int(asked.port[at])
            addresses = self.names.resolved(proxy, name, int(asked.answered[at]))
            if addresses:
                found[at] = [self._book.make(address, port) for address in addresses]
        return found

    def _note_requests(self, columns: Columns) -> None:
        """Tell of names that proxies on their clients' machines were asked for, from there; see `Names.request`."""
        for place in np.flatnonzero(text.same(columns.client_address, columns.proxy_address)).tolist():
            form = columns.forms[columns.form[place]]
            if form.destination == "domain" and form.request is not None:
                name, port = plain(columns.destination[place]), int(columns.destination_port[place])
                asked = int(columns.frames[place, form.request[0]])
                self.names.request(plain(columns.proxy_address[place]), Address.domain(name, port), asked)

    def _judge_names(self, batch: Batch, columns: Columns, of_forms: dict[int, int]) -> None:
        """Write out those records whose client has resolved the name itself; see `_note_provenance`."""
        for place, row in of_forms.items():
            form = columns.forms[columns.form[place]]
            if form.destination in (None, "domain") or form.request is None:
                continue
            asked = int(columns.frames[place, form.request[0]])
            client, host = plain(columns.client_address[place]), plain(columns.destination[place])
            if self.names.knows(client, host, asked):
                self.names.judge(batch.write_out(row), asked, int(columns.times[place, form.request[0]]))

    def _columns(self, found: Recognised) -> Columns:
        """The rows of forms."""
        flows, octets, slots = self._flows, self._octets, found.slot
        turn = self._watch.turns(slots)
        turned = turn != 0
        passed = octets.reach[:, slots] + self._handshakes.shifts(slots)
        clients, proxies = flows.ends(slots, turn)
        closer = flows.closers(slots)
        flags = (flows.flags0[slots] | flows.flags1[slots]) & _CLOSING
        syn, answer = flows.syn_time[slots], flows.syn_ack_time[slots]
        shaken = (syn != NO_TIME) & (answer != NO_TIME) & (answer >= syn)
        forms = self._handshakes.forms
        replied = np.array([form.replied or 0 for form in forms.forms], np.intp)[found.form]
        early = found.first_byte < found.times[np.arange(found.size), replied]
        tunnels, tunnel = _distinct(found.tunnel)
        return Columns(
            forms=forms.forms,
            captures=[interface.capture for interface in self.interfaces],
            tunnels=tunnels,
            processes=[None],
            form=found.form,
            capture=flows.capture[slots].astype(np.intp),
            client_address=self._addresses(clients),
            client_port=(clients & np.uint64(0xFFFF)).astype(np.int64),
            proxy_address=self._addresses(proxies),
            proxy_port=(proxies & np.uint64(0xFFFF)).astype(np.int64),
            start=flows.first_time[slots],
            end=flows.last_time[slots],
            username=found.username,
            destination=found.destination,
            destination_port=found.destination_port,
            bound=found.bound,
            bound_port=found.bound_port,
            peer=found.peer,
            peer_port=found.peer_port,
            tunnel=tunnel,
            sent=np.maximum(np.where(turned, passed[1], passed[0]) - found.tunnel_at, 0),
            received=np.maximum(np.where(turned, passed[0], passed[1]) - found.reply_end, 0),
            tcp_handshake=np.where(shaken, answer - np.where(shaken, syn, 0), NO_TIME),
            first_byte=np.where(early, NO_TIME, found.first_byte),
            close=np.where(flags & TcpFlag.RST, 2, np.where(flags & TcpFlag.FIN, 1, 0)),
            closed_by=np.where(closer == UNKNOWN, 2, closer ^ turned),
            packets=flows.packets[slots],
            tcp_stream=flows.stream[slots],
            community_id=self._community_ids(flows.low[slots], flows.high[slots]),
            first_frame=flows.first_frame[slots],
            last_frame=flows.last_frame[slots],
            frames=found.numbers,
            times=found.times,
            request_length=found.tunnel_at - found.request_at,
            login_length=found.request_at - found.login_at,
            upstream_source_address=np.zeros((found.size, 1), np.uint32),
            upstream_source_port=np.zeros(found.size, np.int64),
            upstream_destination_address=np.zeros((found.size, 1), np.uint32),
            upstream_destination_port=np.zeros(found.size, np.int64),
            upstream_handshake=np.full(found.size, NO_TIME),
            process=np.zeros(found.size, np.intp),
        )

    def _addresses(self, ends: NDArray[np.uint64]) -> Text:
        found = text.ipv4((ends >> np.uint64(16)).astype(np.int64) & 0xFFFFFFFF)
        others, book = ends >= np.uint64(IPV6), self._book
        return text.replaced(found, others, [book.endpoint_address(end).encode() for end in ends[others].tolist()])

    def _community_ids(self, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> Text:
        found = np.concatenate(
            (np.broadcast_to(_VERSION, (len(low), 4)), community_ids(low, high, _TCP)), 1
        )
        others = high >= np.uint64(IPV6)
        ids = [
            self._book.community_id(one, other, _TCP).encode()
            for one, other in zip(low[others].tolist(), high[others].tolist(), strict=True)
        ]
        return text.replaced(text.octets(found), others, ids)

    def _facts(self, slots: NDArray[np.intp]) -> Iterator[FlowFacts]:
        flows, octets, book = self._flows, self._octets, self._book
        names = [interface.capture for interface in self.interfaces]
        turn = self._watch.turns(slots)
        turned = turn != 0
        passed = np.maximum(octets.reach[:, slots] + self._handshakes.shifts(slots), 0)
        openers, responders = flows.ends(slots, turn)
        closer = flows.closers(slots)
        closer[closer != UNKNOWN] ^= turn[closer != UNKNOWN]
        flags = (flows.flags0[slots] | flows.flags1[slots]) & _CLOSING
        handshakes = zip(flows.syn_time[slots].tolist(), flows.syn_ack_time[slots].tolist(), strict=True)
        first, second = openers.tolist(), responders.tolist()
        rows = zip(
            flows.stream[slots].tolist(),
            [names[interface] for interface in flows.capture[slots].tolist()],
            flows.first_time[slots].tolist(),
            flows.last_time[slots].tolist(),
            flows.first_frame[slots].tolist(),
            flows.last_frame[slots].tolist(),
            flows.packets[slots].tolist(),
            map(book.endpoint_address, first),
            (openers & np.uint64(0xFFFF)).tolist(),
            map(book.endpoint_address, second),
            (responders & np.uint64(0xFFFF)).tolist(),
            (flows.opener[slots] != UNKNOWN).tolist(),
            [None if NO_TIME in (syn, answer) or answer < syn else (answer - syn) / 1e9 for syn, answer in handshakes],
            map(_CLOSE.__getitem__, flags.tolist()),
            map(_SIDES.__getitem__, closer.tolist()),
            map(book.community_id, first, second, repeat(_TCP)),
            np.where(turned, passed[1], passed[0]).tolist(),
            np.where(turned, passed[0], passed[1]).tolist(),
            [None] * len(slots),
            strict=False,
        )
        return map(FlowFacts._make, rows)


def _distinct(tunnels: NDArray[np.object_]) -> tuple[list[Tunnel | None], NDArray[np.intp]]:
    """The objects of a column, each once, and the place of each row's among them."""
    places: dict[int, int] = {}
    objects = tunnels.tolist()
    index = np.array([places.setdefault(id(each), len(places)) for each in objects], np.intp)
    first = np.unique(index, return_index=True)[1]
    return [objects[row] for row in first.tolist()], index
