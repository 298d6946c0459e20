"""What there is to overwrite: found by looking at every dialogue of a capture once."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socks5sniff.analysis.analyser import Analyser
from socks5sniff.analysis.dialogue import Dialogue
from socks5sniff.analysis.relay import Relay
from socks5sniff.analysis.udp_in_tcp import kind_of
from socks5sniff.analysis.watch import DATAGRAMS
from socks5sniff.codec import AddressType, Command, GssapiMessageType, Method, decode_text
from socks5sniff.packets.addresses import AddressBook
from socks5sniff.record import Conversation
from socks5sniff.session import Session, SessionFrame, Verdict

from .heads import heads
from .links import UnwritableError
from .messages import places
from .options import Options, What
from .pseudonyms import is_announcement
from .ranges import Ranges
from .tracks import Track

MAX_ADDRESSES = 1 << 16
"""Addresses that are looked for in text."""
_LOGIN = 513
"""Octets of the longest login (RFC 1929)."""
_DNS = 53
_ASSOCIATES = Command.UDP_ASSOCIATE
_READ = (Method.NO_AUTHENTICATION, Method.GSSAPI, Method.USERNAME_PASSWORD, Method.NO_ACCEPTABLE)
"""Methods after which dialogues are read."""
MOST = DATAGRAMS - 2048
"""Octets of datagrams inside TCP that are certain to be all of them; see `analysis.watch`."""
_SIZES = {AddressType.IPV4: 4, AddressType.IPV6: 16}
_UNSPECIFIED = (bytes(4), bytes(16))


class Survey:
    """What was found.

    Attributes:
        ranges: where in TCP streams octets are to be overwritten, since SOCKS says what they are.
        copies: where else, since they are the same octets or look like it.
        secrets, users, hosts: values; hosts in lower case.
        places: addresses of destinations, of 4 or 16 octets.
        tunnels: by stream and direction, the position where a tunnel begins.
        upstreams: pairs of endpoints, the lower one first, between which a proxy passes on what a tunnel carries.
        messages: as `tunnels`, of those that go to a DNS server.
        addresses: those seen, of 4 or 16 octets.
        relays: endpoints of relays, each with the addresses of its clients (endpoints without ports).
        remotes: endpoints that associations sent to.
    """

    def __init__(self, options: Options) -> None:
        self.ranges = Ranges()
        self.copies = Ranges()
        self.secrets: set[bytes] = set()
        self.users: set[bytes] = set()
        self.hosts: set[bytes] = set()
        self.places: set[bytes] = set()
        self.tunnels: dict[int, int] = {}
        self.upstreams: set[tuple[int, int]] = set()
        self.messages: dict[int, int] = {}
        self.addresses: set[bytes] = set()
        self.relays: dict[int, set[int]] = {}
        self.remotes: set[int] = set()
        self._options = options

    # -- records -------------------------------------------------------------------------------------------------

    def record(self, record: Conversation, book: AddressBook) -> None:
        """What a record tells that no frame of the dialogue says."""
        if record.tunnel is not None and record.tunnel.server_name:
            self.add_host(record.tunnel.server_name.encode("utf-8", "surrogateescape"))
        if record.udp is not None:
            for destination in record.udp.destinations:
                self.add_host(destination.host.encode("utf-8", "surrogateescape"))
        upstream = record.upstream
        if upstream is not None:
            ends = [
                book.make(ip_address(upstream[end]["address"]).packed, upstream[end]["port"])
                for end in ("source", "destination")
            ]
            self.upstreams.add((min(ends), max(ends)))

    def seen(self, endpoints: NDArray[np.uint64], book: AddressBook) -> None:
        """Endpoints of a batch."""
        for endpoint in np.unique(endpoints >> np.uint64(16)).tolist() if self._options.addresses else ():
            if len(self.addresses) < MAX_ADDRESSES:
                self.addresses.add(book.packed(endpoint << 16))

    def add_host(self, host: bytes) -> None:
        if not self._options.destinations or is_announcement(host):
            return
        try:
            packed = ip_address(host.decode("ascii")).packed
        except ValueError:
            self.hosts.add(host.lower())
        else:
            self.add_place(packed)

    def add_place(self, packed: bytes) -> None:
        if self._options.destinations and packed not in _UNSPECIFIED:
            self.places.add(packed)

    # -- dialogues -----------------------------------------------------------------------------------------------

    def dialogue(self, analyser: Analyser, slot: int, dialogue: Dialogue) -> None:
        """A flow is over, and this was said."""
        turn, tracks = _tracks(analyser, slot, dialogue)
        stream = int(analyser.connections.flows.stream[slot])
        ways = turn, 1 - turn
        session = dialogue.session
        if session.verdict is Verdict.SOCKS:
            relay: Relay | None = dialogue.relay
            level = _Level(self, self._options, stream, ways)
            level.tunnel(session, tracks)
            level.read(session, relay, tracks)
            association = analyser.agreements.by_slot.get(slot)
            if association is not None:
                for endpoint in association.relays:
                    self.relays.setdefault(endpoint, set()).update(association.hosts)
                self.remotes.update(association.amounts.remotes)
        for side, track in enumerate(tracks):
            _Level(self, self._options, stream, ways).lone_login(session, side, tracks, track)


def _tracks(analyser: Analyser, slot: int, dialogue: Dialogue) -> tuple[int, tuple[Track, Track]]:
    """The direction of side 0, and the octets by side."""
    turn, first, second = analyser.connections.placing(slot)
    return turn, (Track.of(bytes(dialogue.streams[0]), first), Track.of(bytes(dialogue.streams[1]), second))


class _Level:
    """One TCP connection's conversations, the outermost and those in its tunnel."""

    def __init__(self, survey: Survey, options: Options, stream: int, ways: tuple[int, int]) -> None:
        self._survey = survey
        self._options = options
        self._stream = stream
        self._ways = ways

    def read(self, session: Session, relay: Relay | None, tracks: tuple[Track, Track]) -> None:
        """The frames of a conversation, and what its tunnel carries."""
        client = session.client_side
        if client is None:
            return
        if session.proxy_header is not None:
            self._proxy_header(session, tracks[0])
        outer, enclosed = tracks, _enclosed(session, tracks)
        for entry in session.frames:
            inside = enclosed is not None and entry.type in ("request", "reply")
            side = client ^ entry.step.role
            self._frame(session, entry, side, (enclosed if inside and enclosed is not None else outer)[side])
        self._unread_login(session, client, tracks)
        inner = enclosed if enclosed is not None else tracks
        starts = _tunnel_starts(session)
        if relay is None or starts is None:
            return
        within = inner[0].behind(starts[0]), inner[1].behind(starts[1])
        kind = kind_of(session)
        if kind is not None:
            self._datagrams(kind, client, within)
        if session.destination is not None and session.destination.port == _DNS:
            for side in (0, 1):
                place = within[side].place(0)
                if place is not None:
                    self._survey.messages[self._stream << 1 | self._ways[side]] = place
        for nested in [] if relay.nested is None else [relay.nested]:
            self.read(nested.session, nested.relay, within)

    def tunnel(self, session: Session, tracks: tuple[Track, Track]) -> None:
        """Where the tunnel of the outermost conversation begins, whatever was answered; what follows a method that
        nobody reads may be one."""
        client = session.client_side
        if self._options.payload is None or client is None or session.command == _ASSOCIATES:
            return
        frames = [entry for entry in session.frames if _is_token(entry)]
        if not frames:
            frames = [entry for entry in session.frames if entry.type in ("request", "reply")]
        if not frames and session.method not in (None, *_READ):
            frames = list(session.frames)
        for role in (0, 1):
            ends = [entry.offset + entry.length for entry in frames if entry.step.role == role]
            place = tracks[client ^ role].place(max(ends)) if ends else None
            if place is not None:
                self._survey.tunnels[self._stream << 1 | self._ways[client ^ role]] = place

    # -- frames --------------------------------------------------------------------------------------------------

    def _add(self, side: int, track: Track, start: int, end: int, kind: int) -> None:
        for place, octets in track.parts(start, end):
            self._survey.ranges.add(self._stream, self._ways[side], place, octets, kind)

    def _frame(self, session: Session, entry: SessionFrame, side: int, track: Track) -> None:
        if entry.type == "auth-request":
            self._login(entry, side, track)
        elif entry.type in ("request", "reply"):
            if session.socks4:
                self._socks4(session, entry, side, track)
            else:
                self._addressed(session, entry, side, track)

    def _login(self, entry: SessionFrame, side: int, track: Track) -> None:
        at, end = entry.offset, entry.offset + entry.length
        if entry.damaged:
            self._add(side, track, at + 2, end, What.SECRET)
            return
        self._credentials(side, track, at, entry.value.username, entry.value.password)

    def _credentials(self, side: int, track: Track, at: int, username: bytes, password: bytes) -> None:
        behind = at + 2 + len(username)
        self._survey.secrets.add(password)
        self._add(side, track, behind + 1, behind + 1 + len(password), What.SECRET)
        if self._options.users:
            self._survey.users.add(username)
            self._add(side, track, at + 2, behind, What.USER)

    def _unread_login(self, session: Session, client: int, tracks: tuple[Track, Track]) -> None:
        """A login that is not whole, or that nobody came to read: what may be of it."""
        if session.auth_request is not None or session.request is not None or session.greeting is None:
            return
        at = session.greeting.offset + session.greeting.length
        track = tracks[client]
        begins = track.octets[at : at + 1]
        if begins != b"\1" and session.method != Method.USERNAME_PASSWORD:
            return
        if session.method == Method.GSSAPI:
            return
        self._guess_login(client, track, at)

    def _guess_login(self, side: int, track: Track, at: int) -> None:
        """Octets that begin like a login."""
        found = _login_at(track.octets, at)
        if found is not None:
            self._credentials(side, track, at, *found)
            return
        octets = track.octets
        user = octets[at + 1] if len(octets) > at + 1 else 0
        plain = at + 2 + user + 1 if octets[at : at + 1] == b"\1" and not self._options.users else at + 2
        self._add(side, track, plain, at + _LOGIN, What.SECRET)

    def lone_login(self, session: Session, side: int, tracks: tuple[Track, Track], track: Track) -> None:
        """A login in a connection of which the capture has one direction, or not the beginning."""
        if session.verdict is Verdict.SOCKS and session.client_side == side:
            return
        octets, other = track.octets, tracks[1 - side].octets
        if octets[:1] == b"\5" and len(octets) > 2 and Method.USERNAME_PASSWORD in octets[2 : 2 + octets[1]]:
            at = 2 + octets[1]
            if octets[at : at + 1] == b"\1" and _login_at(octets, at) is not None:
                self._guess_login(side, track, at)
        elif octets[:1] == b"\1" and other[:1] in (b"", b"\1", b"\5"):
            found = _login_at(octets, 0)
            if found is not None:
                behind = 3 + len(found[0]) + len(found[1])
                if octets[behind : behind + 1] in (b"", b"\5") and (other[:2] == b"\1\0" or octets[behind:]):
                    self._guess_login(side, track, 0)

    def _socks4(self, session: Session, entry: SessionFrame, side: int, track: Track) -> None:
        at, end = entry.offset, entry.offset + entry.length
        if entry.type == "reply":
            self._address(session, entry, side, track, at + 4, entry.value.bound.host)
            return
        request = entry.value
        if self._options.users:
            behind = end if entry.damaged else at + 8 + len(request.user)
            self._add(side, track, at + 8, behind, What.USER)
            if request.user:
                self._survey.users.add(request.user)
        if request.destination.type == AddressType.DOMAIN:
            self._host(side, track, at + 8 + len(request.user) + 1, request.destination.host)
        else:
            self._address(session, entry, side, track, at + 4, request.destination.host)

    def _addressed(self, session: Session, entry: SessionFrame, side: int, track: Track) -> None:
        address = entry.value.destination if entry.type == "request" else entry.value.bound
        at = entry.offset + 4
        if address.type == AddressType.DOMAIN:
            self._host(side, track, at + 1, address.host)
        elif address.type in _SIZES:
            self._address(session, entry, side, track, at, address.host)
        elif self._options.hides_addresses:
            self._add(side, track, at, entry.offset + entry.length, What.SECRET)

    def _host(self, side: int, track: Track, at: int, host: bytes) -> None:
        if not self._options.destinations or is_announcement(host):
            return
        self._survey.hosts.add(host.lower())
        self._add(side, track, at, at + len(host), What.HOST)
        try:
            self._survey.places.add(ip_address(decode_text(host).strip("[]")).packed)
        except ValueError:
            return

    def _address(self, session: Session, entry: SessionFrame, side: int, track: Track, at: int, host: bytes) -> None:
        if not self._options.hides_addresses:
            return
        self._add(side, track, at, at + len(host), What.ADDRESS)
        asks = entry.type == "request" and session.command != _ASSOCIATES
        answers = entry is session.peer_reply_frame or session.command in (Command.RESOLVE, Command.RESOLVE_PTR)
        if asks or answers:
            self._survey.add_place(host)

    def _proxy_header(self, session: Session, track: Track) -> None:
        header = session.proxy_header
        assert header is not None
        if not self._options.hides_addresses or header.frame.source is None or header.frame.destination is None:
            return
        if header.frame.version == 1:
            self._add(0, track, 0, header.length, What.LINE)
            return
        size = len(header.frame.source.host)
        self._add(0, track, 16, 16 + size, What.ADDRESS)
        self._add(0, track, 16 + size, 16 + 2 * size, What.ADDRESS)

    def _datagrams(self, kind: str, client: int, tracks: tuple[Track, Track]) -> None:
        if not self._options.hides_addresses:
            return
        if any(len(track.octets) >= MOST for track in tracks):
            raise UnwritableError(
                f"a tunnel carries more than {MOST:,} octets of datagrams, whose destinations are not read to the end: "
                "leave out --destinations and --addresses"
            )
        for side, at, address, data in heads(kind, client, (tracks[0].octets, tracks[1].octets)):
            if address.port == _DNS and data is not None:
                for start, end, what in places(tracks[side].octets[data[0] : data[1]], self._options):
                    self._add(side, tracks[side], data[0] + start, data[0] + end, what)
            if address.type == AddressType.DOMAIN:
                self._host(side, tracks[side], at, address.host)
            else:
                self._add(side, tracks[side], at, at + len(address.host), What.ADDRESS)
                self._survey.add_place(address.host)


def _login_at(octets: bytes, at: int) -> tuple[bytes, bytes] | None:
    """User name and password of a whole login."""
    from socks5sniff.codec import Decoded, decode_auth_request

    found = decode_auth_request(octets, at)
    if isinstance(found, Decoded) and octets[at] == 1:
        return found.frame.username, found.frame.password
    return None


def _is_token(entry: SessionFrame) -> bool:
    value: Any = entry.value
    return entry.type == "gssapi" and value.message_type == GssapiMessageType.USER_DATA


def _enclosed(session: Session, tracks: tuple[Track, Track]) -> tuple[Track, Track] | None:
    """What tokens enclose, by side; None where the dialogue is in clear."""
    client = session.client_side
    assert client is not None
    firsts: dict[int, int] = {}
    for entry in session.frames:
        if _is_token(entry):
            firsts.setdefault(client ^ entry.step.role, entry.offset)
    if not firsts:
        return None
    first, second = (
        tracks[side].inside(firsts[side]) if side in firsts else Track(b"", ()) for side in (0, 1)
    )
    return first, second


def _tunnel_starts(session: Session) -> tuple[int, int] | None:
    """By side, where in the conversation's own stream its tunnel begins."""
    request, answer = session.request, session.peer_reply_frame or session.reply_frame
    if not session.relay or request is None or answer is None:
        return None
    client, proxy = request.offset + request.length, answer.offset + answer.length
    return (client, proxy) if session.client_side == 0 else (proxy, client)
