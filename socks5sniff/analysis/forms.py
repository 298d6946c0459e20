"""Dialogues that are alike but for addresses, names and times: decided once, by a `Session`, for all of them.

Most dialogues that a capture holds have the same frames in the same segments as many others. What a session's findings
depend on is put into a key of 64 octets: the fixed octets of all frames, what kind of name and address the varying
ones hold, and where segments begin and end among the frames. The first two dialogues with a key are judged by
themselves, with marks instead of frame numbers and times, and what was found makes a `Form`; only if both give the
same one it is kept. So the session stays the only judge, and nothing here has to be proved rule by rule.

What is rare, odd, in conflict or has holes has no form and is judged by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socks5sniff.codec import (
    Address,
    AddressType,
    Command,
    command_name,
    decode_text,
    method_name,
    reply_name,
    socks4_reply_name,
)
from socks5sniff.packets.columns import IPV6
from socks5sniff.record import MASKED_PASSWORD, ReplyCode, Tunnel
from socks5sniff.record.form import Form, FormAnomaly, FormFrame, Step, Varying
from socks5sniff.record.text import Text, plain
from socks5sniff.session import Session, SessionFrame, Verdict
from socks5sniff.streams.heads import SHORT, HeadRows

from .anomalies import anomaly
from .dialogue import Dialogue, Flow
from .exchanges import PLACES, Exchanges, arrange
from .faults import Faults
from .frames import Frames, parse
from .relay import Setting
from .tunnel import HEAD_LIMIT, identify

MAX_FORMS = 4096
"""Forms remembered, about 4 kB each; a capture of real programs has some hundred."""
MAX_TUNNELS = 4096
"""Names of tunnels remembered by the octets that gave them."""

_MARK = 1 << 40
"""What is added to a segment's place to stand for its frame number."""
_MARK_TIME = 1 << 60
_MARK_STEP = 10_000_000_000
"""Times of marked segments are this apart, times powers of two, so that a difference tells between which it lies."""
_COMMANDS = (Command.CONNECT, Command.BIND, Command.RESOLVE, Command.RESOLVE_PTR, Command.UDP_ASSOCIATE)
_DST_TYPE = 7
"""Where `Frames.fixed` holds the type of the request's address."""
_GREETING = 14
"""Octets of a greeting that fit into a key."""
_STARTS_INSIDE = (b"\x04", b"\x05", b"PROXY", b"\r\n\r\n\0")
"""How tunnels begin that are judged by themselves: they may carry another conversation."""
_FIRST_INSIDE = np.array([start[0] for start in _STARTS_INSIDE], np.uint8)


class Situations(NamedTuple):
    """What is known of flows besides their rows, by flow.

    Attributes:
        slot: the flow.
        turn: the direction of side 0.
        expected, loopback: see `Session`.
        opener_known: a SYN was seen.
        heard: int64[2, n]: by side, the furthest octet that was acknowledged, within what is kept.
        closed_by_proxy: side 1 closed first.
        received: octets of side 1.
        client: the endpoint of side 0.
        waited_until: ns, until when a proxy that has refused was waited for.
    """

    slot: NDArray[np.intp]
    turn: NDArray[np.uint8]
    expected: NDArray[np.bool_]
    loopback: NDArray[np.bool_]
    opener_known: NDArray[np.bool_]
    heard: NDArray[np.int64]
    closed_by_proxy: NDArray[np.bool_]
    received: NDArray[np.int64]
    client: NDArray[np.uint64]
    waited_until: NDArray[np.int64]


class Recognised(NamedTuple):
    """Dialogues that have a form, as columns.

    Attributes:
        slot: the flow.
        form: index into `Forms.forms`.
        tunnel: object[m], what it carries: a Tunnel, or None. Equal beginnings have the same object.
        numbers, times: int64[m, PLACES], frame numbers and times of the first segments.
        first_byte: when the first octet came through the tunnel to the client, NO_TIME before.
        login_at, request_at, tunnel_at: where those begin in the client's octets; reply_end: where the tunnel begins in
            the proxy's.
        destination, bound, peer, username: text columns; destination_port, bound_port, peer_port: numbers.
        destination4, bound4: IPv4 addresses as numbers, where they are such.
        mark: of the tunnel's first octets from the client, see `HeadRows.marks`; 0 for none.
    """

    slot: NDArray[np.intp]
    form: NDArray[np.intp]
    tunnel: NDArray[np.object_]
    numbers: NDArray[np.int64]
    times: NDArray[np.int64]
    first_byte: NDArray[np.int64]
    login_at: NDArray[np.int64]
    request_at: NDArray[np.int64]
    tunnel_at: NDArray[np.int64]
    reply_end: NDArray[np.int64]
    destination: Text
    destination_port: NDArray[np.int64]
    bound: Text
    bound_port: NDArray[np.int64]
    peer: Text
    peer_port: NDArray[np.int64]
    username: Text
    destination4: NDArray[np.int64]
    bound4: NDArray[np.int64]
    mark: NDArray[np.uint64]

    @property
    def size(self) -> int:
        """Number of dialogues."""
        return len(self.slot)

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Recognised:
        """Some of them."""
        return Recognised._make(column[chosen] for column in self)

    @staticmethod
    def join(parts: Sequence[Recognised]) -> Recognised:
        """All of several."""
        return parts[0] if len(parts) == 1 else Recognised._make(map(_joined, zip(*parts, strict=True)))


def _joined(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Columns one behind another; text columns may differ in width."""
    if columns[0].dtype == np.uint32:
        width = max(column.shape[1] for column in columns)
        columns = [np.pad(column, ((0, 0), (0, width - column.shape[1]))) for column in columns]
    return np.concatenate(columns)


NO_TIME = np.iinfo(np.int64).min


class _Open(Enum):
    """What is not known of a tunnel."""

    MORE = "more of it would tell"
    ALL = "it was not asked yet"


_OPEN, _UNKNOWN = _Open.MORE, _Open.ALL


class Forms:
    """The forms that were learned.

    Attributes:
        forms: what `Recognised` refers to.
    """

    def __init__(self, show_passwords: bool, faults: Faults) -> None:
        self.faults = faults
        self.forms: list[Form] = []
        self._show_passwords = show_passwords
        self._with_upstream: dict[tuple[int, tuple[str, str]], int] = {}
        # By key: the form's index, or the form that one dialogue gave so far, or None where two gave different ones.
        self._known: dict[bytes, int | Form | None] = {}
        self._tunnel_of: dict[tuple[bytes, bytes, int] | tuple[bytes, bytes, int, bool], Tunnel | _Open | None] = {}

    def recognise(self, rows: HeadRows, situations: Situations, ended: bool) -> Recognised:
        """Find the dialogues that have a form; all others are to be judged by themselves.

        Args:
            ended: no more packets will come; else only those have one whose tunnel or association is open.
        """
        exchanges = arrange(rows, situations.turn, situations.heard)
        frames = parse(exchanges)
        done, codes, plain_ones = _segments(exchanges, frames)
        numbers, times = _matrix(exchanges, exchanges.rows.frame), _matrix(exchanges, exchanges.rows.time)
        plain_ones &= _usual(exchanges, frames, situations, times, done)
        if self._show_passwords:
            plain_ones &= ~frames.login
        if not ended:
            plain_ones &= frames.opens | frames.associates
        tunnels = _Tunnels.of(exchanges, frames)
        plain_ones[tunnels.carrying(exchanges, np.flatnonzero(plain_ones & frames.opens))] = False
        keys = _keys(exchanges, frames, situations, codes)
        form = np.full(exchanges.size, -1, np.intp)
        places = np.flatnonzero(plain_ones)
        for key, members in _groups(keys, places):
            try:
                form[members] = self._form(key, members, exchanges, frames, situations)
            except Exception as error:
                self.faults.note(error)
                self._known[key] = None  # they are judged by themselves, now and later
        chosen = np.flatnonzero(form >= 0)
        tunnel, named = self._identified(tunnels, exchanges, frames, chosen)
        chosen, tunnel = chosen[named], tunnel[named]
        client_ends = frames.client_ends[:, chosen]
        return Recognised(
            slot=situations.slot[chosen],
            form=form[chosen],
            tunnel=tunnel,
            numbers=numbers[chosen],
            times=times[chosen],
            first_byte=tunnels.first_byte(exchanges, chosen),
            login_at=client_ends[0],
            request_at=np.where(frames.socks4[chosen], 0, client_ends[1]),
            tunnel_at=client_ends[2],
            reply_end=frames.proxy_ends[-1, chosen],
            destination=frames.destination[chosen],
            destination_port=frames.destination_port[chosen],
            bound=frames.bound[chosen],
            bound_port=frames.bound_port[chosen],
            peer=frames.peer[chosen],
            peer_port=frames.peer_port[chosen],
            username=frames.username[chosen],
            destination4=frames.destination4[chosen],
            bound4=frames.bound4[chosen],
            mark=tunnels.client.marks(exchanges, chosen),
        )

    def with_upstream(self, index: int, upstream: tuple[str, str]) -> int:
        """The index of a form that is another one's but for the proxy's own connection."""
        found = self._with_upstream.get((index, upstream))
        if found is None:
            found = self._with_upstream[index, upstream] = len(self.forms)
            self.forms.append(replace(self.forms[index], upstream=upstream))
        return found

    # -- forms ---------------------------------------------------------------------------------------------------

    def _form(
        self, key: bytes, members: NDArray[np.intp], exchanges: Exchanges, frames: Frames, situations: Situations
    ) -> int:
        """The index of the form of dialogues with the same key; -1 for none."""
        known = self._known.get(key, -1)
        if isinstance(known, int) and known >= 0:
            return known
        if known is None or (known == -1 and len(self._known) >= MAX_FORMS):
            return -1
        first = known if isinstance(known, Form) else _learn(int(members[0]), exchanges, frames, situations)
        if first is None:
            self._known[key] = None
            return -1
        if len(members) < 2 and not isinstance(known, Form):
            self._known[key] = first
            return -1
        second = _learn(int(members[-1]), exchanges, frames, situations)
        if first != second:
            self._known[key] = None
            return -1
        self._known[key] = index = len(self.forms)
        self.forms.append(first)
        return index

    # -- tunnels -------------------------------------------------------------------------------------------------

    def _identified(
        self, tunnels: _Tunnels, exchanges: Exchanges, frames: Frames, chosen: NDArray[np.intp]
    ) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        """What the tunnels of some dialogues carry, and whether naming it went well."""
        tunnel, named = np.full(len(chosen), None, np.object_), np.ones(len(chosen), np.bool_)
        opened = np.flatnonzero(frames.opens[chosen])
        places = chosen[opened]
        client, proxy = tunnels.client, tunnels.proxy
        for number, place, *key in zip(
            opened.tolist(),
            places.tolist(),
            client.firsts(exchanges, places),
            proxy.firsts(exchanges, places),
            frames.destination_port[places].tolist(),
            strict=True,
        ):
            try:
                found = self._name(tuple(key), complete=False)
                if found is _OPEN:
                    # More than the first segments: the whole window.
                    window = client.head(exchanges, place), proxy.head(exchanges, place), key[2]
                    found = self._name(window, complete=True)
                tunnel[number] = found
            except Exception as error:
                self.faults.note(error)
                named[number] = False
        return tunnel, named

    def _name(self, window: tuple[bytes, bytes, int], complete: bool) -> Tunnel | _Open | None:
        """What is known of a tunnel from so much of it, `_OPEN` where more would tell."""
        key = (*window, True) if complete else window
        known = self._tunnel_of.get(key, _UNKNOWN)
        if known is _UNKNOWN:
            if len(self._tunnel_of) >= MAX_TUNNELS:
                self._tunnel_of.clear()
            found = identify(*window, complete)
            known = self._tunnel_of[key] = _OPEN if found is None and not complete else found
        return known


def _matrix(exchanges: Exchanges, column: NDArray[np.int64]) -> NDArray[np.int64]:
    """A row column by dialogue and place."""
    matrix = np.zeros((exchanges.size, PLACES), np.int64)
    at = np.flatnonzero(exchanges.place < PLACES)
    matrix[exchanges.group[at], exchanges.place[at]] = column[at]
    return matrix


def _segments(
    exchanges: Exchanges, frames: Frames
) -> tuple[NDArray[np.intp], NDArray[np.uint8], NDArray[np.bool_]]:
    """How segments lie among the frames.

    Returns:
        The place of the segment that ends the handshake (of the last one where there is no tunnel); a code for each
        segment up to it; and whether all of them could be told.
    """
    rows, group, place, side = exchanges.rows, exchanges.group, exchanges.place, exchanges.side
    end = rows.offset + rows.length
    ends = np.where(side, frames.proxy_ends[:, group], frames.client_ends[:, group])
    last = exchanges.start + exchanges.counts - 1
    completes = np.flatnonzero((end >= ends[-1]) & (rows.offset < ends[-1]))
    done = np.zeros(exchanges.size, np.intp)
    np.maximum.at(done, group[completes], place[completes])
    done = np.where(frames.opens, done, exchanges.counts - 1)
    told = (done < PLACES) & exchanges.orderly[np.minimum(exchanges.start + done, last)]
    told &= frames.opens | exchanges.whole
    codes = np.zeros((exchanges.size, PLACES), np.uint8)
    at = np.flatnonzero((place <= done[group]) & (place < PLACES))
    reached = ends[:, at]
    aligned = (end[at] == reached).any(0)
    number = (end[at] >= reached).sum(0, dtype=np.uint8)
    beyond, there = rows.offset[at] >= reached[-1], np.ones(len(at), np.bool_)
    codes[group[at], place[at]] = _bits(beyond, aligned, side[at] != 0, there) << 3 | number
    # Frames that begin beyond the octets kept in columns.
    long = at[~beyond & (rows.length[at] > SHORT) & (reached[-1] > rows.offset[at] + SHORT)]
    told[group[long]] = False
    return done, codes, told


def _usual(
    exchanges: Exchanges, frames: Frames, situations: Situations, times: NDArray[np.int64], done: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Dialogues with nothing that needs a closer look."""
    said = exchanges.said
    usual = ~frames.odd & situations.opener_known & (exchanges.client[:, 1] <= _GREETING - 2)
    usual &= (exchanges.client[:, 0] == 5) | frames.socks4
    usual &= (exchanges.proxy[:, 1] != 1) | frames.socks4 | (said[1] < 2)  # GSSAPI
    # Frames that are there in part.
    for side, ends in ((0, frames.client_ends), (1, frames.proxy_ends)):
        known = (said[side] == 0) | (said[side] == ends).any(0) | ((said[side] > ends[-1]) & frames.opens)
        usual &= known
    usual[exchanges.group[_overlapping(exchanges)]] = False
    # Of UDP ASSOCIATE's DST: an address that is neither zeros nor the client's is quoted in an anomaly.
    named = frames.fixed[:, _DST_TYPE] == AddressType.DOMAIN
    usual &= ~frames.asks_udp | named | frames.unspecified | _own(frames, situations)
    # Time stamps that contradict the order.
    steps = np.arange(1, PLACES)
    usual &= ((np.diff(times, axis=1) >= 0) | (steps > done[:, None])).all(1)
    # A proxy that closes before the destination has said anything, or is slow to close after a refusal.
    silent = situations.closed_by_proxy & (situations.received <= frames.proxy_ends[-1])
    usual &= ~(frames.opens & silent)
    refused = ~frames.opens & ~frames.associates & (situations.waited_until - times.max(1) > 10_000_000_000)
    found: NDArray[np.bool_] = usual & ~refused
    return found


def _own(frames: Frames, situations: Situations) -> NDArray[np.bool_]:
    """Whether DST is the client's own address, an IPv4 one."""
    address = (situations.client >> np.uint64(16)).astype(np.int64)
    four = (frames.fixed[:, _DST_TYPE] == AddressType.IPV4) & (situations.client < np.uint64(IPV6))
    own: NDArray[np.bool_] = four & (frames.destination4 == address)
    return own


def _overlapping(exchanges: Exchanges) -> NDArray[np.intp]:
    """Segments that say again what was said: copies may differ."""
    rows, group, side = exchanges.rows, exchanges.group, exchanges.side
    found = []
    for this in (0, 1):
        at = np.flatnonzero(side == this)
        end = rows.offset[at] + rows.length[at]
        furthest = np.maximum.accumulate(group[at] << 20 | np.clip(end, 0, (1 << 20) - 1))
        again = (furthest[:-1] >> 20 == group[at][1:]) & (rows.offset[at][1:] < furthest[:-1] & ((1 << 20) - 1))
        found.append(at[1:][again])
    return np.concatenate(found)


def _keys(
    exchanges: Exchanges, frames: Frames, situations: Situations, codes: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The keys, uint8[n, 64]."""
    said = exchanges.said
    keys = np.zeros((exchanges.size, 64), np.uint8)
    keys[:, 0] = _bits(situations.expected, situations.loopback, frames.socks4, frames.opens)
    shown = np.minimum(np.where(frames.socks4, 2, frames.client_ends[0]), said[0])
    keys[:, 1 : 1 + _GREETING] = exchanges.client[:, :_GREETING] * (np.arange(_GREETING) < shown[:, None])
    keys[:, 15:17] = exchanges.proxy[:, :2] * (np.arange(2) < said[1][:, None])
    keys[:, 17] = _bits(*(said[0] >= frames.client_ends))
    keys[:, 18] = _bits(*(said[1] >= frames.proxy_ends))
    keys[:, 19:35] = frames.fixed
    zeros = frames.unspecified, frames.bound_unspecified, frames.destination_port == 0, frames.bound_port == 0
    keys[:, 50] = _bits(frames.named4, frames.user, *zeros)
    keys[:, 36 : 36 + PLACES] = codes
    return keys


def _bits(*flags: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Flags as bits of one number, at most eight."""
    found: NDArray[np.uint8] = np.packbits(np.stack(flags), axis=0, bitorder="little")[0]
    return found


def _groups(keys: NDArray[np.uint8], places: NDArray[np.intp]) -> list[tuple[bytes, NDArray[np.intp]]]:
    """Dialogues by their keys, in the order of the first of each key."""
    by_key: dict[bytes, list[int]] = {}
    memory = keys.tobytes()
    for place in places.tolist():
        by_key.setdefault(memory[place * 64 : place * 64 + 64], []).append(place)
    return [(key, np.array(members, np.intp)) for key, members in by_key.items()]


class _TunnelRows(NamedTuple):
    """Segments with octets of a tunnel, one side's.

    Attributes:
        at: rows, by dialogue and position; bounds: where a dialogue's lie in it.
        start: by dialogue, the position of the tunnel's first octet.
        said: by dialogue, its row that was said first, -1 for none.
    """

    at: NDArray[np.intp]
    bounds: NDArray[np.intp]
    start: NDArray[np.int64]
    said: NDArray[np.intp]

    def firsts(self, exchanges: Exchanges, places: NDArray[np.intp]) -> list[bytes]:
        """The octets of each dialogue's first segment."""
        rows = exchanges.rows
        there = self.bounds[places] < self.bounds[places + 1]
        at = self.at[self.bounds[places[there]]]
        inside = np.maximum(self.start[places[there]] - rows.offset[at], 0)
        found = [b""] * len(places)
        for place, octets, skip in zip(
            np.flatnonzero(there).tolist(), rows.each(at), inside.tolist(), strict=True
        ):
            found[place] = octets[skip:] if skip else octets
        return found

    def marks(self, exchanges: Exchanges, places: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Those of each dialogue's first segment, 0 where it holds something else before."""
        found = np.zeros(len(places), np.uint64)
        there = np.flatnonzero(self.bounds[places] < self.bounds[places + 1])
        at = self.at[self.bounds[places[there]]]
        whole = exchanges.rows.offset[at] == self.start[places[there]]
        found[there[whole]] = exchanges.rows.marks(at[whole])
        return found

    def head(self, exchanges: Exchanges, place: int) -> bytes:
        """The tunnel's first octets."""
        rows, start = exchanges.rows, int(self.start[place])
        found = b""
        for row in self.at[self.bounds[place] : self.bounds[place + 1]].tolist():
            octets = rows.octets(row)
            found += octets[max(start - int(rows.offset[row]), 0) :]
            if len(found) >= HEAD_LIMIT:
                return found[:HEAD_LIMIT]
        return found


class _Tunnels(NamedTuple):
    """Both sides' segments with octets of tunnels."""

    client: _TunnelRows
    proxy: _TunnelRows

    @staticmethod
    def of(exchanges: Exchanges, frames: Frames) -> _Tunnels:
        """Those of some dialogues."""
        return _Tunnels(
            _tunnel_rows(exchanges, 0, frames.client_ends[-1]), _tunnel_rows(exchanges, 1, frames.proxy_ends[-1])
        )

    def first_byte(self, exchanges: Exchanges, places: NDArray[np.intp]) -> NDArray[np.int64]:
        """When each dialogue's first octet came to the client, NO_TIME before."""
        said = self.proxy.said[places]
        return np.where(said >= 0, exchanges.rows.time[said], NO_TIME)

    def carrying(self, exchanges: Exchanges, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of some dialogues whose tunnel may carry another conversation."""
        client, proxy = self.client.said[places], self.proxy.said[places]
        places = places[(client >= 0) & ((proxy < 0) | (client < proxy))]
        rows = exchanges.rows
        at = self.client.at[self.client.bounds[places]]
        inside = np.maximum(self.client.start[places] - rows.offset[at], 0)
        first = rows.short[at, np.minimum(inside, SHORT - 1)]
        places = places[np.isin(first, _FIRST_INSIDE) | (inside >= SHORT)]
        begin = [octets.startswith(_STARTS_INSIDE) for octets in self.client.firsts(exchanges, places)]
        return places[np.array(begin, np.bool_)]


def _tunnel_rows(exchanges: Exchanges, side: int, starts: NDArray[np.int64]) -> _TunnelRows:
    rows, group = exchanges.rows, exchanges.group
    at = np.flatnonzero((exchanges.side == side) & (rows.offset + rows.length > starts[group]))
    said = np.full(exchanges.size, -1, np.intp)
    said[group[at[::-1]]] = at[::-1]
    ordered = at[np.argsort((group[at] << 20) | np.clip(rows.offset[at], 0, (1 << 20) - 1), kind="stable")]
    return _TunnelRows(ordered, np.searchsorted(group[ordered], np.arange(exchanges.size + 1)), starts, said)


# -- learning ----------------------------------------------------------------------------------------------------


def _learn(place: int, exchanges: Exchanges, frames: Frames, situations: Situations) -> Form | None:
    """The form of one dialogue; None where it is not told by what a key holds."""
    begin = int(exchanges.start[place])
    count = int(exchanges.counts[place])
    rows = exchanges.rows.take(np.arange(begin, begin + count))
    marks = np.arange(count)
    times = _MARK_TIME + _MARK_STEP * (1 << np.minimum(marks, PLACES))
    rows = rows._replace(way=exchanges.side[begin : begin + count], frame=_MARK + marks, time=times)
    heard = int(situations.heard[0, place]), int(situations.heard[1, place])
    # Where a session looks at the client's address it is the one that the client names (see `_usual`).
    named = plain(frames.destination[place])
    setting = Setting(bool(situations.expected[place]), bool(situations.loopback[place]), (named, ""))
    dialogue = Dialogue(setting)
    dialogue.read(rows.segments(), Flow(0, heard, True, _MARK + count, int(times[-1])))
    session = dialogue.session
    if dialogue.verdict is not Verdict.SOCKS or session.client_side != 0 or dialogue.conflicts or dialogue.nested():
        return None
    if session.preamble != (0, 0) or not _has_form(session):
        return None
    opens = bool(frames.opens[place])
    starts: list[int | None] = [int(frames.client_ends[-1][place]), int(frames.proxy_ends[-1][place])]
    if (dialogue.relay is not None) != opens or (opens and session.tunnel_start != starts):
        return None
    return _form(session, place, frames, opens)


def _has_form(session: Session) -> bool:
    """Whether what a session asks for is told by its key: what other commands' relays carry is not."""
    return session.command in (None, *_COMMANDS) or not session.relay


def _form(session: Session, place: int, frames: Frames, opens: bool) -> Form | None:
    username = None if session.username is None else decode_text(session.username)
    if (username or "") != plain(frames.username[place]):
        return None
    for address, hosts, ports in (
        (session.destination, frames.destination, frames.destination_port),
        (session.bound, frames.bound, frames.bound_port),
        (session.peer, frames.peer, frames.peer_port),
    ):
        if address is not None and (address.text, address.port) != (plain(hosts[place]), int(ports[place])):
            return None
    listed = [_form_frame(frame, session, username, place, frames) for frame in session.frames]
    noted = [_form_anomaly(entry.code, entry.frame - _MARK, entry.message) for entry in session.anomalies]
    if None in listed or None in noted:
        return None
    answer = session.peer_reply_frame or session.reply_frame
    return Form(
        protocol=session.protocol or "",
        phase=session.phase,
        outcome=session.outcome(ended=False) or "incomplete",
        methods=None if session.methods is None else tuple(method_name(method) for method in session.methods),
        method=None if session.method is None else method_name(session.method),
        username=username is not None,
        password=None if session.password is None else MASKED_PASSWORD,
        authenticated=session.authenticated,
        command=None if session.command is None else command_name(session.command),
        destination=_kind(session.destination),
        reply=_reply(session.reply, session.socks4),
        bound=_kind(session.bound),
        peer_reply=_reply(session.peer_reply, session.socks4),
        peer=_kind(session.peer),
        relays=opens,
        frames=tuple(frame for frame in listed if frame is not None),
        anomalies=tuple(sorted((entry for entry in noted if entry is not None), key=lambda entry: entry.place)),
        negotiation=_step(session.greeting, session.selection),
        authentication=_span(session.authentication_start, session.authentication_end),
        request=_step(session.request, session.reply_frame),
        replied=None if answer is None else answer.frame - _MARK,
    )


def _reply(code: int | None, socks4: bool) -> ReplyCode | None:
    return None if code is None else ReplyCode(code, socks4_reply_name(code) if socks4 else reply_name(code))


def _kind(address: Address | None) -> str | None:
    return None if address is None else address.type_name


def _place_of(time: int) -> int:
    return ((time - _MARK_TIME) // _MARK_STEP).bit_length() - 1


def _span(start: int | None, end: int | None) -> Step:
    """A step; None also where it ends before it begins: a reply to a request that was not whole yet."""
    return None if start is None or end is None or end < start else (_place_of(start), _place_of(end))


def _step(first: SessionFrame | None, second: SessionFrame | None) -> Step:
    return None if first is None or second is None else _span(first.time, second.time)


def _form_frame(
    frame: SessionFrame, session: Session, username: str | None, place: int, frames: Frames
) -> FormFrame | None:
    at = frame.frame - _MARK
    if frame.damaged or not 0 <= at < PLACES or _place_of(frame.time) != at:
        return None
    length: int | str = frame.length
    summary: tuple[str | Varying, ...] | None = (frame.summary,)
    if frame.type == "request" and session.destination is not None:
        asked = int(frames.client_ends[-1][place] - (0 if frames.socks4[place] else frames.client_ends[1][place]))
        if frame.length != asked:
            return None
        length = "request_length"
        summary = _varying(frame.summary, session.destination, "destination", username if session.socks4 else None)
    elif frame.type == "auth-request":
        if frame.length != int(frames.client_ends[1][place] - frames.client_ends[0][place]):
            return None
        length = "login_length"
        words = frame.summary
        summary = (words.removesuffix(username or ""), Varying("username"))
    elif frame.type == "reply" and frame is session.peer_reply_frame:
        summary = None if session.peer is None else _varying(frame.summary, session.peer, "peer", None)
    elif frame.type == "reply" and session.bound is not None:
        summary = _varying(frame.summary, session.bound, "bound", None)
    return None if summary is None else FormFrame(at, frame.sender, frame.type, length, summary)


def _varying(words: str, address: Address, column: str, user: str | None) -> tuple[str | Varying, ...] | None:
    """A summary that ends with an address, and perhaps a user id behind it."""
    tail: tuple[str | Varying, ...] = ()
    if user is not None:
        if not words.endswith(f", user {user}"):
            return None
        words = words.removesuffix(user)
        tail = (", user ", Varying("username"))
        words = words.removesuffix(", user ")
    for shown, varying in ((str(address), Varying(column, f"{column}_port")), (address.text, Varying(column))):
        if words.endswith(shown):
            return (words.removesuffix(shown), varying, *tail)
    return None


def _form_anomaly(code: str, at: int, message: str) -> FormAnomaly | None:
    if not 0 <= at < PLACES:
        return None
    return FormAnomaly(code, anomaly(code, 0, "").severity, at, message)
