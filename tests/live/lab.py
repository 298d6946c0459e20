"""`socks5sniff live` as a process in a network namespace of its own, with a proxy and a target to talk through."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 40.0
PROXY_PORT = 11080
HTTP_PORT = 18000
_SETUP = """
set -e
ip link set lo up
ip link add left type veth peer name right
ip link set left mtu 1500 up
ip link set right mtu 1500 up
echo ready
exec sleep 600
"""


def need(*programs: str) -> None:
    """Skip unless root, on Linux, with these programs."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the kernel ring is Linux only")
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed")
    if os.geteuid() != 0:
        pytest.skip("capturing needs root")


class Started:
    """A program in the lab that runs until it is stopped; what it prints goes to files."""

    def __init__(self, lab: LiveLab, command: list[str], name: str) -> None:
        self.out = lab.folder / f"{name}.out"
        self.err = lab.folder / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                lab.command(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=lab.folder,
                env=lab.environment,
            )

    def wait_for(self, text: str, in_output: bool = False) -> None:
        """Until it has printed that on standard error (or output)."""
        path = self.out if in_output else self.err
        deadline = time.monotonic() + PATIENCE
        while text not in path.read_text(errors="replace"):
            assert self.process.poll() is None, f"ended: {self.err.read_text()}"
            assert time.monotonic() < deadline, f"{text!r} never came: {self.err.read_text()}"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Its process: nsenter without a namespace of processes becomes what it starts."""
        return self.process.pid

    def stop(self, number: int = signal.SIGINT) -> int:
        """Its exit status after a signal."""
        os.kill(self.pid, number)
        return self.status()

    def status(self) -> int:
        """Its exit status once it has ended."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    @property
    def said(self) -> str:
        return self.err.read_text()


class LiveLab:
    """The namespace. `lo` is up in it, and a veth pair left and right with MTU 1500."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "NO_COLOR": "1"}
        self._started: list[Started] = []
        self._number = 0
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _SETUP], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            pytest.skip("no network namespace can be made here")

    def command(self, command: list[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    def start(self, *command: str) -> Started:
        self._number += 1
        started = Started(self, list(command), f"{self._number}-{Path(command[0]).name}")
        self._started.append(started)
        return started

    def live(self, *options: str, wait: bool = True) -> Started:
        """`socks5sniff live` that has begun to capture."""
        started = self.start(sys.executable, "-m", "socks5sniff", "live", *options)
        if wait:
            started.wait_for("capturing on")
        return started

    @contextlib.contextmanager
    def tcpdump(self, path: Path, interface: str = "lo") -> Iterator[None]:
        """A capture file taken by tcpdump meanwhile."""
        options = ["-i", interface, "-n", "-s", "0", "-U", "--time-stamp-precision=nano", "--immediate-mode"]
        options += ["-B", "65536"]  # in immediate mode each frame takes up a slot of the snapshot length
        started = self.start("tcpdump", *options, "-Z", "root", "-w", str(path), "tcp")
        started.wait_for("listening on")
        yield
        time.sleep(0.2)
        assert started.stop() == 0
        assert "\n0 packets dropped by kernel" in started.said

    def run(self, *command: str, status: int | None = 0) -> str:
        done = subprocess.run(
            self.command(list(command)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=self.folder,
            env=self.environment,
        )
        assert status is None or done.returncode == status, f"{command}: {done.returncode} {done.stderr}"
        return done.stdout if status == 0 else done.stdout + done.stderr

    def sniff(self, *arguments: str, status: int | None = 0) -> str:
        return self.run(sys.executable, "-m", "socks5sniff", *arguments, status=status)

    def read(self, path: Path) -> list[dict[str, Any]]:
        """The records of a capture file."""
        return [json.loads(line) for line in self.sniff("read", "--format", "jsonl", str(path)).splitlines()]

    def wait_for_port(self, port: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.run("ss", "-Htln", f"sport = :{port}"):
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.02)

    def curl(self, *options: str, host: str = "127.0.0.1", status: int | None = 0) -> str:
        """Fetch the target's page through the proxy."""
        proxy = ["--proxy", f"socks5://{host}:{PROXY_PORT}"]
        return self.run("curl", "-sS", "-m", "10", *proxy, *options, f"http://127.0.0.1:{HTTP_PORT}/", status=status)

    def close(self) -> None:
        for started in self._started:
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


def without_capture(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what depends on where the frames came from: the capture's name, the process, and the upstream,

    which is known only once a conversation that comes later is.
    """
    elsewhere = ("capture", "process", "upstream")
    kept = [{key: value for key, value in record.items() if key not in elsewhere} for record in records]
    for record in kept:
        if isinstance(record.get("timing"), dict):
            record["timing"] = {key: value for key, value in record["timing"].items() if key != "upstream_handshake"}
    return kept


def dropped(said: str) -> int:
    """What the summary says was dropped."""
    return sum(int(count.replace(",", "")) for count in re.findall(r"([\d,]+) dropped", said))


def assert_alike(mine: Any, theirs: Any, path: str = "") -> None:
    """The same but for times: the kernel gives each program that captures TCP on this machine a time of its own."""
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), path
        for key in mine:
            assert_alike(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), path
        for index, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert_alike(one, other, f"{path}[{index}]")
    elif isinstance(mine, float) or path.endswith((".start", ".end", ".time")):
        assert abs(_seconds(mine) - _seconds(theirs)) < 0.5, f"{path}: {mine} {theirs}"
    else:
        assert mine == theirs, f"{path}: {mine!r} {theirs!r}"


def _seconds(value: float | str) -> float:
    if isinstance(value, float):
        return value
    return datetime.fromisoformat(value[:26] + "+00:00").timestamp()
