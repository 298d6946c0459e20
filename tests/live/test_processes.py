"""Which local process has a connection: the asking side, the helper, and its two ways to look."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from socks5sniff.live.processes import Endpoints
from socks5sniff.live.processes import budget as budget_module
from socks5sniff.live.processes.asking import QUEUE, Processes, helper_command
from socks5sniff.live.processes.budget import Budget

ABSENT: Endpoints = ("127.0.0.1", 1, "127.0.0.1", 2)
CLIENT = (
    "import socket, sys; c = socket.create_connection((sys.argv[1], int(sys.argv[2]))); "
    "print(c.getsockname()[1], flush=True)"
)
"""A program that opens a connection and tells its port."""
BRIEFLY = f"{CLIENT}; import time; time.sleep(0.3)"
"""One that is there for long enough to be seen on a busy machine."""
LINUX = sys.platform.startswith("linux")
linux_only = pytest.mark.skipif(not LINUX, reason="Linux only")
as_root = pytest.mark.skipif(not LINUX or os.geteuid() != 0, reason="needs root on Linux")

Ask = Callable[[list[Endpoints]], list["dict[str, object] | None"]]
"""A way to look."""


@pytest.fixture(params=["scanning", "watching"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Both ways, asked for connections that were there before."""
    if request.param == "scanning":
        pytest.importorskip("psutil", reason="psutil not installed")
        from socks5sniff.live.processes.scanning import Scan

        yield Scan().answer
    elif not LINUX:
        pytest.skip("Linux only")
    else:
        from socks5sniff.live.processes.watching import Watching

        with closing(Watching([], 0)) as watching:
            yield watching.answer


@pytest.fixture
def connection() -> Iterator[Endpoints]:
    """Of a connection that this process holds at both ends."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            yield (*client.getsockname(), *client.getpeername())


@pytest.fixture
def processes() -> Iterator[Processes]:
    asked = Processes(["lo"])
    asked.wait()
    yield asked
    asked.close()


def wait(processes: Processes, endpoints: Endpoints) -> None:
    deadline = time.monotonic() + 10
    while processes.pending(endpoints, 10):
        assert time.monotonic() < deadline
        time.sleep(0.01)
        processes.collect()


def test_both_ends_tell_which_side_is_meant(ask: Ask, connection: Endpoints) -> None:
    absent, process, again = ask([ABSENT, connection, connection])
    assert absent is None
    assert process is not None
    assert process["pid"] == os.getpid()
    assert process["name"]
    assert again == process


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_ipv6_and_dual_stack_sockets_are_found(ask: Ask, address: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no dual-stack sockets here")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.socket(family) as client,
    ):
        client.connect((address, server.getsockname()[1]))
        host = address.removeprefix("::ffff:")
        (process,) = ask([(host, client.getsockname()[1], host, server.getsockname()[1])])
    assert process is not None
    assert process["pid"] == os.getpid()


def test_a_port_that_somebody_only_listens_on_is_nobodys_connection(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask([(*server.getsockname(), "127.0.0.1", 9)]) == [None]
        assert ask([("127.0.0.1", 9, *server.getsockname())]) == [None]


def test_both_ways_give_the_same_names(connection: Endpoints) -> None:
    psutil = pytest.importorskip("psutil", reason="psutil not installed")
    if not LINUX:
        pytest.skip("Linux only")
    from socks5sniff.live.processes.owners import process_name

    sleeper = ["-c", "import time; time.sleep(30)"]
    long = Path(sys.executable).resolve()
    for command in (
        [sys.executable, *sleeper],
        ["bash", "-c", f"exec -a {'x' * 30} {long} -c 'import time; time.sleep(30)'"],
    ):
        with subprocess.Popen(command) as started:
            time.sleep(0.2)
            assert process_name(started.pid) == psutil.Process(started.pid).name()
            started.kill()
    assert process_name(started.pid) is None


def test_where_not_all_may_be_asked_for_ones_own_are_found(
    connection: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    psutil = pytest.importorskip("psutil", reason="psutil not installed")
    from socks5sniff.live.processes.scanning import Scan

    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)  # as on macOS without root
    (process,) = Scan().answer([connection])
    assert process is not None
    assert process["pid"] == os.getpid()


@linux_only
def test_who_was_found_lately_is_looked_at_first_and_never_believed_unseen(connection: Endpoints) -> None:
    from socks5sniff.live.processes.owners import Owners
    from socks5sniff.live.processes.watching import key_of

    with closing(Owners()) as owners:
        assert owners.find([key_of(connection)]) == [os.getpid()]
        script = CLIENT + "; input()"
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            command = [sys.executable, "-c", script, "127.0.0.1", str(port)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
                assert other.stdout is not None
                theirs = ("127.0.0.1", int(other.stdout.readline()), "127.0.0.1", port)
                assert owners.find([key_of(theirs)]) == [other.pid]
                assert owners.find([key_of(connection)]) == [os.getpid()]
                assert owners.find([key_of(theirs)]) == [other.pid]
                other.communicate(b"\n")
            assert owners.find([key_of(theirs)]) == [None]
            assert owners.find([key_of(connection)]) == [os.getpid()]


MANY_FILES = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
first = socket.create_connection((sys.argv[1], int(sys.argv[2])))
files = [open("/dev/null") for _ in range(6000)]
last = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(first.getsockname()[1], last.getsockname()[1], flush=True)
input()
"""
"""A program with very many open files, and the ports of its connections, opened before them and after them."""


@linux_only
def test_a_younger_program_with_very_many_files_costs_the_others_nothing(
    connection: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from socks5sniff.live.processes import owners as owners_module
    from socks5sniff.live.processes.watching import key_of

    read: list[str] = []
    readlink = os.readlink
    monkeypatch.setattr(owners_module.os, "readlink", lambda path: (read.append(path), readlink(path))[1])
    with closing(owners_module.Owners()) as owners, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-c", MANY_FILES, "127.0.0.1", str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            first, last = (
                key_of(("127.0.0.1", int(theirs), "127.0.0.1", port)) for theirs in other.stdout.readline().split()
            )
            for wanted, pid, most in (
                (key_of(connection), os.getpid(), 1000),
                (last, other.pid, 1000),
                (key_of(connection), os.getpid(), 1000),
                (first, other.pid, 10_000),
            ):
                read.clear()
                assert owners.find([wanted]) == [pid]
                assert len([path for path in read if f"/{other.pid}/fd/" in path]) < most
            other.communicate(b"\n")


@as_root
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_client_that_is_gone_when_it_is_asked_for_was_seen_when_it_came(processes: Processes, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", BRIEFLY, host, str(port)], stdout=subprocess.PIPE) as client:
            own_port = int(client.communicate()[0])
        assert client.returncode == 0
        endpoints = (host, own_port, host, port)
        processes.ask([endpoints])
        wait(processes, endpoints)
        found = processes.find(endpoints)
    assert found is not None
    assert found["pid"] == client.pid


@as_root
def test_ports_that_are_used_again_are_somebody_elses() -> None:
    from socks5sniff.live.processes.watching import Watching, key_of

    with closing(Watching(["lo"], 0)) as watching, socket.create_server(("127.0.0.1", 0)) as server:
        gone: Endpoints = ("127.0.0.1", 4, *server.getsockname())
        watching._known[key_of(gone)] = {"pid": 1, "name": "earlier"}
        watching._remember([key_of(gone)])
        assert watching.answer([gone]) == [None]


@as_root
def test_syns_are_seen_once_and_nothing_else_is() -> None:
    from socks5sniff.live.processes.syns import Syns
    from socks5sniff.live.processes.watching import key_of

    with (
        closing(Syns(["lo"])) as syns,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        assert select.select(syns.descriptors(), [], [], 0)[0] == []
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            accepted.sendall(b"\5\0")
            accepted.close()
            datagram.sendto(b"x", server.getsockname())
            expected = key_of((*client.getsockname(), *client.getpeername()))
        assert [key for key in syns.take() if key[8:] == expected[8:]] == [expected]
        assert [*syns.take()] == []


@as_root
def test_any_is_all_interfaces_and_one_that_is_not_there_is_an_error() -> None:
    from socks5sniff.live.processes.syns import Syns

    with pytest.raises(OSError, match=r".+"):
        Syns(["nosuchif0"])
    with closing(Syns(["lo", "any"])) as syns:
        assert len(syns.descriptors()) == 1


@as_root
def test_an_interface_that_goes_down_does_not_keep_the_helper_busy() -> None:
    watch = (
        "import os, threading, time; "
        "from socks5sniff.live.processes.watching import Watching; "
        "os.system('ip link set lo up && ip link add v7 type veth peer name v8 && ip link set v7 up'); "
        "ends = os.pipe(); watching = Watching(['lo', 'v7'], ends[0]); "
        "threading.Timer(0.2, os.system, ['ip link del v7']).start(); "
        "threading.Timer(1.2, os.write, [ends[1], b'x']).start(); "
        "began = time.process_time(); watching.watch(); print(time.process_time() - began)"
    )
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", watch], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.25  # of the second in which it would be busy; starting `ip` twice is in it


def test_answers_come_later_and_are_kept_until_the_connection_ends(processes: Processes, connection: Endpoints) -> None:
    processes.ask([connection])
    assert processes.find(connection) is None
    assert processes.pending(connection, 10)
    assert not processes.pending(connection, 0)
    wait(processes, connection)
    process = processes.find(connection)
    assert process is not None
    assert process["pid"] == os.getpid()
    processes.forget(connection)
    assert processes.find(connection) is None


def test_an_answer_that_comes_after_the_end_is_not_the_next_ones(processes: Processes, connection: Endpoints) -> None:
    processes.ask([connection])
    processes.forget(connection)
    processes.ask([ABSENT])
    wait(processes, ABSENT)
    assert processes.find(connection) is None


def test_who_is_not_on_this_machine_is_not_found(processes: Processes) -> None:
    processes.ask([ABSENT])
    wait(processes, ABSENT)
    assert processes.find(ABSENT) is None


@pytest.mark.skipif(os.name != "posix", reason="needs SIGSTOP")
def test_asking_never_waits_however_much_is_asked_and_ends_unanswered(processes: Processes) -> None:
    """A pipe holds 64 kB: what a helper that rests has not read yet counts, though the connection has ended."""
    client, proxy = "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777"
    processes._helper.send_signal(signal.SIGSTOP)

    def ask_on() -> None:
        for port in range(20 * QUEUE):
            processes.ask([(client, port, proxy, 65535)])
            processes.forget((client, port, proxy, 65535))

    asking = threading.Thread(target=ask_on, daemon=True)
    asking.start()
    asking.join(5)
    waits = asking.is_alive()
    processes._helper.send_signal(signal.SIGCONT)
    assert not waits


def test_a_helper_that_is_gone_gives_no_answers() -> None:
    processes = Processes(["lo"])
    processes.close()
    processes.ask([ABSENT])
    processes.collect()
    assert not processes.pending(ABSENT, 10)
    assert processes.find(ABSENT) is None


def test_the_helper_ends_when_nobody_can_ask_any_more() -> None:
    assert subprocess.run(helper_command(["lo"]), input=b"", capture_output=True, timeout=10).returncode == 0


def test_the_helper_takes_no_module_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    for name in ("json", "psutil", "socks5sniff"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    done = subprocess.run(helper_command(["lo"]), input=b"", capture_output=True, timeout=10, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_budget_is_kept_after_a_first_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 100.0, "worked": 0.0}

    class Time:
        monotonic = staticmethod(lambda: clock["now"])
        process_time = staticmethod(lambda: clock["worked"])

        @staticmethod
        def sleep(seconds: float) -> None:
            clock["now"] += seconds

    monkeypatch.setattr(budget_module, "time", Time)
    budget = Budget(0.1)
    rests = []
    for _ in range(10_000):
        clock["now"] += 0.001
        clock["worked"] += 0.001
        rests.append(budget.rest())
    assert not any(rests[:100])
    assert clock["worked"] <= 0.2 + 0.1 * (clock["now"] - 100)
    clock["now"] += 1000
    assert not budget.rest()
