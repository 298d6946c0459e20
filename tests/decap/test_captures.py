"""All captures without their proxies: what programs that know no SOCKS find in them is what was in the tunnels."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import socks5sniff
from socks5sniff.decap import Decapped, decap
from socks5sniff.payload import survey
from socks5sniff.record import Conversation

from .readers import fields, protocols, streams, warnings

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
APART = {
    "tcp-lost-tunnel": "octets are missing, which Wireshark says of it",
    "reset-text": "Wireshark takes the text in an RST for octets of the stream (RFC 9293 s3.5.3)",
}
LEGS = "ip.addr == 203.0.113.1"
"""The proxies' own connections to destinations, which are in the captures, too: what decap is to give."""


class Plain(NamedTuple):
    before: Path
    after: Path
    done: Decapped
    records: dict[int, Conversation]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """All captures as one, before and after."""
    folder = tmp_path_factory.mktemp("decap")
    before, after = folder / "before.pcapng", folder / "after.pcapng"
    names = [str(path) for path in sorted(CAPTURES.glob("*.pcapng")) if path.stem not in APART]
    subprocess.run(["mergecap", "-w", str(before), *names], check=True)
    with after.open("wb") as file:
        done = decap([str(before)], survey([str(before)]).tunnels, file)
    return Plain(before, after, done, {record.id: record for record in socks5sniff.read(before)})


def test_wireshark_warns_of_nothing(plain: Plain) -> None:
    assert plain.done.connections > 80
    assert warnings(plain.after) == []


def test_streams_are_the_ends_of_those_that_the_proxies_had(plain: Plain) -> None:
    commented = fields(plain.after, "tcp.stream", "frame.comment", only="frame.comment")
    conversations = {int(stream): plain.records[int(text.split()[2])] for stream, text in commented}
    assert len(conversations) == plain.done.connections
    known = {number: record for number, record in conversations.items() if record.bytes is not None}
    after = streams(plain.after, known)
    before = streams(plain.before, sorted({record.tcp_stream for record in known.values()}))
    wrong = []
    for number, record in known.items():
        assert record.bytes is not None
        ends = sorted(before[record.tcp_stream], key=lambda side: side.endpoint != str(record.client))
        wanted = [octets[len(octets) - count :] for (_, octets), count in zip(ends, record.bytes, strict=True)]
        found = sorted(after[number], key=lambda side: side.endpoint != str(record.client))
        if [side.octets for side in found] != wanted:
            wrong.append((record.id, record.community_id))
    assert wrong == []


NAMES = ("http.host", "tls.handshake.extensions_server_name", "dns.qry.name")


def test_wireshark_finds_what_it_finds_behind_the_proxies(plain: Plain) -> None:
    behind, found = fields(plain.before, *NAMES, only=LEGS), fields(plain.after, *NAMES)
    for column, name in enumerate(NAMES):
        names = {row[column] for row in behind} - {""}
        assert len(names) > 0, name
        assert names <= {row[column] for row in found}, name


def test_ndpi_finds_what_it_finds_behind_the_proxies(plain: Plain) -> None:
    legs = plain.before.with_name("legs.pcapng")
    subprocess.run(["tshark", "-r", str(plain.before), "-Y", LEGS, "-w", str(legs)], check=True, capture_output=True)
    assert protocols(plain.after) == protocols(legs) - {"SOCKS"} == {"DNS", "HTTP", "SSH", "TLS", "Unknown"}
    assert "SOCKS" in protocols(plain.before)
