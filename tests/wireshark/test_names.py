"""Names that a client resolved itself: the dissector and the analyser find the same."""

from __future__ import annotations

import random
from pathlib import Path

from socks5sniff.dissector.verify import verify
from tests.analysis.test_names import FOUR, NAME, SIX, response

from .run import layers, rows
from .scenario import CHOICE, CLIENT_ADDRESS, GRANTED, GREETING, Capture, Tcp, datagram, request

RESOLVER = ("192.0.2.53", 53)
OTHER_CLIENT = "192.0.2.11"
ASKED = ("-o", "socks5.local_dns:TRUE")
"""A preference, off by default."""


def tell(capture: Capture, octets: bytes, client: str = CLIENT_ADDRESS) -> None:
    capture.add(datagram(RESOLVER, (client, 51_515), octets))


def ask(capture: Capture, host: str, command: int = 1, client: str = CLIENT_ADDRESS, client_port: int = 49_812) -> None:
    talk = [(0, GREETING), (1, CHOICE), (0, request(host, 80, command)), (1, GRANTED)]
    Tcp(capture, client=client, client_port=client_port).play(talk).close()


COUNTS = [
    (FOUR, 1, True),
    (SIX, 1, True),
    (FOUR, 2, True),
    ("0.0.0.0", 1, True),
    ("0.0.0.0", 2, False),
    ("0.0.0.0", 3, False),
    ("0.0.0.0", 5, False),
    (CLIENT_ADDRESS, 3, False),
    (NAME, 1, False),
]
"""What is asked for, the command, and whether a name answered before counts; `CLIENT_ADDRESS`: one's own."""


def test_what_counts(tmp_path: Path) -> None:
    capture = Capture()
    for number, (asked, command, _) in enumerate(COUNTS):
        client = f"192.0.2.{20 + number}"
        host = client if asked == CLIENT_ADDRESS else asked
        tell(capture, response(NAME, host if host != NAME else FOUR), client)
        ask(capture, host, command, client)
    path = capture.write(tmp_path / "names.pcap")
    leaks = {layer.stream for layer in layers(path, *ASKED) if "local-dns" in layer.anomalies}
    assert leaks == {number for number, (_, _, leak) in enumerate(COUNTS) if leak}
    assert verify(str(path)).differences == []


def test_an_answer_to_a_relay_on_the_clients_machine(tmp_path: Path) -> None:
    capture = Capture()
    machine = CLIENT_ADDRESS
    granted = b"\x05\x00\x00" + request(machine, 3000)[3:]
    talk = [(0, GREETING), (1, CHOICE), (0, request("0.0.0.0", 0, 3)), (1, granted)]
    Tcp(capture, client=machine, proxy=machine).play(talk)
    capture.add(datagram(RESOLVER, (machine, 3000), response(NAME, FOUR)))
    ask(capture, FOUR)
    path = capture.write(tmp_path / "names.pcap")
    assert not any("local-dns" in layer.anomalies for layer in layers(path, *ASKED))
    assert verify(str(path)).differences == []


def test_in_a_tunnel_to_another_proxy(tmp_path: Path) -> None:
    capture = Capture()
    tell(capture, response(NAME, FOUR))
    talk = [[(0, GREETING), (1, CHOICE), (0, request(host, 1080)), (1, GRANTED)] for host in ("proxy.example", FOUR)]
    Tcp(capture).play(talk[0] + talk[1]).close()
    path = capture.write(tmp_path / "names.pcap")
    assert [layer["depth"] for layer in layers(path, *ASKED) if "local-dns" in layer.anomalies] == ["1"]
    assert verify(str(path)).differences == []


def test_many_names_and_clients(tmp_path: Path) -> None:
    source = random.Random(6)
    hosts = [f"198.51.100.{i}" for i in range(9)] + [f"2001:db8::{i:x}" for i in range(9)]
    capture = Capture()
    for port in range(41_000, 41_120):
        client = source.choice((CLIENT_ADDRESS, OTHER_CLIENT))
        aliases = tuple(source.sample(("a.example.test", "b.example.test"), source.randrange(3)))
        if source.random() < 0.2:
            tell(
                capture,
                response(f"n{port}.example.test", *source.sample(hosts, source.randrange(3)), aliases=aliases),
                client,
            )
        ask(capture, source.choice(hosts), client=client, client_port=port)
    path = capture.write(tmp_path / "names.pcap")
    leaks = sum("local-dns" in layer.anomalies for layer in layers(path, *ASKED))
    assert 20 < leaks < 100
    assert verify(str(path)).differences == []


def test_not_unless_asked_for(tmp_path: Path) -> None:
    capture = Capture()
    tell(capture, response(NAME, FOUR))
    ask(capture, FOUR)
    path = capture.write(tmp_path / "names.pcap")
    assert not any("local-dns" in layer.anomalies for layer in layers(path))
    assert len(rows(path, "dns", "frame.number", options=ASKED)) == 1
