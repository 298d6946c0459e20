"""An S3 server on this machine, for as long as it is needed."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PATIENCE = 60.0
"""Seconds the server may take to begin."""


class Server(NamedTuple):
    """Where it listens."""

    port: int
    filer: int
    """The same objects as files: putting them there needs no signatures."""

    def put(self, objects: dict[str, bytes]) -> None:
        with_one = http.client.HTTPConnection("127.0.0.1", self.filer)
        for key, octets in objects.items():
            with_one.request("PUT", f"/buckets/{key}", octets, {"Content-Type": "application/octet-stream"})
            answer = with_one.getresponse()
            answer.read()
            assert answer.status < 300, (key, answer.status)
        with_one.close()

    def environment(self) -> dict[str, str]:
        """What leads its clients there."""
        return {
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }


def _ports(count: int) -> list[int]:
    """Free ones, whose neighbours ten thousand above, which the server takes too, are free as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high, suppress(OSError, OverflowError):
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            high.bind(("127.0.0.1", port + 10_000))
            if port not in found:
                found.append(port)
    return found


def weed() -> str | None:
    """The program, None where it is not installed."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@contextmanager
def serving(program: str, folder: Path) -> Iterator[Server]:
    """A server that keeps its objects in a folder."""
    master, volume, filer, port = _ports(4)
    command = [program, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=100"]
    command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with open(folder / "log", "wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    found = Server(port, filer)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found.put({"ready/x": b"x"})
                with socket.create_connection(("127.0.0.1", port)):
                    break
            except (OSError, AssertionError, http.client.HTTPException):
                assert running.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < end, "the server does not begin"
                time.sleep(0.2)
        yield found
    finally:
        running.kill()  # asked kindly, it waits for its parts for minutes
        running.wait()
