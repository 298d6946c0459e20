"""Rights in and outside of containers: what is needed to begin, and what is left once the capture runs."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from .lab import PATIENCE, LiveLab, Started

LIVE = (sys.executable, "-m", "socks5sniff", "live")
NET_RAW_ALONE = ("setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all")
"""As in a container that is started with `--cap-drop ALL --cap-add NET_RAW`."""
ROOTLESS = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""Root of a user namespace that has one user, in a network namespace of its own."""


def statuses(started: Started) -> list[dict[str, str]]:
    """What the kernel says of the rights of each thread."""
    found = []
    for thread in Path(f"/proc/{started.pid}/task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        found.append({line.partition(":")[0]: line.partition(":")[2].strip() for line in lines})
    return found


def test_net_raw_alone_is_enough_and_what_stays_is_said(lab: LiveLab) -> None:
    live = lab.start(*NET_RAW_ALONE, *LIVE, "--format", "jsonl")
    live.wait_for("capturing on lo (ring)")
    lab.curl()
    assert live.stop() == 0
    assert "still as root without capabilities: to become nobody is not allowed here" in live.said
    assert [record["outcome"] for record in live.records] == ["succeeded"]


def test_a_user_namespace_with_one_user_is_enough(lab: LiveLab) -> None:
    live = lab.start(*ROOTLESS, *LIVE, "--duration", "0.5")
    assert live.status() == 0, live.said
    assert "still as root without capabilities" in live.said
    assert "0 dropped" in live.said


def test_without_net_raw_the_message_names_the_containers_option(lab: LiveLab) -> None:
    text = lab.run("setpriv", "--bounding-set=-all", "--inh-caps=-all", *LIVE, status=7)
    assert "`--cap-add NET_RAW`" in text
    assert text.count("\n") == 1


STAYS = """
import socket, time
with socket.create_connection(("127.0.0.1", 11080)) as client:
    for said in (b"\\5\\1\\0", b"\\5\\1\\0\\1\\x7f\\0\\0\\1" + (18000).to_bytes(2, "big")):
        client.sendall(said)
        client.recv(10)
    time.sleep(1.5)
"""
"""A client that stays for more than a second, within which everybody is named."""


def test_the_helper_that_names_processes_keeps_what_it_uses_and_nothing_else(lab: LiveLab) -> None:
    live = lab.live("--format", "jsonl")
    needed = 1 << 2 | 1 << 19  # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE
    rights: list[int] = []
    deadline = time.monotonic() + PATIENCE  # it starts beside the capture
    while rights != [needed, needed, 0, 0] and time.monotonic() < deadline:
        (helper,) = Path(f"/proc/{live.pid}/task/{live.pid}/children").read_text().split() or ["self"]
        status = Path(f"/proc/{helper}/status").read_text()
        found = {line.partition(":")[0]: line.partition(":")[2].strip() for line in status.splitlines()}
        rights = [int(found[kind], 16) for kind in ("CapPrm", "CapEff", "CapBnd", "CapInh")]
        time.sleep(0.05)
    assert rights == [needed, needed, 0, 0]
    assert found["NoNewPrivs"] == "1"
    assert "0" not in found["Uid"].split()
    client = lab.start(sys.executable, "-c", STAYS)
    assert client.status() == 0
    assert live.stop() == 0
    assert live.records[0]["process"]["pid"] == client.pid
    assert live.records[0]["process"]["name"].startswith("python")


def test_interfaces_tells_what_live_will_find(lab: LiveLab) -> None:
    command = (sys.executable, "-m", "socks5sniff", "interfaces")
    assert lab.run(*command).splitlines()[2].endswith(" yes")
    refused = lab.run("setpriv", "--bounding-set=-all", "--inh-caps=-all", *command).splitlines()[2]
    assert refused.endswith("needs root (CAP_NET_RAW) or the group wireshark")


@pytest.mark.parametrize("start", [(), NET_RAW_ALONE], ids=["root", "net-raw-alone"])
def test_no_thread_keeps_a_right_or_a_way_to_one(lab: LiveLab, start: tuple[str, ...]) -> None:
    live = lab.start(*start, *LIVE, "-w", str(lab.folder / f"rights{len(start)}.pcapng"))
    live.wait_for("capturing on")
    lab.curl()
    found = statuses(live)
    assert len(found) > 1  # the main thread, the file's, the one that takes names
    for status in found:
        assert status["NoNewPrivs"] == "1"
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        if not start:  # without CAP_SETPCAP it cannot be emptied, and gives nothing
            assert int(status["CapBnd"], 16) == 0
            assert "0" not in re.split(r"\s+", status["Uid"])
    assert live.stop() == 0
