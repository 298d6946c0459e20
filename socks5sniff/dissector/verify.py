"""A second opinion: the same capture through our pipeline and through tshark, compared frame by frame.

Both sides are brought into one form first: per conversation the list of its SOCKS frames, each with the packet that
completed it, its type and what it says, in the names of the record. A conversation is told by its TCP stream and the
depth of its nesting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from socks5sniff.codec import Command, command_name, method_name, reply_name, socks4_reply_name
from socks5sniff.record import Conversation, ReplyCode, Target

from .layers import TIMEOUT, Layer, Octets, socks_layers, tunnel_octets

AGAINST = ("lua", "builtin")

FRAME_TYPES = (
    "greeting",
    "method-selection",
    "auth-request",
    "auth-reply",
    "gssapi",
    "request",
    "reply",
    "udp",
    "tunnel",
    "opaque",
    "extra",
    "lost",
    "proxy-protocol",
)
"""What `socks5.type` counts, from 1."""

NOT_IN_LUA = frozenset(
    (
        "closed-without-data",  # a FIN without payload reaches no dissector
        "conflicting-retransmission",  # TCP does not hand retransmissions to a dissector
        "half-frame",  # a FIN again
        "internal-error",  # ours alone
        "late-close",  # a FIN again
        "local-dns",  # off unless asked for by a preference, and not about the same answers
        "midstream",  # whether TCP's start was seen costs a field extractor
        "odd-destination",  # notations of addresses are read by Python only
        "not-socks-on-socks-port",  # pointed out outside of any SOCKS layer
        "udp-after-close",  # a FIN again
        "udp-one-way",  # what does not come has no frame to be shown in
    )
)
"""Anomalies that a dissector cannot see, or puts where no SOCKS layer is; they are not compared."""

Fact = tuple[str, str]


@dataclass(frozen=True)
class Seen:
    """One SOCKS frame as one of the two sides sees it."""

    frame: int
    type: str
    facts: tuple[Fact, ...] = ()


@dataclass
class Side:
    """What one side sees of one conversation."""

    frames: list[Seen] = field(default_factory=list)
    anomalies: set[str] = field(default_factory=set)
    due: int | None = None
    """Replies that the request, once it has come, leads to: BIND has two."""
    replies: int = 0
    sealed: bool = False
    """A sealed GSSAPI frame of the proxy may hold the last one."""

    @property
    def relays(self) -> bool:
        """GSSAPI frames that follow are relayed."""
        return self.sealed or (self.due is not None and self.replies >= self.due)


Key = tuple[int, int]
"""TCP stream and depth of nesting."""


class Difference(NamedTuple):
    """One thing on which the two disagree; None where a side has nothing to say."""

    stream: int
    depth: int
    frame: int
    type: str
    field: str
    ours: str | None
    theirs: str | None


class Comparison(NamedTuple):
    """What a comparison found."""

    capture: str
    against: str
    conversations: int
    frames: int
    """SOCKS frames that our side found."""
    differences: list[Difference]


def verify(capture: str, against: str = "lua", ports: Iterable[int] = (), timeout: float = TIMEOUT) -> Comparison:
    """Compare our reading of a capture with tshark's (`lua`: with our dissector, `builtin`: with Wireshark's own).

    `timeout` is how many seconds each pass of tshark may take. Raises what reading a capture raises, MissingError when
    tshark, its Lua or pyshark is missing, and Socks5sniffError when tshark fails or does not end in time.
    """
    from socks5sniff.analysis import read

    extra = tuple(ports)
    records = list(read(capture, ports=extra, udp_frames=True))
    ours = _from_records(records)
    layers = socks_layers(capture, builtin=against == "builtin", ports=extra, timeout=timeout)
    theirs = _from_builtin(layers) if against == "builtin" else _from_lua(layers)
    differences: list[Difference] = []
    for key in sorted(ours.keys() | theirs.keys()):
        differences += _compare(key, ours.get(key, Side()), theirs.get(key, Side()), anomalies=against == "lua")
    if against == "lua":
        differences += _compare_octets(records, tunnel_octets(capture, ports=extra, timeout=timeout))
    return Comparison(capture, against, len(ours), sum(len(side.frames) for side in ours.values()), differences)


def _compare(key: Key, ours: Side, theirs: Side, anomalies: bool) -> list[Difference]:
    differences: list[Difference] = []

    def differ(frame: int, kind: str, name: str, left: str | None, right: str | None) -> None:
        differences.append(Difference(*key, frame, kind, name, left, right))

    places = {(seen.frame, seen.type) for seen in ours.frames} | {(seen.frame, seen.type) for seen in theirs.frames}
    for frame, kind in sorted(places):
        left = [seen for seen in ours.frames if (seen.frame, seen.type) == (frame, kind)]
        right = [seen for seen in theirs.frames if (seen.frame, seen.type) == (frame, kind)]
        for i in range(max(len(left), len(right))):
            if i >= len(left) or i >= len(right):
                differ(frame, kind, "frame", "seen" if i < len(left) else None, "seen" if i < len(right) else None)
                continue
            a, b = dict(left[i].facts), dict(right[i].facts)
            for name in sorted(a.keys() | b.keys()):
                if a.get(name) != b.get(name):
                    differ(frame, kind, name, a.get(name), b.get(name))
    if anomalies:
        last = max((seen.frame for seen in ours.frames), default=0)
        for code in sorted((ours.anomalies ^ theirs.anomalies) - NOT_IN_LUA):
            found = code in ours.anomalies
            differ(last, "", "anomaly", code if found else None, None if found else code)
    return differences


def _compare_octets(records: Iterable[Conversation], counted: Iterable[Octets]) -> list[Difference]:
    """Octets through each tunnel. Where two conversations have one key, in their order."""
    theirs: dict[Key, list[Octets]] = {}
    for octets in counted:
        theirs.setdefault((octets.stream, octets.depth), []).append(octets)
    differences: list[Difference] = []
    depths: dict[int, int] = {}
    for record in sorted(records, key=lambda record: record.id):
        depths[record.id] = depth = 0 if record.parent is None else depths.get(record.parent, 0) + 1
        key = (record.tcp_stream, depth)
        if record.bytes is None or record.udp is not None or not theirs.get(key):
            continue
        found = theirs[key].pop(0)
        for name in ("sent", "received"):
            ours, counts = str(getattr(record.bytes, name)), str(getattr(found, name))
            if ours != counts:
                last = max((entry.frame for entry in record.frames), default=0)
                differences.append(Difference(*key, last, "tunnel", f"bytes.{name}", ours, counts))
    return differences


# Our side


def _from_records(records: Iterable[Conversation]) -> dict[Key, Side]:
    depths: dict[int, int] = {}
    sides: dict[Key, Side] = {}
    waiting = sorted(records, key=lambda record: record.id)
    for record in waiting:
        if record.protocol is None or not record.frames:
            continue
        depth = 0 if record.parent is None else depths.get(record.parent, 0) + 1
        depths[record.id] = depth
        side = sides.setdefault((record.tcp_stream, depth), Side())
        facts = _record_facts(record)
        for entry in record.frames:
            told = facts.get(entry.type)
            if entry.type == "udp":
                side.frames.append(Seen(entry.frame, "udp"))
            else:
                side.frames.append(Seen(entry.frame, entry.type, tuple(told.pop(0)) if told else ()))
        side.anomalies |= {anomaly.code for anomaly in record.anomalies}
    return sides


def _record_facts(record: Conversation) -> dict[str, list[list[Fact]]]:
    """Facts for each type of frame, one list for each frame of that type in order."""
    request = _some(("command", record.command), *_target("destination", record.destination))
    return {
        "greeting": [_some(("methods", _joined(record.methods)))],
        "method-selection": [_some(("method", record.method))],
        "auth-request": [_some(("username", _plain(record.username)))],
        "auth-reply": [_some(("authenticated", _truth(record.authenticated)))],
        "request": [
            request + (_some(("username", _plain(record.username))) if record.protocol != "socks5" else []),
        ],
        "reply": [
            _some(("reply", _reply(record.reply)), *_target("bound", record.bound)),
            _some(("peer_reply", _reply(record.peer_reply)), *_target("peer", record.peer)),
        ],
    }


def _some(*facts: tuple[str, str | None]) -> list[Fact]:
    return [(name, value) for name, value in facts if value is not None]


def _target(name: str, target: Target | None) -> list[tuple[str, str | None]]:
    if target is None:
        return []
    return [(f"{name}.type", target.type), (f"{name}.host", _plain(target.host)), (f"{name}.port", str(target.port))]


def _reply(reply: ReplyCode | None) -> str | None:
    return None if reply is None else f"{reply.code} {reply.name}"


def _plain(text: str | None) -> str | None:
    r"""Text as the dissector shows it: what would not show as itself as `\xNN`, `\uNNNN` or `\UNNNNNNNN`."""
    return None if text is None else _UNSEEN.sub(lambda match: _escaped(ord(match[0])), text)


_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ue000-\uf8ff\ufeff\ufff0-\ufffb"
    r"\U000e0000-\U0010ffff]"
)


def _escaped(point: int) -> str:
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _joined(names: list[str] | None) -> str | None:
    return None if names is None else " ".join(names)


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


# tshark with our Lua dissector

_TYPES = {"1": "ipv4", "3": "domain", "4": "ipv6"}
_COMPARED = {"greeting", "method-selection", "auth-request", "auth-reply", "gssapi", "request", "reply", "udp"}


def _from_lua(layers: Iterable[Layer]) -> dict[Key, Side]:
    sides: dict[Key, Side] = {}
    streams: dict[int, int] = {}
    for layer in layers:
        kind = _frame_type(layer)
        stream = layer.stream
        if stream is None:
            # A relayed datagram belongs to the conversation whose request it names.
            stream = streams.get(int(layer.one("socks5.request_in") or 0), -1)
        elif kind == "request":
            streams[layer.frame] = stream
        side = sides.setdefault((stream, int(layer.one("socks5.depth") or 0)), Side())
        if kind == "gssapi" and side.relays:
            continue  # the tunnel inside GSSAPI frames, which a record does not list
        side.anomalies |= set(layer.all("socks5.anomaly"))
        if kind == "request":
            side.due = 2 if _number(layer.one("socks5.command")) == Command.BIND else 1
        elif kind == "reply":
            side.replies += 1
        side.sealed |= kind == "gssapi" and _is_sealed_answer(layer)
        if kind in _COMPARED:
            facts = _LUA_FACTS[kind](layer) if kind in _LUA_FACTS else []
            side.frames.append(Seen(layer.frame, kind, tuple(facts)))
    return {key: side for key, side in sides.items() if side.frames}


def _frame_type(layer: Layer) -> str:
    """The type's name; empty for the beginning of a frame that ends in another segment."""
    number = _number(layer.one("socks5.type"))
    return FRAME_TYPES[number - 1] if number else ""


def _is_sealed_answer(layer: Layer) -> bool:
    """Whether a GSSAPI frame is the proxy's and encloses what nobody can read."""
    return layer.one("socks5.gssapi.encrypted") in ("1", "True") and layer.one("socks5.sender") == "proxy"


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 0)


def _named(name_of: Callable[[int], str], text: str | None) -> str | None:
    number = _number(text)
    return None if number is None else name_of(number)


def _lua_target(layer: Layer, name: str) -> list[tuple[str, str | None]]:
    return [
        (f"{name}.type", _TYPES.get(layer.one(f"socks5.{name}.type") or "")),
        (f"{name}.host", layer.one(f"socks5.{name}.host")),
        (f"{name}.port", layer.one(f"socks5.{name}.port")),
    ]


def _lua_request(layer: Layer) -> list[Fact]:
    username = layer.one("socks5.username")
    return _some(
        ("command", _named(command_name, layer.one("socks5.command"))),
        *_lua_target(layer, "destination"),
        ("username", username or None),
    )


def _lua_reply(layer: Layer) -> list[Fact]:
    code = _number(layer.one("socks5.reply.code"))
    if code is None:
        return []
    four = layer.one("socks5.version") in ("0", "4") and 90 <= code <= 93
    second = layer.one("socks5.reply.peer") is not None
    reply = f"{code} {socks4_reply_name(code) if four else reply_name(code)}"
    return _some(("peer_reply" if second else "reply", reply), *_lua_target(layer, "peer" if second else "bound"))


_LUA_FACTS: dict[str, Callable[[Layer], list[Fact]]] = {
    "greeting": lambda layer: [
        ("methods", " ".join(method_name(int(value, 0)) for value in layer.all("socks5.methods")))
    ],
    "method-selection": lambda layer: _some(("method", _named(method_name, layer.one("socks5.method")))),
    "auth-request": lambda layer: _some(("username", layer.one("socks5.username"))),
    "auth-reply": lambda layer: _some(("authenticated", _truth(layer.one("socks5.authenticated") in ("1", "True")))),
    "request": _lua_request,
    "reply": _lua_reply,
}


# tshark with the dissector that is built in


def _from_builtin(layers: Iterable[Layer]) -> dict[Key, Side]:
    sides: dict[Key, Side] = {}
    for layer in layers:
        seen = _builtin_frame(layer)
        if seen is None or layer.stream is None:
            continue
        frames = sides.setdefault((layer.stream, 0), Side()).frames
        told = {fact for other in frames for fact in other.facts if other.type == "request"}
        if seen.type == "reply" and ("command", "bind") in told and any(other.type == "reply" for other in frames):
            # The built-in has the same fields for both replies.
            names = {"reply": "peer_reply"}
            facts = ((names.get(name, name).replace("bound.", "peer."), value) for name, value in seen.facts)
            seen = replace(seen, facts=tuple(facts))
        frames.append(seen)
    return sides


def _builtin_frame(layer: Layer) -> Seen | None:
    """The built-in dissector has no name for a frame's type: its fields tell.

    In tunnel frames it repeats the request's fields, but for RSV (SOCKS4: but for the user id).
    """
    methods = layer.all("socks.auth_method")
    if layer.one("socks.auth_method_count") is not None:
        names = " ".join(method_name(int(value, 0)) for value in methods)
        return Seen(layer.frame, "greeting", (("methods", names),))
    method = _number(layer.one("socks.auth_accepted_method"))
    if method is not None:
        return Seen(layer.frame, "method-selection", (("method", method_name(method)),))
    username = layer.one("socks.username")
    if layer.one("socks.password") is not None:
        return Seen(layer.frame, "auth-request", (("username", username or ""),))
    status = _number(layer.one("socks.auth_status"))
    if status is not None:
        return Seen(layer.frame, "auth-reply", (("authenticated", _truth(status == 0) or ""),))
    if layer.one("socks.gssapi.command") is not None:
        return Seen(layer.frame, "gssapi")
    command = layer.one("socks.command")
    if command is not None and (layer.one("socks.reserved") is not None or username is not None):
        facts = _some(("command", _named(command_name, command)), *_builtin_target(layer, "destination"))
        if layer.one("socks.version") == "4" and username:
            facts.append(("username", username))
        return Seen(layer.frame, "request", tuple(facts))
    code = _number(layer.one("socks.results"))
    if code is not None:
        name = socks4_reply_name(code) if 90 <= code <= 93 else reply_name(code)
        return Seen(layer.frame, "reply", tuple(_some(("reply", f"{code} {name}"), *_builtin_target(layer, "bound"))))
    return None


def _builtin_target(layer: Layer, name: str) -> list[tuple[str, str | None]]:
    for kind, field_name in (
        ("domain", "socks.v4a_dns_name"),
        ("domain", "socks.remote_name"),
        ("ipv4", "socks.dst"),
        ("ipv6", "socks.dstV6"),
    ):
        host = layer.one(field_name)
        if host is not None:
            port = layer.one("socks.port") or layer.one("socks.dstport") or layer.one("socks.remote_host_port")
            return [(f"{name}.type", kind), (f"{name}.host", host), (f"{name}.port", port)]
    return []
