"""Dialogues as who says what, beside the plain one."""

from __future__ import annotations

from tests.traffic import ANSWER, CHOICE, CLIENT, GREETING, HTTP, PLAIN, REQUEST, SERVER

PASSWORD = [
    (CLIENT, b"\5\2\0\2"),
    (SERVER, b"\5\2"),
    (CLIENT, b"\1\5alice\6secret"),
    (SERVER, b"\1\0"),
    *PLAIN[2:],
]
SOCKS4A = [
    (CLIENT, b"\4\1\0\x50\0\0\0\1bob\0example.org\0"),
    (SERVER, b"\0\x5a\0\0\0\0\0\0"),
    (CLIENT, HTTP),
    (SERVER, ANSWER),
]
REFUSED = [(CLIENT, GREETING), (SERVER, CHOICE), (CLIENT, REQUEST), (SERVER, b"\5\5\0\1\0\0\0\0\0\0")]
BIND = [
    (CLIENT, GREETING),
    (SERVER, CHOICE),
    (CLIENT, b"\5\2\0\1\x0a\0\0\7\0\x15"),
    (SERVER, b"\5\0\0\1\x0a\0\0\x09\x20\x01"),
    (SERVER, b"\5\0\0\1\x0a\0\0\7\0\x14"),
    (SERVER, b"220 ftp data\r\n"),
]
DIALOGUES = {"plain": PLAIN, "password": PASSWORD, "socks4a": SOCKS4A, "refused": REFUSED, "bind": BIND}
