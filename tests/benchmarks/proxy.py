"""How fast the bundled proxy is, beside microsocks in the same run.

    python -m tests.benchmarks.proxy                    bulk and short conversations, three runs each
    python -m tests.benchmarks.proxy --runs 5 --seconds 3

`bulk` is one CONNECT through which a server sends as fast as it can; `short` is CONNECT, 100 octets there and back,
close, by three client processes at once. Client, server and proxy are processes of their own on this machine, so with
fewer than four CPUs they are in each other's way. Figures are medians; `direct` is the same without a proxy.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from typing import Any

from socks5sniff.codec import Address, Command, Greeting, Request

HOST = "127.0.0.1"
CHUNK = bytes(256 * 1024)
WITHIN = 4.0
"""The bulk target: at most so many times slower than microsocks."""
SHORT_TARGET = 3000.0
"""Conversations a second."""
CLIENTS = 3

Port = int


def send_without_end(listener: socket.socket) -> None:
    """The bulk server."""
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while True:
                connection.sendall(CHUNK)


def echo_once(listener: socket.socket) -> None:
    """The server of short conversations: 100 octets back."""
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            octets = connection.recv(100)
            if octets:
                connection.sendall(octets)


def open_tunnel(proxy: Port | None, target: Port) -> socket.socket:
    """A connection to the target, through the proxy unless that is None."""
    connection = socket.create_connection((HOST, proxy or target))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy is not None:
        connection.sendall(Greeting(b"\x00").encode())
        receive(connection, 2)
        connection.sendall(Request(Command.CONNECT, Address.ipv4(HOST, target)).encode())
        answer = receive(connection, 10)
        if answer[1] != 0:
            raise RuntimeError(f"the proxy refused: {answer[1]}")
    return connection


def receive(connection: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        part = connection.recv(count - len(octets))
        if not part:
            raise RuntimeError("the proxy closed")
        octets += part
    return octets


def bulk(proxy: Port | None, target: Port, seconds: float) -> float:
    """Octets a second."""
    buffer = bytearray(1 << 20)
    with open_tunnel(proxy, target) as connection:
        begin = time.perf_counter()
        total = 0
        while (elapsed := time.perf_counter() - begin) < seconds:
            total += connection.recv_into(buffer)
    return total / elapsed


def converse(proxy: Port | None, target: Port, go: Event, seconds: float, results: Any) -> None:
    """One client process: conversations until the time is over."""
    octets = bytes(100)
    go.wait()
    begin = time.perf_counter()
    count = 0
    while time.perf_counter() - begin < seconds:
        with open_tunnel(proxy, target) as connection:
            connection.sendall(octets)
            receive(connection, 100)
        count += 1
    results.put(count)


def short(proxy: Port | None, target: Port, seconds: float) -> float:
    """Conversations a second, of all clients together."""
    context = multiprocessing.get_context("fork")
    go, results = context.Event(), context.Queue()
    clients = [context.Process(target=converse, args=(proxy, target, go, seconds, results)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    go.set()
    total = sum(results.get(timeout=seconds + 30) for _ in clients)
    for client in clients:
        client.join()
    return total / seconds


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[Port]:
    """A server in a process of its own."""
    with socket.create_server((HOST, 0), backlog=4096) as listener:
        process = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()


@contextmanager
def program(command: list[str], port: Port) -> Iterator[Port]:
    """A proxy that listens on `port` meanwhile."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection((HOST, port)):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{command[0]} does not listen")
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port() -> Port:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: Port = probe.getsockname()[1]
        return port


def proxies() -> dict[str, Callable[[Port], list[str]]]:
    """Commands of the proxies that are here."""
    ours = [sys.executable, "-m", "socks5sniff", "proxy", "--quiet"]
    found: dict[str, Callable[[Port], list[str]]] = {"socks5sniff": lambda port: [*ours, "--listen", f"{HOST}:{port}"]}
    microsocks = shutil.which("microsocks")
    if microsocks is not None:
        found["microsocks"] = lambda port: [microsocks, "-i", HOST, "-p", str(port)]
    return found


def measure(runs: int, seconds: float) -> dict[str, dict[str, float]]:
    """Medians by measurement and proxy."""
    figures: dict[str, dict[str, float]] = {"bulk": {}, "short": {}}
    commands = proxies()
    for name, serve, client in (("bulk", send_without_end, bulk), ("short", echo_once, short)):
        found: dict[str, list[float]] = {"direct": [], **{each: [] for each in commands}}
        with server(serve) as target:
            for _ in range(runs):
                found["direct"].append(client(None, target, seconds))
                for each, command in commands.items():
                    port = free_port()
                    with program(command(port), port):
                        found[each].append(client(port, target, seconds))
        figures[name] = {each: statistics.median(values) for each, values in found.items()}
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=2.0)
    chosen = arguments.parse_args()
    figures = measure(chosen.runs, chosen.seconds)
    for name, unit, scale in (("bulk", "MB/s", 1e6), ("short", "conversations/s", 1.0)):
        print(name)
        for proxy, value in figures[name].items():
            print(f"  {proxy:<12} {value / scale:>10.0f} {unit}")
    bulk_, short_ = figures["bulk"], figures["short"]
    if "microsocks" in bulk_:
        ratio = bulk_["microsocks"] / bulk_["socks5sniff"]
        verdict = "met" if ratio <= WITHIN else "MISSED"
        print(f"bulk: microsocks is {ratio:.2f} times as fast (at most {WITHIN:g}): {verdict}")
    verdict = "met" if short_["socks5sniff"] >= SHORT_TARGET else "MISSED"
    print(f"short: {short_['socks5sniff']:.0f} a second (at least {SHORT_TARGET:.0f}): {verdict}")


if __name__ == "__main__":
    main()
