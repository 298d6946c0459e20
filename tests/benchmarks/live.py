"""`socks5sniff live --format jsonl` under load, beside `tcpdump -w /dev/null` at the same time. Linux, as root.

    python -m tests.benchmarks.live                  all of it, about five minutes
    python -m tests.benchmarks.live short            20,000 conversations at 3,000 a second
    python -m tests.benchmarks.live replay           three times as many, replayed: no proxy takes its share
    python -m tests.benchmarks.live web              the same while Chromium shows them (`live --web`)
    python -m tests.benchmarks.live bulk             2 GB through one tunnel at 4 Gbit/s
    python -m tests.benchmarks.live soak             memory over 540,000 conversations: an hour of 150 a second
    python -m tests.benchmarks.live flood            1,000,000 half-open connections, made up and replayed

    python -m tests.benchmarks.live service --count 2000000 --rate 1500      not among all: 22 minutes as a service,
                                                     records cut into files, health and processes on

All of it happens in a network namespace of its own, through microsocks on `lo`. The load generators take their share
of the machine's cores, and what else runs on it shows in the figures. CPU seconds are of the whole process with its
children, from start to end.
"""

from __future__ import annotations

import argparse
import atexit
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROXY_PORT, TARGET_PORT = 1080, 8000
PARTS = ("short", "replay", "web", "bulk", "soak", "flood")
SERVICE = "service"
STEPS = 20
"""Parts of the time of `service`; its memory is compared from the fifth on."""
CLIENTS = 2
"""Processes that make conversations."""
BOUND = 300
"""Seconds that a load may take."""
BULK = 2_000_000_000
CHURN = 1000
"""Conversations that begin in a second of the capture `churn`."""
REPLAYED = 32
"""Frames that are sent together."""
_REQUEST = b"\5\1\0\1\x7f\0\0\1" + struct.pack(">H", TARGET_PORT)
_INSIDE = "--inside"


class Result(NamedTuple):
    """What one watcher saw and cost."""

    seen: int
    """Conversations (live), or packets (tcpdump)."""
    received: int
    dropped: int
    cpu: float


def serve() -> None:
    """The target: answers a request that begins with `G` with a few octets, one that begins with `B` with so many."""
    listener = socket.create_server(("127.0.0.1", TARGET_PORT), backlog=4096)
    block = bytes(1 << 20)
    while True:
        connection, _ = listener.accept()
        with connection:
            asked = connection.recv(100)
            if asked[:1] == b"B":
                left = int(asked[1:])
                while left > 0:
                    left -= connection.send(block[: min(left, len(block))])
            elif asked:
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def converse(count: int, rate: float) -> None:
    """So many short conversations, paced to `rate` a second (0: as fast as they go)."""
    began = time.monotonic()
    for number in range(count):
        with socket.create_connection(("127.0.0.1", PROXY_PORT)) as client:
            client.sendall(b"\5\1\0")
            client.recv(2)
            client.sendall(_REQUEST)
            client.recv(10)
            client.sendall(b"GET / HTTP/1.1\r\nHost: target.example\r\n\r\n")
            client.recv(100)
        if rate:
            ahead = began + number / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)


def replay(path: str, rate: float) -> None:
    """Send the frames of a capture onto `lo`, in which `CHURN` conversations a second begin, as if `rate` did."""
    from socks5sniff.capture.merge import open_captures

    frames, times = [], []
    for batch in open_captures([path]):
        frames += [batch.frame(row) for row in range(len(batch))]
        times += batch.time.tolist()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("lo", 0))
        began = time.monotonic()
        for first in range(0, len(frames), REPLAYED):
            ahead = began + (times[first] - times[0]) / 1e9 * CHURN / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            for frame in frames[first : first + REPLAYED]:
                out.send(frame)


def pull(octets: int, rate: float) -> None:
    """So many octets through one tunnel, read at `rate` octets a second."""
    with socket.create_connection(("127.0.0.1", PROXY_PORT)) as client:
        client.sendall(b"\5\1\0")
        client.recv(2)
        client.sendall(_REQUEST)
        client.recv(10)
        client.sendall(b"B%d" % octets)
        room = bytearray(1 << 20)
        began = time.monotonic()
        got = 0
        while got < octets:
            count = client.recv_into(room)
            if not count:
                raise ConnectionError("the tunnel ended early")
            got += count
            ahead = began + got / rate - time.monotonic()
            if rate and ahead > 0.001:
                time.sleep(ahead)


class Watcher:
    """A program that captures meanwhile."""

    def __init__(self, command: list[str], sign: str) -> None:
        """Starts it and waits until it has printed `sign` on standard error."""
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        self._lines: list[str] = []
        for line in self._process.stderr:
            self._lines.append(line)
            if sign in line:
                break
        else:
            raise SystemExit(f"{command[0]}: {''.join(self._lines)}")
        # Its standard error must not fill up.
        self._reader = threading.Thread(target=self._lines.extend, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        atexit.register(self._process.kill)

    def said(self, pattern: str) -> str:
        """The first group of what it has said that looks so."""
        found = re.search(pattern, "".join(self._lines))
        assert found is not None, self._lines
        return found[1]

    @property
    def memory(self) -> int:
        """Octets of memory in use now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) * 1024 if found else 0

    def end(self) -> tuple[str, resource.struct_rusage]:
        """Stops it with SIGINT; what it said, and what it cost."""
        self._process.send_signal(signal.SIGINT)
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._reader.join()
        said = "".join(self._lines)
        if self._process.returncode:
            raise SystemExit(f"exit status {self._process.returncode}: {said}")
        return said, usage


def live(*options: str, sign: str = "capturing on") -> Watcher:
    command = [sys.executable, "-m", "socks5sniff", "live", "-i", "lo", "--format", "jsonl", *options]
    return Watcher(command, sign)


def tcpdump() -> Watcher:
    return Watcher(["tcpdump", "-i", "lo", "-n", "-s", "0", "-B", "65536", "-w", "/dev/null"], "listening on")


def of_live(watcher: Watcher, every: bool = False) -> Result:
    """`every`: conversations with any outcome count, else those that succeeded."""
    said, usage = watcher.end()
    found = re.search(r"lo: ([\d,]+) received, ([\d,]+) dropped", said)
    assert found is not None, said
    watcher.output.seek(0)
    records = [json.loads(line) for line in watcher.output]
    seen = sum(every or record["outcome"] == "succeeded" for record in records)
    received, dropped = (int(text.replace(",", "")) for text in found.groups())
    return Result(seen, received, dropped, usage.ru_utime + usage.ru_stime)


def of_tcpdump(watcher: Watcher) -> Result:
    said, usage = watcher.end()
    captured, _, dropped = (int(text) for text in re.findall(r"(\d+) packets? (?:captured|received|dropped)", said))
    return Result(captured, captured + dropped, dropped, usage.ru_utime + usage.ru_stime)


def show(name: str, wanted: int, ours: Result, theirs: Result | None, seconds: float) -> None:
    """Print the comparison; a target that is missed says so."""
    print(f"  {name:<10} {'dropped':>9} {'received':>10} {'CPU s':>8}")
    for who, result in (("live", ours), ("tcpdump", theirs)):
        if result is not None:
            figures = f"{result.dropped:>9,} {result.received:>10,} {result.cpu:>8.2f}"
            print(f"  {who:<10} {figures}")
    print(f"  {seconds:.1f} s; conversations: {ours.seen:,} of {wanted:,} {verdict(ours.seen == wanted)}; ", end="")
    print(f"no drops: {verdict(not ours.dropped)}", end="")
    if theirs is not None:
        ratio = ours.cpu / theirs.cpu
        print(f"; CPU {ratio:.1f} times tcpdump's (target 3: {verdict(ratio <= 3)})", end="")
    print(flush=True)


def verdict(good: bool) -> str:
    return "met" if good else "MISSED"


def together(target: Callable[..., None], *shares: tuple[float | str, ...]) -> float:
    """Run `target` in a process for each of the argument tuples; seconds until all have ended."""
    began = time.monotonic()
    processes = [multiprocessing.Process(target=target, args=share, daemon=True) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join(BOUND)
        if process.exitcode != 0:
            raise SystemExit("a load generator failed")
    return time.monotonic() - began


def short(count: int, rate: float, options: list[str]) -> None:
    print(f"\n{count:,} conversations at {rate:,.0f}/s {' '.join(options)}", flush=True)
    ours, theirs = live(*options), tcpdump()
    seconds = together(converse, *[(count // CLIENTS, rate / CLIENTS)] * CLIENTS)
    time.sleep(0.5)
    show("short", count, of_live(ours), of_tcpdump(theirs), seconds)
    print(f"  {count / seconds:,.0f} conversations/s")


@contextmanager
def churn(count: int) -> Iterator[str]:
    """A capture of so many conversations."""
    from tests.benchmarks import captures

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "churn.pcap")
        captures.write("churn", path, count)
        yield str(path)


def replayed(count: int, rate: float, options: list[str]) -> None:
    """What one capture takes that nothing else on this machine has a part in but who sends the frames."""
    print(f"\n{count:,} conversations at {rate:,.0f}/s, replayed {' '.join(options)}", flush=True)
    with churn(count) as path:
        ours, theirs = live("--no-process", *options), tcpdump()
        seconds = together(replay, (path, rate))
    time.sleep(0.5)
    show("replay", count, of_live(ours, every=True), of_tcpdump(theirs), seconds)


def web(count: int, rate: float) -> None:
    """The same with a browser: what the capture loses for it, and what the browser does not get."""
    from tests.web.chromium import Browser

    print(f"\n{count:,} conversations at {rate:,.0f}/s, replayed, with a browser", flush=True)
    watcher = live("--no-process", "--web", sign="open http")
    with Browser() as browser:
        tab = browser.tab()
        tab.open(watcher.said("open (http\\S+)"))
        tab.ready()
        with churn(count) as path:
            seconds = together(replay, (path, rate))
        browser.listen(5)
        ours = of_live(watcher, every=True)
        tab.wait("document.querySelector('.state.ended')?.textContent")
        browser.listen(3)
        shown, told = (tab.evaluate(f"document.querySelector('{part}').textContent") for part in (".note", ".stream"))
    show("with web", count, ours, None, seconds)
    print(f"  the browser: {shown}; {told}")


def bulk(octets: int, rate: float, options: list[str]) -> None:
    print(f"\n{octets / 1e9:.1f} GB through one tunnel at {rate * 8 / 1e9:.0f} Gbit/s {' '.join(options)}", flush=True)
    ours, theirs = live(*options), tcpdump()
    seconds = together(pull, (octets, rate))
    time.sleep(0.5)
    result = of_live(ours)
    show("bulk", 1, result, of_tcpdump(theirs), seconds)
    ours.output.seek(0)
    counted = json.loads(ours.output.readline())["bytes"]["received"]
    print(f"  {octets * 8 / seconds / 1e9:.1f} Gbit/s; octets counted in the tunnel: {verdict(counted == octets)}")


def soak(count: int, rate: float) -> None:
    """An hour of 150 conversations a second, compressed. Closed flows are remembered for a minute."""
    print(f"\n{count:,} conversations at {rate:,.0f}/s: memory of live (the ring's 64 MB included)", flush=True)
    ours = live("--no-process")
    steps = []
    for _ in range(10):
        together(converse, *[(count // 10 // CLIENTS, rate / CLIENTS)] * CLIENTS)
        steps.append(ours.memory)
        print(f"  {steps[-1] / 1e6:.0f} MB", end="", flush=True)
    print()
    time.sleep(0.5)
    result = of_live(ours)
    grown = steps[-1] - steps[5]
    print(f"  conversations: {result.seen:,} of {count:,} {verdict(result.seen == count)}; {result.dropped:,} dropped")
    print(f"  memory in the last four tenths: {grown / 1e6:+.0f} MB (target below 10: {verdict(grown < 10e6)})")


def service(count: int, rate: float, options: list[str]) -> None:
    """As one leaves it running: nothing dropped, nothing missing over all files of records, memory flat."""
    print(f"\n{count:,} conversations at {rate:,.0f}/s as a service {' '.join(options)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        output = ["-o", f"{folder}/records.jsonl", "--rotate-size", "20M", "--stats-interval", "2"]
        ours = live(*output, *options)
        began = time.monotonic()
        for _ in range(STEPS):
            together(converse, *[(count // STEPS // CLIENTS, rate / CLIENTS)] * CLIENTS)
        seconds = time.monotonic() - began
        time.sleep(3)
        said, usage = ours.end()
        files = sorted(Path(folder).iterdir())
        seen: set[str] = set()
        named = 0
        health = []
        for line in (line for path in files for line in path.open()):
            record = json.loads(line)
            if record.get("type") == "health":
                health.append(record)
            elif record["outcome"] == "succeeded":
                seen.add(f"{record['client']['port']} {record['start']}")
                named += record["process"] is not None
        size = sum(path.stat().st_size for path in files)
    made = count // STEPS // CLIENTS * STEPS * CLIENTS
    dropped = sum(health[-1]["dropped"].values())
    steady = [record["memory"] for record in health if record["uptime"] > seconds / 4]
    growth = max(steady) / steady[0] - 1
    print(f"  {seconds:.0f} s, {made / seconds:,.0f} a second; CPU {usage.ru_utime + usage.ru_stime:.0f} s")
    print(
        f"  records: {len(seen):,} of {made:,} in {len(files)} files, {size / 1e6:.0f} MB {verdict(len(seen) == made)}"
    )
    print(f"  dropped: {dropped:,} {verdict(not dropped)}; processes named: {named / max(len(seen), 1):.0%}")
    print(f"  memory {steady[0] / 1e6:.0f} MB, then {growth:+.1%} at most (target 5 %: {verdict(growth <= 0.05)})")
    print(f"  {said.splitlines()[-1]}", flush=True)


def flood(count: int) -> None:
    """SYNs from a raw socket would meet the kernel's own answers, so the frames are handed to the engine's user."""
    import numpy as np

    from socks5sniff.analysis.live import LiveAnalyser
    from socks5sniff.capture.batch import FrameBatch, Interface

    print(f"\n{count:,} half-open connections, replayed", flush=True)
    frame = bytearray(bytes(12) + b"\x08\0" + b"\x45\0\0\x28\0\0\0\0\x40\6\0\0" + bytes(8) + bytes(20))
    frame[46:48] = b"\x50\2"
    frame[36:38] = PROXY_PORT.to_bytes(2, "big")
    size = 16_384
    template = np.frombuffer(bytes(frame), np.uint8)
    analyser = LiveAnalyser()
    highest = began_at = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.process_time()
    now = time.time_ns()
    for first in range(0, count, size):
        numbers = np.arange(first, first + size, dtype=np.uint32)
        octets = np.tile(template, (size, 1))
        octets[:, 26:30] = (numbers + 0x0A000000).astype(">u4").view(np.uint8).reshape(size, 4)
        octets[:, 30:34] = (127, 0, 0, 1)
        octets[:, 34:36] = (numbers % 60000 + 1024).astype(">u2").view(np.uint8).reshape(size, 2)
        octets[:, 38:42] = numbers.astype(">u4").view(np.uint8).reshape(size, 4)
        lengths = np.full(size, len(template), np.int64)
        analyser.take(
            FrameBatch(
                octets.reshape(-1),
                np.arange(size, dtype=np.int64) * len(template),
                lengths,
                lengths,
                np.full(size, now, np.int64) + np.arange(size) * 1000,
                first + 1,
                np.zeros(size, np.uint16),
                [Interface("lo", "lo", 1)],
            )
        )
        now += size * 1000
        analyser.news()
    spent = time.process_time() - began
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    grown = highest - began_at
    print(f"  {spent:.1f} s CPU; {analyser.evicted:,} open connections forgotten; memory {grown / 1e6:+.0f} MB")
    print(f"  bounded: {verdict(analyser.evicted > 0 and grown < 300e6)}")


@contextmanager
def lab() -> Iterator[None]:
    """microsocks and its target."""
    command = ["microsocks", "-i", "127.0.0.1", "-p", str(PROXY_PORT)]
    proxy = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    targets = [multiprocessing.Process(target=serve, daemon=True)]
    for target in targets:
        target.start()
    try:
        for port in (PROXY_PORT, TARGET_PORT):
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
        yield
    finally:
        proxy.terminate()
        proxy.wait()
        for target in targets:
            target.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join((*PARTS, SERVICE)))
    parser.add_argument("--count", type=int, default=20_000, help="conversations; `soak` has 27 times that")
    parser.add_argument("--rate", type=float, default=3_000, help="conversations a second")
    parser.add_argument("--octets", type=int, default=BULK, help="of `bulk`")
    parser.add_argument("--gigabits", type=float, default=4, help="a second, of `bulk`")
    parser.add_argument("--live-option", action="append", default=[], help="another option for live")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if not set(parts) <= {*PARTS, SERVICE}:
        parser.error(f"the parts are {', '.join((*PARTS, SERVICE))}")
    if not arguments.inside:
        absent = [name for name in ("unshare", "ip", "tcpdump", "microsocks") if shutil.which(name) is None]
        if absent or os.geteuid():
            raise SystemExit(f"not installed: {', '.join(absent)}" if absent else "needs root")
        script = (
            "ip link set lo up && echo '1024 65535' > /proc/sys/net/ipv4/ip_local_port_range && "
            'echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; exec "$@"'
        )
        inside = [sys.executable, "-m", "tests.benchmarks.live", *sys.argv[1:], _INSIDE]
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", script, "sh", *inside])
    if "flood" in parts:  # first: it tells its memory from the highest so far
        flood(1_000_000)
    with lab():
        if "short" in parts:
            short(arguments.count, arguments.rate, arguments.live_option)
        if "replay" in parts:
            replayed(arguments.count * 3, arguments.rate, arguments.live_option)
        if "web" in parts:
            web(arguments.count * 3, arguments.rate)
        if "bulk" in parts:
            bulk(arguments.octets, arguments.gigabits * 1e9 / 8, arguments.live_option)
        if "soak" in parts:
            soak(arguments.count * 27, arguments.rate)
        if SERVICE in parts:
            service(arguments.count, arguments.rate, arguments.live_option)


if __name__ == "__main__":
    main()
