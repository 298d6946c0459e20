"""Plays scenarios on real sockets and captures the loopback interface with tcpdump or dumpcap.

Runs inside the namespace of `socks5sniff.lab.networks.namespace`. Segments and times are real: the files differ each
time.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from socks5sniff.client import ClientError
from socks5sniff.errors import MissingError, OutputError, RightsError
from socks5sniff.lab.networks.loopback import LoopbackLoop
from socks5sniff.lab.networks.namespace import give_addresses
from socks5sniff.lab.recorder import choose, readme, truth_text
from socks5sniff.lab.scenarios import Scenario
from socks5sniff.lab.scenarios.exchanges import UnexpectedError
from socks5sniff.lab.scene import HOSTS, Scene, UnplayableError

PATIENCE = 10.0
"""Seconds for the capturing program to start and to end."""

PROGRAMS = {
    "tcpdump": ["-i", "lo", "-n", "-s", "70000", "-B", "65536", "-U", "--immediate-mode", "-w"],
    "dumpcap": ["-i", "lo", "-q", "-B", "64", "-w"],
}
"""Programs that can capture, the preferred first, and their options up to the file's name.

In immediate mode the ring has slots of the snapshot length, so that is not longer than needed (a frame of loopback
has 65,550 octets at most) and the buffer is large (64 MiB).
"""


def record_live(names: Iterable[str], folder: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Play scenarios and write their files into `folder`.

    Returns:
        The names of those recorded, and those that were not with the reason.
    """
    scenarios = choose(names)
    give_addresses(HOSTS)
    recorded: list[str] = []
    skipped: list[tuple[str, str]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for scenario in scenarios:
            try:
                truth = _play(scenario, folder / f"{scenario.name}.pcapng")
            except UnplayableError as error:
                skipped.append((scenario.name, str(error)))
                continue
            except (OSError, asyncio.TimeoutError, AssertionError, ClientError, UnexpectedError) as error:
                if isinstance(error, OSError) and error.filename:
                    raise
                skipped.append((scenario.name, f"{type(error).__name__}: {error}"))
                continue
            (folder / f"{scenario.name}.json").write_text(truth_text(truth), encoding="utf-8")
            recorded.append(scenario.name)
        (folder / "README.md").write_text(readme(folder), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    return recorded, skipped


def _play(scenario: Scenario, path: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        loop = LoopbackLoop()
        scene = Scene(loop)

        async def perform() -> None:
            try:
                await scenario.play(scene)
            finally:
                await scene.close()

        with capturing(raw):
            loop.run(perform())
        scene.finish(path.name)
        packets = _rewrite(raw, path)
    return {
        "scenario": scenario.name,
        "about": scenario.about,
        "made": "loopback",
        "packets": packets,
        "conversations": scene.truth.conversations,
    }


@contextmanager
def capturing(path: Path) -> Iterator[None]:
    """The loopback interface is captured into `path` meanwhile."""
    program = next((name for name in PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise MissingError("tcpdump or dumpcap is needed to capture the loopback interface")
    log = path.with_suffix(".log")
    with log.open("wb") as messages:
        process = subprocess.Popen(
            [program, *PROGRAMS[program], str(path)], stdin=subprocess.DEVNULL, stdout=messages, stderr=messages
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (path.exists() and path.stat().st_size):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RightsError(f"{program} does not capture: {log.read_text(errors='replace').strip()}")
            time.sleep(0.02)
        time.sleep(0.1)
        yield
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _rewrite(raw: Path, path: Path) -> int:
    """The capture as the pcapng file that all others are, whatever the program wrote; the number of packets."""
    from socks5sniff.capture import open_captures
    from socks5sniff.capture.writer import PcapngWriter

    packets = 0
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        for batch in open_captures([str(raw)]):
            batch.interfaces[:] = [each._replace(name="lo") for each in batch.interfaces]
            writer.write_batch(batch)
            packets += len(batch)
    return packets
