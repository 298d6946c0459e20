"""The proxy's own connection as real proxies open it, with tshark's SYNs as the truth."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.record import Conversation

from .conftest import Server, need
from .lab import CLOSED_PORT, HTTP_PORT, NAME, TARGET, Lab
from .test_clients import COULD_NOT_CONNECT


@pytest.fixture(autouse=True, scope="module")
def _programs() -> None:
    need("curl", "tshark")


def opened(path: Path, port: int) -> list[tuple[str, int]]:
    """Where the connections to the target's port came from, by tshark."""
    chosen = f"tcp.flags.syn == 1 and tcp.flags.ack == 0 and ip.dst == {TARGET} and tcp.dstport == {port}"
    command = ["tshark", "-r", str(path), "-Y", chosen, "-T", "fields", "-e", "ip.src", "-e", "tcp.srcport"]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [(address, int(source)) for address, source in (line.split("\t") for line in lines)]


def conversations(path: Path, server: Server) -> list[Conversation]:
    return [c for c in socks5sniff.read(str(path), ports=[server.port]) if c.proxy.port == server.port]


def check(record: Conversation, source: tuple[str, int], port: int, outcome: str) -> str:
    """That the upstream is the connection from `source`; gives what shows it."""
    found = record.upstream
    assert found is not None
    assert found["source"] == {"address": source[0], "port": source[1]}
    assert found["destination"] == {"address": TARGET, "port": port}
    assert found["outcome"] == outcome
    return str(found["matched_by"])


@pytest.mark.parametrize("program", ["microsocks", "danted"])
@pytest.mark.parametrize("host", [TARGET, NAME])
def test_a_proxy_and_its_connection(web: Lab, program: str, host: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(program)
    with web.capture(server.port) as path:
        url = f"http://{host}:{HTTP_PORT}/"
        web.run("curl", "-sS", "-o", "/dev/null", "--socks5-hostname", str(server), url)
    (record,) = conversations(path, server)
    (source,) = opened(path, HTTP_PORT)
    matched_by = check(record, source, HTTP_PORT, "established")
    assert record.bound is not None
    if (record.bound.host, record.bound.port) == source:
        assert matched_by == "bound-address"
    else:
        assert matched_by == ("destination-and-time" if host == TARGET else "octets")
    assert record.timing.upstream_handshake is not None


def test_a_refused_one(web: Lab, microsocks: Server) -> None:
    with web.capture(microsocks.port) as path:
        url = f"http://{TARGET}:{CLOSED_PORT}/"
        web.run("curl", "-sS", "-o", "/dev/null", "--socks5", str(microsocks), url, status=COULD_NOT_CONNECT)
    (record,) = conversations(path, microsocks)
    (source,) = opened(path, CLOSED_PORT)
    assert check(record, source, CLOSED_PORT, "refused") == "destination-and-time"


def test_many_at_once(web: Lab, danted: Server) -> None:
    """Whoever has one has the right one, and no two have the same."""
    url = f"http://{TARGET}:{HTTP_PORT}/"
    one = f"curl -sS -o /dev/null --socks5 {danted} {url}"
    with web.capture(danted.port) as path:
        web.run("sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do " + one + "/?$n & done; wait")
    records = conversations(path, danted)
    assert len(records) == 12
    sources = opened(path, HTTP_PORT)
    found = [(c.upstream["source"]["address"], c.upstream["source"]["port"]) for c in records if c.upstream]
    assert sorted(found) == sorted(set(found))
    assert set(found) <= set(sources)
    for record in records:
        if record.upstream and record.bound:
            assert record.bound.port == record.upstream["source"]["port"]
