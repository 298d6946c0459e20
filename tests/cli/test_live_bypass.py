"""`live --bypass`: what a proxy's clients send past it, as it comes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from socks5sniff.analysis.bypass import AGE, LiveBypasses
from socks5sniff.analysis.live import LiveAnalyser
from socks5sniff.cli import main
from socks5sniff.cli.live_run import Limits, Watch
from socks5sniff.cli.live_showing import Showing
from socks5sniff.cli.live_views import LinesView, SinkView
from socks5sniff.errors import ExitCode
from socks5sniff.sinks import Options
from socks5sniff.sinks.clock import Clock
from tests.traffic import ANSWER, CLIENT, HTTP, PLAIN, SECOND, SERVER, START, Packet, batches, connection, datagram

from ..analysis.test_relayed_dns import ASSOCIATE, RELAY, header
from .test_live_run import Player

Frame = tuple[int, bytes]
WEB = ("198.51.100.80", 80)
DNS = ("198.51.100.53", 53)
ASKED = b"\0\7\1\0\0\1\0\0\0\0\0\0\1a\7example\0\0\1\0\1"


def frames(packets: list[Packet]) -> list[Frame]:
    return [(packet.time, packet.frame()) for packet in packets]


def proxied(host: str = "10.0.0.1", late: int = 0) -> list[Frame]:
    return frames(connection(PLAIN, client=(host, 40000), begin=START + late))


def past(host: str = "10.0.0.1", late: int = 0, **changes: Any) -> list[Frame]:
    said = [(CLIENT, HTTP), (SERVER, ANSWER)]
    return frames(connection(said, client=(host, 41000), proxy=WEB, begin=START + late, **changes))


def played(traffic: list[Frame], sizes: int = 3) -> tuple[list[dict[str, Any]], int]:
    """The objects that jsonl writes, and how many of them were there before the capture's end."""
    out = io.StringIO()
    early = 0
    traffic.sort(key=lambda frame: frame[0])
    bypasses = LiveBypasses()
    showing = Showing(SinkView("jsonl", out, Options()))
    player = Player(list(batches(traffic, [sizes] * (len(traffic) // sizes))))
    watch = Watch(player, LiveAnalyser(bypasses=bypasses), showing, bypasses=bypasses)

    def count() -> None:
        nonlocal early
        early = out.getvalue().count('"type":"bypass"')

    watch.each_turn = count
    watch.run(Limits(idle=0.01))
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    return [each for each in found if each.get("type") == "bypass"], early


@pytest.mark.parametrize("late", [-SECOND, SECOND])
@pytest.mark.parametrize("sizes", [1, 5, 1000])
def test_a_connection(late: int, sizes: int) -> None:
    """Before the host is known to use a proxy, and after."""
    (row,), _ = played(proxied() + past(late=late), sizes)
    assert row == {
        "type": "bypass",
        "client": {"address": "10.0.0.1", "port": 41000},
        "destination": {"address": WEB[0], "port": 80},
        "transport": "tcp",
        "server_name": "example.com",
        "bytes": {"sent": len(HTTP), "received": len(ANSWER)},
        "packets": 8,
        "start": row["start"],
        "end": row["end"],
        "process": None,
    }


def test_datagrams() -> None:
    traffic = [*proxied(), (START + SECOND, datagram(("10.0.0.1", 5000), DNS, ASKED))]
    (row,), _ = played(traffic)
    assert (row["transport"], row["server_name"], row["bytes"]["sent"]) == ("udp", "a.example", len(ASKED))


@pytest.mark.parametrize("closing", [True, False])
def test_what_a_relay_sends_on_is_the_proxy_s_own(closing: bool) -> None:
    """The host of the proxy uses a proxy itself; what may be its clients' waits until their association is over."""
    relay, place = (RELAY[0], RELAY[1]), ("198.51.100.9", 443)
    traffic = proxied(relay[0]) + frames(connection(ASSOCIATE, closing=False))
    traffic += [(START + SECOND, datagram(("10.0.0.1", 5555), relay, header(place) + b"hello"))]
    for port, destination in ((7, place), (8, WEB)):
        traffic.append((START + SECOND + port, datagram((relay[0], port), destination, b"hello")))
    traffic += [frame for number in range(4) for frame in proxied("10.0.0.1", (10 + number) * SECOND)]
    if closing:
        traffic += frames(connection(ASSOCIATE, begin=START + 9 * SECOND)[-3:])
    rows, _ = played(traffic)
    assert [row["client"]["port"] for row in rows] == [8]


@pytest.mark.parametrize("sizes", [1, 5])
def test_a_proxy_s_own_connection_while_the_tunnel_is_open(sizes: int) -> None:
    """The host of the proxy uses a proxy itself; what it opens for a client that stays is no bypass of its own."""
    asked = (CLIENT, b"\5\1\0\1" + bytes(map(int, WEB[0].split("."))) + WEB[1].to_bytes(2, "big"))
    tunnel = [*PLAIN[:2], asked, *PLAIN[3:]]
    traffic = proxied("10.0.0.9", -SECOND) + frames(connection(tunnel, client=("10.0.0.1", 39000), closing=False))
    leg = [(CLIENT, HTTP), (SERVER, ANSWER)]
    traffic += frames(
        connection(leg, client=("10.0.0.9", 42000), proxy=WEB, begin=START + 5_200_000, closing=False)
    )
    traffic += past("10.0.0.9", SECOND)
    traffic += [frame for number in range(4) for frame in proxied("10.0.0.1", (10 + number) * SECOND)]
    rows, _ = played(traffic, sizes)
    assert [row["packets"] for row in rows] == [8], "the one that it opened for nobody"


def test_while_it_is_open() -> None:
    """A connection without an end is told of once, when it has lasted for a while."""
    later = [frame for number in range(3) for frame in proxied("10.0.0.1", (10 + number) * SECOND)]
    rows, early = played(proxied() + past(late=SECOND, closing=False) + later)
    assert len(rows) == early == 1
    rows, _ = played(proxied() + past(late=SECOND, closing=False))
    assert len(rows) == 1, "at the end at the latest"
    assert AGE < 9 * SECOND


def test_whose_it_is_not() -> None:
    traffic = proxied()
    traffic += past("10.0.0.2")  # uses no proxy
    traffic += past("10.0.0.9")  # the proxy
    traffic += [(START, datagram(("10.0.0.1", 5353), ("224.0.0.251", 5353), ASKED))]
    traffic += frames(connection([], client=("10.0.0.1", 40001)))  # an attempt
    assert played(traffic) == ([], 0)


def test_a_line() -> None:
    out = io.StringIO()
    bypasses = LiveBypasses()
    watch = Watch(
        Player(list(batches(proxied() + past(late=SECOND)))),
        LiveAnalyser(bypasses=bypasses),
        Showing(LinesView(out, False, False, Clock())),
        bypasses=bypasses,
    )
    watch.run(Limits(idle=0.01))
    (line,) = (line for line in out.getvalue().splitlines() if " ! " in line)
    assert line.endswith("! 10.0.0.1:41000 > 198.51.100.80:80 tcp example.com, past the proxy")


@pytest.mark.parametrize("form", [["--format", "csv"], ["--format", "zeek"], ["--view", "table"]])
def test_what_cannot_show_it(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--bypass", *form]) == ExitCode.USAGE
    assert "--bypass goes with lines and with --format jsonl" in capsys.readouterr().err
