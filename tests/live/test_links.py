"""Interfaces that are not there yet, go down, go away and come back; what the kernel tells of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from socks5sniff.live import links

from .lab import HTTP_PORT, PATIENCE, PROXY_PORT, LiveLab, Started, need

INNER = "10.8.0.2"
OUTER = "10.8.0.1"


@contextlib.contextmanager
def pair(lab: LiveLab) -> Iterator[list[str]]:
    """Makes `veth pair`s between here and a namespace: gives the command that runs something in there."""
    peer = lab.start("unshare", "--net", "sh", "-c", "echo $$; exec sleep 600")
    peer.wait_for("\n", in_output=True)
    yield ["nsenter", f"--net=/proc/{peer.out.read_text().strip()}/ns/net"]
    peer.process.kill()
    peer.process.wait()


def connect(lab: LiveLab, inside: list[str]) -> None:
    pid = inside[1].split("/")[2]
    lab.run("ip", "link", "add", "outer", "type", "veth", "peer", "name", "inner", "netns", pid)
    lab.run("ip", "address", "add", f"{OUTER}/24", "dev", "outer")
    up(lab, inside)


def up(lab: LiveLab, inside: list[str]) -> None:
    lab.run("ip", "link", "set", "outer", "up")
    lab.run(*inside, "ip", "address", "replace", f"{INNER}/24", "dev", "inner")
    lab.run(*inside, "ip", "link", "set", "inner", "up")


def talk(lab: LiveLab, inside: list[str]) -> None:
    proxy = f"socks5://{OUTER}:{PROXY_PORT}"
    lab.run(*inside, "curl", "-sS", "-m", "10", "-x", proxy, f"http://127.0.0.1:{HTTP_PORT}/")


def wait_for_records(live: Started, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(live.records) < count:
        assert time.monotonic() < deadline, live.said
        time.sleep(0.05)


def test_an_interface_that_goes_down_and_away_comes_back(lab: LiveLab) -> None:
    with pair(lab) as inside:
        connect(lab, inside)
        live = lab.live("-i", "outer", "--format", "jsonl")
        talk(lab, inside)
        wait_for_records(live, 1)
        lab.run("ip", "link", "set", "outer", "down")
        live.wait_for("outer: the interface went down or away; waiting for its return")
        up(lab, inside)
        live.wait_for("outer: the interface is back")
        talk(lab, inside)
        wait_for_records(live, 2)
        lab.run("ip", "link", "delete", "outer")
        time.sleep(0.5)
        connect(lab, inside)
        deadline = time.monotonic() + PATIENCE
        while live.said.count("is back") < 2:
            assert time.monotonic() < deadline, live.said
            time.sleep(0.05)
        talk(lab, inside)
        wait_for_records(live, 3)
        assert live.stop() == 0
        lab.run("ip", "link", "delete", "outer")
    assert live.said.count("waiting for its return") == 2
    assert live.said.count("is back") == 2


def test_an_interface_that_comes_back_as_another_kind_ends_the_capture(lab: LiveLab) -> None:
    lab.run("ip", "link", "add", "other", "type", "veth", "peer", "name", "rehto")
    lab.run("ip", "link", "set", "other", "up")
    live = lab.live("-i", "other", "-i", "lo")
    lab.run("ip", "link", "delete", "other")
    live.wait_for("waiting for its return")
    lab.run("ip", "tuntap", "add", "dev", "other", "mode", "tun")
    lab.run("ip", "link", "set", "other", "up")
    assert live.status() == 3
    assert "other: the interface came back with another link type" in live.said


def test_an_interface_may_be_waited_for(lab: LiveLab) -> None:
    live = lab.live("-i", "later", "-i", "lo", "--wait", "--format", "jsonl", wait=False)
    live.wait_for("waiting for later\n")
    lab.run("ip", "link", "add", "later", "type", "veth", "peer", "name", "retal")
    time.sleep(0.5)
    assert "capturing" not in live.said  # it is down as yet
    lab.run("ip", "link", "set", "later", "up")
    live.wait_for("capturing on later, lo (ring)")
    lab.curl()
    assert live.stop() == 0
    assert len(live.records) == 1
    lab.run("ip", "link", "delete", "later")


def test_who_does_not_wait_is_told_so(lab: LiveLab) -> None:
    text = lab.sniff("live", "-i", "never", status=3)
    assert text == (
        "socks5sniff: never: no such interface; `socks5sniff interfaces` lists them (--wait waits for one)\n"
    )


@pytest.mark.parametrize(("options", "said"), [((), True), (("--promiscuous",), False)])
def test_a_bridge_comes_with_a_note_unless_it_is_promiscuous(
    lab: LiveLab, options: tuple[str, ...], said: bool
) -> None:
    need("ip")
    lab.run("sh", "-c", "ip link show bridge >/dev/null 2>&1 || ip link add bridge type bridge")
    lab.run("ip", "link", "set", "bridge", "up")
    live = lab.live("-i", "bridge", *options, "--duration", "0.3")
    assert live.status() == 0
    note = "bridge: a bridge shows what passes between its ports only with --promiscuous"
    assert (note in live.said) == said


def test_the_kernel_tells_of_all_interfaces() -> None:
    need()
    loopback = links.find("lo")
    assert loopback is not None
    assert loopback.hardware == 772
    assert loopback.kind == ""
    assert loopback.flags & links.IFF_LOOPBACK
    assert loopback.largest >= 65_536
    assert links.find("no such name") is None
