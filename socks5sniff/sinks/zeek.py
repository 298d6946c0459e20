r"""`zeek`: a socks.log as Zeek writes it, for `zeek-cut` and whatever else reads Zeek's logs.

Where Zeek's own log leaves a reader guessing, this one says more in the same columns: `user` also holds SOCKS4's
user id, and `status` says "authentication failed" or "no acceptable method" where no reply came. The password is
unset unless it is to be shown. `uid` is made from the connection's Community ID and time, so it is the same each time
a capture is read.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from time import gmtime, strftime, time

from socks5sniff.record import MASKED_PASSWORD, Conversation, Target
from socks5sniff.record.batch import Batch
from socks5sniff.record.form import Form

from .layouts import Field, Lines, Part, Words
from .line_sink import LineSink
from .sink import Options, Totals, Writer

FIELDS: dict[str, str] = {
    "ts": "time",
    "uid": "string",
    "id.orig_h": "addr",
    "id.orig_p": "port",
    "id.resp_h": "addr",
    "id.resp_p": "port",
    "version": "count",
    "user": "string",
    "password": "string",
    "status": "string",
    "request.host": "addr",
    "request.name": "string",
    "request_p": "port",
    "bound.host": "addr",
    "bound.name": "string",
    "bound_p": "port",
}
"""Columns and their Zeek types."""

INTERIM = {"interim": "bool"}
"""The column behind them where open conversations have records too."""

UNSET = "-"
EMPTY = "(empty)"

_STATUS_5 = (
    "succeeded",
    "general SOCKS server failure",
    "connection not allowed by ruleset",
    "Network unreachable",
    "Host unreachable",
    "Connection refused",
    "TTL expired",
    "Command not supported",
    "Address type not supported",
)
_STATUS_4 = {
    90: "succeeded",
    91: "general SOCKS server failure",
    92: "request failed because client is not running identd",
    93: "request failed because client's identd could not confirm the user ID string in the request",
}
_STATUS_WITHOUT_REPLY = {"auth-failed": "authentication failed", "no-acceptable-method": "no acceptable method"}
_FIRST_EVENTS = frozenset({"auth-request", "auth-reply", "request", "reply"})


class ZeekSink(LineSink):
    """Header lines, one line for each conversation, and the closing line.

    Zeek stamps `#open` and `#close` with the time in the traffic; without a conversation there is none, and `clock`
    (seconds since 1970) is asked, as Zeek does.
    """

    def __init__(self, out: Writer, options: Options, clock: Callable[[], float] = time) -> None:
        self._fields = FIELDS | INTERIM if options.interim else FIELDS
        lines = Lines(_line, Words(UNSET, _string, text=_wire, identity=_uid))
        super().__init__(out, options, lines, _interim_line if options.interim else zeek_line)
        self._clock = clock
        self._last_ns = 0
        self._started = False

    def _begin(self, batch: Batch) -> None:
        self._last_ns = max(self._last_ns, int(batch.times("end").max()))
        self._start(int(batch.times("start")[0]))

    def close(self, totals: Totals) -> None:
        end = self._last_ns or int(self._clock() * 1e9)
        self._start(end)
        self._out.write(f"#close\t{_stamp(end)}\n")
        self._out.flush()

    def _start(self, time_ns: int) -> None:
        if self._started:
            return
        self._started = True
        self._out.write(
            f"#separator \\x09\n#set_separator\t,\n#empty_field\t{EMPTY}\n#unset_field\t{UNSET}\n#path\tsocks\n"
            f"#open\t{_stamp(time_ns)}\n#fields\t{chr(9).join(self._fields)}\n"
            f"#types\t{chr(9).join(self._fields.values())}\n"
        )


def zeek_line(conversation: Conversation) -> str:
    """One conversation's columns between tabs. `orig` is the side that opened the TCP connection."""
    c = conversation
    opener, other = (c.proxy, c.client) if c.reversed else (c.client, c.proxy)
    first_event = next((frame.time_ns for frame in c.frames if frame.type in _FIRST_EVENTS), c.start_ns)
    seconds, fraction = divmod(first_event, 1_000_000_000)
    version = _version(c)
    user = c.username or None if version == "4" else c.username
    return "\t".join(
        (
            f"{seconds}.{fraction // 1000:06d}",
            uid(c),
            opener.address,
            str(opener.port),
            other.address,
            str(other.port),
            version,
            _string(user),
            _string(_password(c)),
            _string(_status(c)),
            *_address(c.destination),
            *_address(c.bound),
        )
    )


def _interim_line(conversation: Conversation) -> str:
    return f"{zeek_line(conversation)}\t{'T' if conversation.interim else 'F'}"


def _line(form: Form) -> list[Part]:
    """The columns of `zeek_line` for a conversation of this form, none of which is `reversed`."""
    event = next((Field("epoch", frame.place) for frame in form.frames if frame.type in _FIRST_EVENTS), None)
    columns: list[Part] = [
        event or Field("epoch", "start"),
        Field("identity"),
        *(Field("plain", "client_address"), Field("integer", "client_port")),
        *(Field("plain", "proxy_address"), Field("integer", "proxy_port")),
        _version(form),
        Field("text", "username", _version(form)) if form.username else UNSET,
        _string(_password(form)),
        _string(_status(form)),
        *_columns(form.destination, "destination"),
        *_columns(form.bound, "bound"),
    ]
    return [part for column in columns for part in ("\t", column)][1:]


def _columns(kind: str | None, column: str) -> tuple[Part, Part, Part]:
    """The host, name and port columns of a form's address."""
    if kind is None:
        return UNSET, UNSET, UNSET
    port = Field("integer", f"{column}_port")
    return (UNSET, Field("text", column), port) if kind == "domain" else (Field("plain", column), UNSET, port)


def _wire(version: str | int, text: str) -> str:
    """A name; of SOCKS4 a user id, which is unset where it is empty."""
    return _string(text or None if version == "4" else text)


def _version(said: Conversation | Form) -> str:
    return UNSET if said.protocol is None else said.protocol[5]


def _password(said: Conversation | Form) -> str | None:
    return None if said.password == MASKED_PASSWORD else said.password


def uid(conversation: Conversation) -> str:
    """`C` and 17 letters and digits that stay the same for this connection of this capture."""
    return _uid(conversation.community_id, conversation.start_ns, conversation.id)


def _uid(community_id: str, start_ns: int, number: int) -> str:
    key = f"{community_id} {start_ns} {number}".encode("utf-8", "replace")
    letters = b64encode(sha256(key).digest()).decode("ascii").replace("+", "").replace("/", "")
    return "C" + letters[:17]


def _status(c: Conversation | Form) -> str | None:
    if c.reply is None:
        return _STATUS_WITHOUT_REPLY.get(c.outcome)
    code = c.reply.code
    if c.protocol == "socks5":
        return _STATUS_5[code] if code < len(_STATUS_5) else f"unknown-{code}"
    return _STATUS_4.get(code, f"unknown-{code}")


def _address(target: Target | None) -> tuple[str, str, str]:
    """The host, name and port columns."""
    if target is None:
        return UNSET, UNSET, UNSET
    if target.type == "domain":
        return UNSET, _string(target.host), str(target.port)
    return target.host, UNSET, str(target.port)


def _string(text: str | None) -> str:
    if text is None:
        return UNSET
    if not text:
        return EMPTY
    escaped = "".join(map(_character, _UNITS.findall(text)))
    return f"\\x{ord(text[0]):02x}{escaped[1:]}" if escaped in (UNSET, EMPTY) else escaped


_UNITS = re.compile(r"\\x[89a-f][0-9a-f]|.", re.DOTALL)
r"""A record shows an octet that is not UTF-8 as `\xNN`, which is Zeek's form already."""


def _character(unit: str) -> str:
    r"""Printable characters stay, the backslash aside; of all others each UTF-8 octet becomes `\xNN`."""
    if len(unit) > 1 or (unit.isprintable() and unit != "\\"):
        return unit
    return "".join([f"\\x{octet:02x}" for octet in unit.encode("utf-8", "surrogatepass")])


def _stamp(nanoseconds: int) -> str:
    return strftime("%Y-%m-%d-%H-%M-%S", gmtime(nanoseconds // 1_000_000_000))
