"""Octets of live, whatever the link does to them: against the programs' own counts and `read` of what was saved.

A namespace with clients and one with proxy and target are joined by a link that repeats, loses and reorders. All that
watches it does so at once: both ends, the bridge on the proxy's side and `any`, which sees each frame at least twice,
with every engine and view.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .lab import PROXY_PORT, LiveLab, Started, dropped, need

PROXY, CLIENT = "10.6.0.1", "10.6.0.2"
TARGET_PORT = 18100
OUR_PORT = PROXY_PORT + 7
COUNT = 30
START = 60
"""Seconds in which all that watches must have begun."""
VIEWS = {"lines": (), "jsonl": ("--format", "jsonl"), "table": ("--view", "table")}
WATCHERS = (
    "lines-ring-any", "jsonl-ring-any", "jsonl-ring-br0", "table-scapy-wire0", "jsonl-dumpcap-any", "lines-ring-wire1",
)  # fmt: skip
"""View, engine and interface of each; `wire1` is on the clients' side."""

TARGET = f"""
import socket, threading
def serve(peer):
    size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
    left = size
    while left:
        left -= len(peer.recv(min(left, 65536)))
    peer.sendall(bytes(3 * size + 5))
    peer.close()
listener = socket.create_server(("127.0.0.1", {TARGET_PORT}), backlog=100)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
"""Reads as many octets as it is told, and answers with three times as many and five."""

REACH = f"""
import socket, time
for _ in range(50):
    try:
        socket.create_connection(("{PROXY}", {PROXY_PORT}), 1).close()
        break
    except OSError:
        time.sleep(0.1)
"""
"""Waits until the link is up: a bridge learns for a moment."""

CLIENTS = f"""
import json, random, socket, struct, threading
told, chance = [], random.Random(2)
def talk(size):
    s = socket.create_connection(("{PROXY}", {PROXY_PORT}))
    port = s.getsockname()[1]
    s.sendall(b"\\5\\1\\0")
    s.recv(2, socket.MSG_WAITALL)
    s.sendall(b"\\5\\1\\0\\1\\x7f\\0\\0\\1" + struct.pack(">H", {TARGET_PORT}))
    s.recv(10, socket.MSG_WAITALL)
    s.sendall(size.to_bytes(4, "big") + bytes(size))
    got = 0
    while octets := s.recv(65536):
        got += len(octets)
    s.close()
    told.append([port, 4 + size, got])
sizes = [chance.randrange(1, 20000) for _ in range({COUNT})]
for first in range(0, {COUNT}, 10):
    threads = [threading.Thread(target=talk, args=(size,)) for size in sizes[first : first + 10]]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print(json.dumps(told))
"""
"""Tells of each connection its port and what was sent and received inside of it."""

DATAGRAMS = f"""
import json, socket, struct
s = socket.create_connection(("{PROXY}", {OUR_PORT}))
s.sendall(b"\\5\\1\\0"); s.recv(2, socket.MSG_WAITALL)
s.sendall(b"\\5\\3\\0\\1" + bytes(6)); reply = s.recv(10, socket.MSG_WAITALL)
relay = ("{PROXY}", struct.unpack(">H", reply[8:])[0])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(5)
received = 0
for number in range(20):
    u.sendto(b"\\0\\0\\0\\1\\x7f\\0\\0\\1" + struct.pack(">H", {TARGET_PORT}) + bytes(100 + number), relay)
    received += bool(u.recvfrom(4096))
s.close()
print(json.dumps([20, received]))
"""
ECHO = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", {TARGET_PORT}))
while True: s.sendto(*s.recvfrom(4096))
"""


class Link(NamedTuple):
    """The lab with its link."""

    lab: LiveLab
    inside: list[str]
    """Runs a command on the clients' side."""


@pytest.fixture
def link(lab: LiveLab, request: pytest.FixtureRequest) -> Iterator[Link]:
    """A link with shares of repeated, lost and late frames; `wire0` is a port of `br0` on the proxy's side."""
    need("unshare", "nsenter", "ip")
    wire = lab.start(sys.executable, str(Path(__file__).with_name("link.py")), "wire0", "wire1", *request.param)
    wire.wait_for("ready", in_output=True)
    peer = lab.start("unshare", "--net", "sh", "-c", "echo $$; exec sleep 600")
    peer.wait_for("\n", in_output=True)
    pid = peer.out.read_text().strip()
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    lab.run("ip", "link", "set", "wire1", "netns", pid)
    outer = "ip link add br0 type bridge && ip link set wire0 master br0 && ip link set wire0 up && ip link set br0 up"
    lab.run("sh", "-c", f"{outer} && ip address add {PROXY}/24 dev br0")
    lab.run(*inside, "sh", "-c", f"ip address add {CLIENT}/24 dev wire1 && ip link set wire1 up")
    lab.run(*inside, sys.executable, "-c", REACH)
    target = lab.start(sys.executable, "-c", TARGET)
    lab.wait_for_port(TARGET_PORT)
    yield Link(lab, inside)
    for started in (target, peer, wire):
        started.process.kill()
        started.process.wait()
    lab.run("ip", "link", "delete", "br0")


@contextlib.contextmanager
def watchers(link: Link) -> Iterator[dict[str, Started]]:
    """All that watches, by view, engine and place."""
    live = (sys.executable, "-m", "socks5sniff", "live")
    started = {}
    try:
        for name in WATCHERS:
            view, engine, place = name.split("-")
            where = link.inside if place == "wire1" else []
            started[name] = link.lab.start(
                *where, *live, "-i", place, "--engine", engine, *VIEWS[view], *_options(name)
            )
        deadline = time.monotonic() + START
        while not all("capturing on" in watcher.said for watcher in started.values()):
            assert all(watcher.process.poll() is None for watcher in started.values())
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield started
    finally:
        for watcher in started.values():
            watcher.process.kill()


def _options(name: str) -> tuple[str, ...]:
    return "--no-process", "--filter", f"net {PROXY.rsplit('.', 1)[0]}.0/24", "-w", f"{name}.pcapng"


def octets(records: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    return {record["client"]["port"]: (record["bytes"]["sent"], record["bytes"]["received"]) for record in records}


def in_lines(text: str) -> dict[int, tuple[int, int]]:
    """What the lines at the ends say, by the client's port."""
    found = re.findall(r" - \S+:(\d+) .*?: .*?([\d,]+) octets sent, ([\d,]+) received", text)
    return {int(port): (int(sent.replace(",", "")), int(received.replace(",", ""))) for port, sent, received in found}


def totals(said: str) -> tuple[int, int]:
    """Octets in the summary's row of the proxy."""
    found = re.search(rf"^{re.escape(PROXY)}:{PROXY_PORT} .*? ([\d,]+) +([\d,]+)$", said, re.MULTILINE)
    assert found is not None, said
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


LINKS = {
    "repeated": ("0.05", "0", "0"),
    "lossy": ("0", "0.03", "0"),
    "reordered": ("0", "0", "0.05"),
    "all": ("0.04", "0.02", "0.04"),
}
TRIED = [*LINKS] if "EVERY_CAPTURE" in os.environ else ["all"]


@pytest.mark.parametrize("link", [LINKS[name] for name in TRIED], ids=TRIED, indirect=True)
def test_octets_are_those_that_the_programs_count(link: Link) -> None:
    with watchers(link) as started:
        told = json.loads(link.lab.run(*link.inside, sys.executable, "-c", CLIENTS))
        truth = {port: (sent, received) for port, sent, received in told}
        assert len(truth) == COUNT
        time.sleep(3)  # a conversation's end waits two seconds for late frames
        for name, watcher in started.items():
            assert watcher.stop() == 0, watcher.said
            assert dropped(watcher.said) == 0, name
    wrong = {}
    for name, watcher in started.items():
        for what, counted in counts(link, name, watcher).items():
            differing = [port for port, right in truth.items() if counted.get(port) != right]
            if differing:
                wrong[name, what] = len(differing)
        sums = tuple(map(sum, zip(*truth.values(), strict=True)))
        if totals(watcher.said) != sums:
            wrong[name, "summary"] = 1
    assert not wrong


def counts(link: Link, name: str, watcher: Started) -> dict[str, dict[int, tuple[int, int]]]:
    """What was shown, and what `read` says of what was saved."""
    found = {"saved": octets(link.lab.read(link.lab.folder / f"{name}.pcapng"))}
    if name.startswith("jsonl"):
        found["shown"] = octets(watcher.records)
    elif name.startswith("lines"):
        found["shown"] = in_lines(watcher.out.read_text())
    return found


@pytest.mark.parametrize("link", [("0", "0", "0")], ids=["clean"], indirect=True)
def test_a_datagram_that_is_seen_at_several_interfaces_counts_once(link: Link) -> None:
    lab = link.lab
    proxy = lab.start(
        sys.executable, "-m", "socks5sniff", "proxy", "--quiet", "--allow-remote", "--listen", f"{PROXY}:{OUR_PORT}"
    )
    echo = lab.start(sys.executable, "-c", ECHO)
    lab.wait_for_port(OUR_PORT)
    live = {
        name: lab.live("-i", name, "--format", "jsonl", "--no-process", "--filter", f"host {CLIENT}")
        for name in ("br0", "any")
    }
    sent, received = json.loads(lab.run(*link.inside, sys.executable, "-c", DATAGRAMS))
    time.sleep(3)
    counted = {}
    for name, watcher in live.items():
        assert watcher.stop() == 0
        (record,) = watcher.records
        counted[name] = record["udp"]["datagrams_sent"], record["udp"]["datagrams_received"]
    for started in (proxy, echo):
        started.process.kill()
        started.process.wait()
    assert counted == {"br0": (sent, received), "any": (sent, received)}
