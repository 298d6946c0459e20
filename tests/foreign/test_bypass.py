"""What curl and a program with UDP send past a proxy that curl uses, too, with tshark's counts as the truth."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from socks5sniff.cli import main

from .conftest import Server, need
from .lab import ECHO_PORT, HTTP_PORT, PROXY, TARGET, Lab

URL = f"http://{TARGET}:{HTTP_PORT}/"


@pytest.fixture(autouse=True, scope="module")
def _programs() -> None:
    need("curl", "tshark")


def tshark(path: Path, chosen: str, *names: str) -> list[list[str]]:
    fields = [word for name in names for word in ("-e", name)]
    command = ["tshark", "-r", str(path), "-Y", chosen, "-T", "fields", *fields]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return [line.split("\t") for line in lines]


@pytest.fixture(scope="module")
def path(web: Lab, microsocks: Server) -> Path:
    """The client is the address PROXY, which is the proxy's machine, too: its upstream legs are told apart."""
    with web.capture(microsocks.port) as found:
        web.run("curl", "-sS", "-o", "/dev/null", "--interface", PROXY, "--socks5", str(microsocks), URL)
        web.run("curl", "-sS", "-o", "/dev/null", "--interface", PROXY, URL)
        script = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
            f"s.bind(({PROXY!r}, 0)); s.settimeout(5); s.sendto(b'hello', ({TARGET!r}, {ECHO_PORT})); s.recv(99)"
        )
        web.run("python3", "-c", script)
    return found


def rows(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, object]]:
    assert main(["bypass", str(path), "--format", "jsonl", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_went_past(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web_row, echo = rows(path, capsys)
    client = web_row["client"]
    assert isinstance(client, dict)
    assert client["address"] == PROXY
    assert web_row["destination"] == {"address": TARGET, "port": HTTP_PORT}
    assert (web_row["transport"], web_row["server_name"], web_row["process"]) == (
        "tcp",
        f"{TARGET}:{HTTP_PORT}",
        None,
    )
    packets = tshark(path, f"tcp.port == {client['port']}", "tcp.srcport", "tcp.len")
    sent = sum(int(size) for port, size in packets if int(port) == client["port"])
    assert web_row["bytes"] == {"sent": sent, "received": sum(int(size) for _, size in packets) - sent}
    assert web_row["packets"] == len(packets)
    assert (echo["transport"], echo["bytes"], echo["packets"]) == ("udp", {"sent": 5, "received": 5}, 2)
    assert echo["destination"] == {"address": TARGET, "port": ECHO_PORT}


def test_of_another_host_there_is_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(path, capsys, "--client", "10.66.0.99") == []


def test_all_is_also_what_the_proxy_did(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(rows(path, capsys, "--all", "--client", f"{PROXY},{TARGET}")) >= 3


def test_the_table_and_csv(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bypass", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"{TARGET}:{HTTP_PORT}" in said[1]
    assert said[-1].startswith("2 past the proxy, of 1 client, in ")
    assert main(["bypass", str(path), "--format", "csv"]) == 0
    found = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["destination.port"] for row in found] == [str(HTTP_PORT), str(ECHO_PORT)]


def test_a_client_is_an_address(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bypass", str(path), "--client", "nobody"]) == 2
    assert "'nobody' is not an IP address" in capsys.readouterr().err
