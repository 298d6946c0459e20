"""`socks5sniff proxy` as a program: what it prints, how it stops, what it writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dpkt
import pytest

from socks5sniff.client import Client

from .harness import HOST, mirror, run, serving

COMMAND = [sys.executable, "-m", "socks5sniff", "proxy"]
ROOT = Path(__file__).resolve().parents[2]


class Program:
    """A running `socks5sniff proxy`."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--listen", f"{HOST}:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stderr is not None
        alarm = threading.Timer(20, self.process.kill)
        alarm.start()
        line = self.process.stderr.readline()
        alarm.cancel()
        assert line.startswith("listening on 127.0.0.1:"), line + self.process.stderr.read()
        self.port = int(line.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit status, output, errors."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=20)
        return self.process.returncode, output, errors


@contextmanager
def program(*arguments: str) -> Iterator[Program]:
    started = Program(*arguments)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.process.kill()
        started.process.communicate()


def use(port: int, **options: object) -> None:
    """A conversation with the proxy at `port`: ten octets there and back."""

    async def main() -> None:
        client = Client(HOST, port, **options)  # type: ignore[arg-type]
        async with serving(mirror) as target, await client.connect(HOST, target) as tunnel:
            tunnel.write(b"0123456789")
            assert await tunnel.read_exactly(10) == b"0123456789"

    run(main())


@pytest.mark.skipif(os.name != "posix", reason="Windows only has other signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_logs_and_stops_cleanly_when_told_to(number: int) -> None:
    with program("--user", "alice:secret") as proxy:
        use(proxy.port, username="alice", password="secret")
        with socket.create_connection((HOST, proxy.port)):
            time.sleep(0.1)
            status, output, errors = proxy.stop(number)
    assert status == 0
    assert not errors
    assert '"succeeded" 10/10' in output.splitlines()[0]
    assert "secret" not in output
    assert '"proxy stopped"' in output.splitlines()[1]


def test_the_capture_holds_the_conversation(tmp_path: Path) -> None:
    path = tmp_path / "seen.pcapng"
    with program("--capture", str(path), "--quiet") as proxy:
        use(proxy.port)
        deadline = time.monotonic() + 15
        while b"0123456789" not in path.read_bytes():  # it is written a few times a second
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with path.open("rb") as file:
            early = list(dpkt.pcapng.Reader(file))
        assert any(frame.endswith(b"0123456789") for _, frame in early)
        status, output, errors = proxy.stop()
    assert status == 0
    assert output == ""
    assert f"packets in {path}" in errors


def test_faults_and_names_from_the_command_line() -> None:
    with program("--fault", "reply=2@1", "--host", "mirror.test=127.0.0.1") as proxy:

        async def main() -> None:
            from socks5sniff.client import RefusedError

            async with serving(mirror) as target:
                client = Client(HOST, proxy.port)
                with pytest.raises(RefusedError, match="not allowed"):
                    await client.connect("mirror.test", target)
                async with await client.connect("mirror.test", target) as tunnel:
                    tunnel.write(b"x")
                    assert await tunnel.read_exactly(1) == b"x"

        run(main())


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--listen", "0.0.0.0:0"], 2, "--allow-remote"),
        (["--listen", "nonsense"], 2, "HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], 2, "HOST:PORT"),
        (["--user", "nameonly"], 2, "':'"),
        (["--fault", "nonsense"], 2, "--list-faults"),
        (["--capture", "/no/such/folder/x.pcapng"], 5, "cannot be written"),
        (["--handshake-timeout", "0"], 2, "handshake-timeout"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], status: int, words: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == status
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server((HOST, 0)) as taken:
        listen = f"{HOST}:{taken.getsockname()[1]}"
        done = subprocess.run([*COMMAND, "--listen", listen], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode != 0
    assert "cannot listen" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_faults_are_listed() -> None:
    done = subprocess.run([*COMMAND, "--list-faults"], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == 0
    assert "version=FRAME:CODE" in done.stdout
    assert "\nlong-refusal " in done.stdout


def test_remote_listening_is_allowed_and_said() -> None:
    process = subprocess.Popen(
        [*COMMAND, "--listen", "0.0.0.0:0", "--allow-remote"], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("listening on 0.0.0.0:")
        assert "other machines" in process.stderr.readline()
    finally:
        process.kill()
        process.communicate()
