"""The helper that finds the local process of a connection."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5sniff.capture.live.processes import _QUEUE, Endpoints, Processes, helper_command, look

pytest.importorskip("psutil", reason="psutil not installed")

ABSENT: Endpoints = ("127.0.0.1", 1, "127.0.0.1", 2)


@pytest.fixture
def connection() -> Iterator[Endpoints]:
    """Of a connection that this process holds at both ends."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            yield (*client.getsockname(), *client.getpeername())


@pytest.fixture
def processes() -> Iterator[Processes]:
    asked = Processes()
    yield asked
    asked.close()


def wait(processes: Processes, endpoints: Endpoints) -> None:
    deadline = time.monotonic() + 10
    while processes.pending(endpoints, 10):
        assert time.monotonic() < deadline
        time.sleep(0.01)
        processes.collect()


def test_both_ends_tell_which_side_is_meant(connection: Endpoints) -> None:
    found = look({connection, ABSENT})
    process = found[connection]
    assert process is not None
    assert process["pid"] == os.getpid()
    assert process["name"]
    assert found[ABSENT] is None


def test_where_not_all_may_be_asked_for_ones_own_are_found(
    connection: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)  # as on macOS without root
    process = look({connection})[connection]
    assert process is not None
    assert process["pid"] == os.getpid()


def test_an_ipv4_connection_of_a_dual_stack_socket_is_found() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no dual-stack sockets here")
    with (
        socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.socket(socket.AF_INET6) as client,
    ):
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        key = ("127.0.0.1", client.getsockname()[1], "127.0.0.1", server.getsockname()[1])
        process = look({key})[key]
    assert process is not None
    assert process["pid"] == os.getpid()


def test_answers_come_later_and_are_kept_until_the_connection_ends(processes: Processes, connection: Endpoints) -> None:
    processes.ask(connection)
    assert processes.find(connection) is None
    assert processes.pending(connection, 10)
    assert not processes.pending(connection, 0)
    wait(processes, connection)
    process = processes.find(connection)
    assert process is not None
    assert process["pid"] == os.getpid()
    processes.forget(connection)
    assert processes.find(connection) is None


def test_who_is_not_on_this_machine_is_not_found(processes: Processes) -> None:
    processes.ask(ABSENT)
    wait(processes, ABSENT)
    assert processes.find(ABSENT) is None


def test_asking_never_waits_however_much_is_asked(processes: Processes) -> None:
    began = time.monotonic()
    for port in range(20 * _QUEUE):
        processes.ask(("192.0.2.1", port, "192.0.2.2", 1080))
    assert time.monotonic() - began < 1


def test_a_helper_that_is_gone_gives_no_answers() -> None:
    processes = Processes()
    processes.close()
    processes.ask(ABSENT)
    processes.collect()
    assert processes.find(ABSENT) is None


def test_the_helper_ends_when_nobody_can_ask_any_more() -> None:
    assert subprocess.run(helper_command(), input=b"", capture_output=True, timeout=10).returncode == 0


def test_the_helper_takes_no_module_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    for name in ("json", "psutil", "socks5sniff"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    done = subprocess.run(helper_command(), input=b"", capture_output=True, timeout=10, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
