"""Whose packet is it, where one pair of endpoints is used by more than one connection.

A pair of endpoints names one connection at a time, with three exceptions: its ports are used again; what comes long
after its end is not its own; and two connections have the same endpoints at once, because a device between two points
of capture rewrites sequence numbers, or because the addresses exist twice (VLANs, hosts). The connections are told
apart by what TCP itself tells them apart by: SYN, and where their sequence numbers stand. Only the packets of such
endpoints come here, one by one; all others are a connection's by their endpoints alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from socks5sniff.packets.columns import TcpFlag

LINGER = 2_000_000_000
"""Nanoseconds of capture time that a closed connection's last packets are waited for; later ones are not its own."""
FORGET = 60_000_000_000
"""Nanoseconds after which packets between the endpoints of a closed connection are another one's."""
MOST = 8
"""Connections at once between two endpoints; of more, the oldest gets no more packets."""
RESET_WINDOW = 1 << 20
"""An RST counts within so many octets of where its direction stands; windows are rarely larger."""
ELSEWHERE = 1 << 24
"""Octets from where a closed connection's numbers stand that its late packets keep within; windows are smaller."""
LATE_SYN = 1 << 20
"""So many octets before the first ones seen a SYN can still be theirs, put behind them in the file."""
_WRAP = 1 << 32
_SYN_ACK = TcpFlag.SYN | TcpFlag.ACK


@dataclass(slots=True, eq=False)
class Space:
    """One connection's sequence numbers, as far as they are known.

    Attributes:
        slot: its place in the flow table, -1 for one that begins in this batch.
        base: by direction, sequence number of the first octet; -1 unknown.
        syn: by direction, whether `base` comes from a SYN.
        following: by direction, sequence number behind the last packet; -1 unknown.
        fin: by direction, whether it has ended.
        closed: ns, the latest time in the capture when the connection had ended; None while it has not.
        network: by direction, the network that its packets come from (VLAN, VNI); -1 unknown.
        last: ns, the latest time of its packets.
        beside: another one has had packets at the same time.
        rows: positions of its packets in this batch.
    """

    slot: int
    base: list[int]
    syn: list[bool]
    following: list[int]
    fin: list[bool]
    closed: int | None
    network: list[int]
    last: int
    beside: bool = False
    rows: list[int] = field(default_factory=list)

    def lingers(self, time: int) -> bool:
        """Whether its packets may still come."""
        return self.closed is None or time <= self.closed + LINGER

    def strange(self, way: int, network: int) -> int:
        """How odd a packet from a network would be: 0 where packets of its direction come from there."""
        if self.network[way] >= 0:
            return 0 if self.network[way] == network else 2
        return 0 if self.network[1 - way] == network else 1

    def distance(self, way: int, sequence: int, acknowledgment: int) -> int:
        """How far a packet's numbers are from where both directions stand."""
        apart = _apart(sequence, self.following[way])
        if acknowledgment >= 0:
            apart = max(apart, _apart(acknowledgment, self.following[1 - way]))
        return apart

    def goes_on(self, way: int, sequence: int, acknowledgment: int, time: int, network: int) -> bool:
        """Whether a packet is the very next one: no other connection is nearer."""
        next_ = self.distance(way, sequence, acknowledgment) == 0 and self.strange(way, network) == 0
        return next_ and self.lingers(time)

    def is_over_for(self, way: int, flags: int, sequence: int, acknowledgment: int) -> bool:
        """Whether it has closed, and a packet has nothing to do with it: a later connection's, whose SYN was lost.

        Both numbers tell so: one alone goes far in a direction of which much was not captured.
        """
        if self.closed is None or acknowledgment < 0 or flags & TcpFlag.RST:
            return False
        apart = _apart(sequence, self.following[way]), _apart(acknowledgment, self.following[1 - way])
        return min(apart) > ELSEWHERE

    def begins(self, way: int, first: int, time: int) -> bool:
        """Whether a SYN whose octets begin at `first` is this connection's."""
        if self.base[way] < 0:
            return True
        if self.base[way] == first:
            # Some always begin with the same number. No SYN is sent again once something was said.
            return self.following[way] == first or time <= self.last + FORGET
        return not self.syn[way] and self.begins_with(way, first)

    def begins_with(self, way: int, first: int) -> bool:
        """Whether a SYN whose octets begin at `first` can be that of a direction's first ones: they lie behind it."""
        return (self.base[way] - first) % _WRAP < LATE_SYN

    def add(
        self, position: int, way: int, flags: int, sequence: int, length: int, time: int, stamp: int, network: int
    ) -> None:
        """Take a packet."""
        self.rows.append(position)
        self.last = max(self.last, stamp)
        if self.network[way] < 0:
            self.network[way] = network
        syn = bool(flags & TcpFlag.SYN)
        first = (sequence + syn) % _WRAP
        if self.base[way] < 0 or (syn > self.syn[way] and self.begins_with(way, first)):
            self.base[way] = first
            self.syn[way] |= syn
        reset = flags & TcpFlag.RST and resets(sequence, self.following[way])
        self.following[way] = (sequence + syn + length) % _WRAP
        if flags & TcpFlag.FIN:
            self.fin[way] = True
        if self.closed is None and (reset or all(self.fin)):
            self.closed = time


def resets(sequence: int, following: int) -> bool:
    """Whether an RST ends what its direction has sent up to `following`; those from afar anybody can send.

    RFC 9293 s3.5.3.
    """
    return _apart(sequence, following) <= RESET_WINDOW


def _apart(number: int, expected: int) -> int:
    """Distance of two sequence numbers; 0 where one is unknown."""
    if expected < 0:
        return 0
    apart = (number - expected) % _WRAP
    return min(apart, _WRAP - apart)


class Route:
    """Hands the packets of one pair of endpoints to the connections between them.

    Attributes:
        spaces: those that are known and those that begin here, in the order of their beginning.
    """

    def __init__(self, spaces: list[Space]) -> None:
        self.spaces = spaces
        self._open = list(spaces)

    def take(
        self,
        position: int,
        way: int,
        flags: int,
        sequence: int,
        acknowledgment: int,
        length: int,
        time: int,
        stamp: int,
        network: int,
    ) -> None:
        """Give one packet to the connection it belongs to, to a new one, or to none.

        Args:
            acknowledgment: -1 for none.
            time: ns, the latest in the capture by then; stamp: the packet's own one.
        """
        opens = flags & _SYN_ACK == TcpFlag.SYN
        # Most are the newest one's, which need not be compared with the others.
        if not opens and self._open and self._open[-1].goes_on(way, sequence, acknowledgment, time, network):
            self._open[-1].add(position, way, flags, sequence, length, time, stamp, network)
            return
        known = self._known(time)
        if opens:
            fitting = [space for space in known if space.begins(way, (sequence + 1) % _WRAP, time)]
        else:
            fitting = [space for space in known if not space.is_over_for(way, flags, sequence, acknowledgment)]
        lingering = [space for space in fitting if space.lingers(time)]
        if lingering:
            # Of those of its network the nearest, of equally near ones the latest.
            space = min(
                reversed(lingering),
                key=lambda each: (each.strange(way, network), each.distance(way, sequence, acknowledgment)),
            )
            self._note_beside(space, time)
        # Late packets of a connection that is over must not begin another: without a SYN they are dropped for a while.
        elif fitting and time <= max(space.closed or 0 for space in fitting) + FORGET and not flags & TcpFlag.SYN:
            return
        else:
            self._open = [space for space in known if space.lingers(time)]
            space = Space(-1, [-1, -1], [False, False], [-1, -1], [False, False], None, [-1, -1], stamp)
            # Ports that are reused faster than connections end would make every packet look at all of them.
            self._open = [*self._open, space][-MOST:]
            self.spaces.append(space)
        space.add(position, way, flags, sequence, length, time, stamp, network)

    def _known(self, time: int) -> list[Space]:
        """Those that packets may belong to: what has ended long before is not known from one batch to the next."""
        newest = self._open[-1] if self._open else None
        ended = None if newest is None else newest.closed
        return [
            space
            for space in self._open
            if space is newest or space.lingers(time) or (ended is not None and ended < (space.closed or 0))
        ]

    def _note_beside(self, space: Space, time: int) -> None:
        """A packet of a connection that has not ended, behind those of later ones: they are at once."""
        later = [one for one in self._open[self._open.index(space) + 1 :] if one.lingers(time)]
        if later and space.closed is None:
            for one in (space, *later):
                one.beside = True
