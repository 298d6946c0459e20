"""A proxy that says success and then closes, before one octet came from the destination."""

from __future__ import annotations

import pytest

from socks5sniff.record import Conversation
from tests.traffic import ACK, ANSWER, CLIENT, FIN, HTTP, PLAIN, RST, SERVER, analyse

from .dialogues import BIND, REFUSED, SOCKS4A
from .test_half_frames import Said, ended


def told(records: list[Conversation]) -> list[str]:
    return [a.message for record in records for a in record.anomalies if a.code == "closed-without-data"]


OPENED = {"socks5": PLAIN[:4], "socks4a": SOCKS4A[:2], "bind": BIND[:5], "inside": [*PLAIN[:4], *PLAIN[:4]]}


@pytest.mark.parametrize(("flags", "how"), [(FIN | ACK, "closed"), (RST, "reset"), (RST | ACK, "reset")])
@pytest.mark.parametrize("asked", [[], [(CLIENT, HTTP)]])
@pytest.mark.parametrize("name", OPENED)
def test_told(name: str, asked: Said, flags: int, how: str) -> None:
    records = analyse(ended([*OPENED[name], *asked], SERVER, flags))
    expected = f"the proxy {how} the connection after its success without an octet from the destination"
    assert told(records[-1:]) == [expected]
    assert records[-1].outcome == "succeeded"
    assert len(told(records)) == 1


@pytest.mark.parametrize("flags", [FIN | ACK, RST])
def test_not_when_the_client_closed(flags: int) -> None:
    assert told(analyse(ended([*PLAIN[:4], (CLIENT, HTTP)], CLIENT, flags))) == []


@pytest.mark.parametrize("said", [PLAIN, [*PLAIN[:4], (SERVER, ANSWER)], REFUSED, PLAIN[:3], BIND[:4]])
def test_not_after_data_or_without_success(said: Said) -> None:
    assert told(analyse(ended(said, SERVER, FIN | ACK))) == []


def test_not_when_the_capture_ended() -> None:
    assert told(analyse(ended(PLAIN[:4], SERVER, FIN | ACK)[:-1])) == []


def test_not_of_an_association() -> None:
    said = [*PLAIN[:2], (CLIENT, b"\5\3\0\1\0\0\0\0\0\0"), (SERVER, b"\5\0\0\1\x0a\0\0\x09\x0b\xb8")]
    assert told(analyse(ended(said, SERVER, FIN | ACK))) == []
