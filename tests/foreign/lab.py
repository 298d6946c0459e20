"""A network namespace with nothing but its own loopback interface, and the programs that run in it.

It takes root. (In a user namespace tcpdump and sshd, which want to become another user, do not run.) It has a mount
namespace, too, so that the names below resolve in it and nowhere else. When the process that holds it and those in it
end, all of it is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROXY = "10.66.0.1"
"""Where the proxies listen: an address of the loopback interface that is not a loopback address."""
TARGET = "10.66.0.2"
TARGET_IPV6 = "fd66::2"
NAME = "target.test"
"""A name for TARGET."""
NAME_IPV6 = "target6.test"
"""A name for TARGET_IPV6."""

HTTP_PORT = 8000
ECHO_PORT = 7000
"""TCP and UDP."""
CLOSED_PORT = 9999
"""Nobody listens there."""

_HOSTS = f"127.0.0.1 localhost\n{TARGET} {NAME}\n{TARGET_IPV6} {NAME_IPV6}\n"
_SETUP = """
set -e
ip link set lo up
ip address add {proxy}/32 dev lo
ip address add {target}/32 dev lo
ip -6 address add {target6}/128 dev lo nodad
mount --bind {folder}/hosts /etc/hosts
mount --bind {folder}/resolv.conf /etc/resolv.conf
mount -t tmpfs none /run
mkdir -m 755 /run/sshd
echo ready
exec setpriv --pdeathsig KILL sleep 3600
"""
_LEASH = ("setpriv", "--pdeathsig", "TERM")
"""Ends what was started here even when the tests are killed."""
_PATIENCE = 40.0


class Lab:
    """The namespace; everything started in it ends with `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._captures = 0
        (folder / "hosts").write_text(_HOSTS)
        (folder / "resolv.conf").write_text("")
        script = _SETUP.format(proxy=PROXY, target=TARGET, target6=TARGET_IPV6, folder=folder)
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            assert self._holder.stderr is not None
            why = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise PermissionError(f"no network namespace: {why}")

    def command(self, *command: str) -> list[str]:
        """`command`, to run in the namespace."""
        return ["nsenter", f"--target={self._holder.pid}", "--net", "--mount", "--", *command]

    def run(self, *command: str, octets: bytes = b"", status: int | None = 0, timeout: float = 40) -> bytes:
        """What a program prints; it must end with `status`, unless that is None."""
        done = subprocess.run(self.command(*command), input=octets, capture_output=True, timeout=timeout)
        printed = done.stderr.decode(errors="replace")
        assert status is None or done.returncode == status, f"{command[0]} ended with {done.returncode}: {printed}"
        return done.stdout

    def python(self, script: str, *arguments: str, status: int | None = 0) -> bytes:
        """What a Python script prints that runs with this interpreter."""
        return self.run(sys.executable, "-c", script, *arguments, status=status)

    def start(self, *command: str, log: str | None = None) -> subprocess.Popen[bytes]:
        """A program that runs until the lab closes; what it prints goes to the file `log` in the lab's folder."""
        name = log or f"{Path(command[0]).name}.log"
        with (self.folder / name).open("wb") as printed:
            process = subprocess.Popen(
                self.command(*_LEASH, *command), stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
            )
        self._started.append(process)
        return process

    def wait_for_port(self, port: int) -> None:
        """Wait until something listens on a TCP port."""
        self._wait(lambda: bool(self.run("ss", "-Htln", f"sport = :{port}")), f"nothing listens on port {port}")

    @contextlib.contextmanager
    def capture(self, port: int) -> Iterator[Path]:
        """Capture what happens meanwhile, until all connections to the proxy at `port` are closed."""
        self._captures += 1
        path = self.folder / f"capture-{self._captures}.pcap"
        errors = path.with_suffix(".log")
        # In immediate mode libpcap's ring has slots of the snapshot length, so that must not be longer than needed.
        size = ("-s", "70000", "-B", "65536")
        command = ["tcpdump", "-i", "lo", "-n", *size, "-U", "--immediate-mode", "-w", "-"]
        with path.open("wb") as file, errors.open("wb") as log:
            tcpdump = subprocess.Popen(
                self.command(*_LEASH, *command), stdin=subprocess.DEVNULL, stdout=file, stderr=log
            )
        self._started.append(tcpdump)
        try:
            self._wait(lambda: b"listening on" in errors.read_bytes(), "tcpdump does not listen")
            yield path
            ends = f"( sport = :{port} or dport = :{port} )"
            connected = ("ss", "-Htan", "state", "connected", "exclude", "time-wait", ends)
            self._wait(lambda: not self.run(*connected), f"connections to port {port} stay open")
            # What was sent before this datagram stands before it in the file.
            mark = f"end of capture {self._captures}"
            self.run("bash", "-c", f"echo '{mark}' > /dev/udp/127.0.0.1/9")
            self._wait(lambda: mark.encode() in path.read_bytes(), "tcpdump does not write what it sees")
        finally:
            self.end(tcpdump, signal.SIGINT)
        assert b"\n0 packets dropped by kernel" in errors.read_bytes(), "tcpdump lost packets" + self._logs()

    def end(self, process: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End a process that `start` gave."""
        self._started.remove(process)
        _end(process, with_signal)

    def close(self) -> None:
        """End everything that was started here, the last first."""
        for process in reversed(self._started):
            _end(process, signal.SIGTERM)
        self._started.clear()
        _end(self._holder, signal.SIGKILL)
        for stream in (self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()

    def _wait(self, done: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not done():
            assert time.monotonic() < deadline, problem + self._logs()
            time.sleep(0.02)

    def _logs(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "".join(f"\n--- {log.name}\n{log.read_text(errors='replace')[-800:]}" for log in logs)


def missing(*programs: str) -> str | None:
    """Why a test that needs these programs cannot run here, or None."""
    absent = [program for program in programs if shutil.which(program, path=_search_path()) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def where(program: str) -> str:
    """Full path of an installed program, those of the administrator included."""
    found = shutil.which(program, path=_search_path())
    assert found is not None
    return found


def _search_path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def _end(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
