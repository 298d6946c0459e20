"""Plays scenarios and writes each one's capture, its truth, and the README that lists them.

The same scenario gives the same files, octet for octet: addresses, ports, times and sequence numbers are fixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from socks5sniff.errors import ExitCode, OutputError, Socks5sniffError
from socks5sniff.lab.networks.simulated import SimulatedLoop
from socks5sniff.lab.scenarios import SCENARIOS, Scenario
from socks5sniff.lab.scene import Scene
from socks5sniff.lab.truth import flow_of
from socks5sniff.proxy.capture_file import INTERFACE
from socks5sniff.proxy.packets import LINK_TYPE, Packet, Renderer

LARGEST = 100_000
"""Octets a scenario's capture may have."""


class ScenarioError(Socks5sniffError):
    """There is no such scenario."""

    exit_code = ExitCode.USAGE


class Recording(NamedTuple):
    """One scenario, played."""

    scenario: Scenario
    capture: bytes
    """The pcapng file."""
    truth: dict[str, Any]
    """What the JSON file holds."""


def choose(names: Iterable[str]) -> list[Scenario]:
    """The scenarios of these names, all without any. Raises ScenarioError."""
    chosen = list(names)
    for name in chosen:
        if name not in SCENARIOS:
            raise ScenarioError(f"no scenario is called {name!r}; see socks5sniff record --list")
    return [SCENARIOS[name] for name in chosen or sorted(SCENARIOS)]


def play(scenario: Scenario) -> Recording:
    """Play one scenario."""
    place = scenario.place
    loop = SimulatedLoop(place.first_port)
    scene = Scene(loop, place)

    async def perform() -> None:
        try:
            await scenario.play(scene)
        finally:
            await scene.close()

    loop.run(perform())
    scene.finish(f"{scenario.name}.pcapng")
    truth = {
        "scenario": scenario.name,
        "about": scenario.about,
        "made": "simulated",
        "packets": len(scene.packets),
        "connections": len({flow_of(packet) for packet in scene.packets} - {-1}),
        "conversations": scene.truth.conversations,
    }
    return Recording(scenario, pcapng(scene.packets), truth)


def pcapng(packets: Iterable[Packet]) -> bytes:
    """The packets as a pcapng file."""
    from io import BytesIO

    from socks5sniff.capture.writer import PcapngWriter

    file = BytesIO()
    writer = PcapngWriter(file)
    writer.add_interface(INTERFACE, LINK_TYPE)
    renderer = Renderer()
    for packet in packets:
        writer.write(renderer.frame(packet), packet.time)
    return file.getvalue()


def record(names: Iterable[str], folder: Path) -> list[Recording]:
    """Play scenarios and write their files and the README into `folder`. Raises ScenarioError, OutputError."""
    recordings = [play(scenario) for scenario in choose(names)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for recording in recordings:
            name = recording.scenario.name
            (folder / f"{name}.pcapng").write_bytes(recording.capture)
            (folder / f"{name}.json").write_text(truth_text(recording.truth), encoding="utf-8")
        (folder / "README.md").write_text(readme(folder), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    return recordings


def truth_text(truth: dict[str, Any]) -> str:
    """The truth as its file has it: in a form that differs line by line where it differs."""
    return json.dumps(truth, indent=1, ensure_ascii=True) + "\n"


def readme(folder: Path) -> str:
    """The README of a folder of captures: one row for each that is there."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        rows.append(
            f"| `{truth['scenario']}` | {truth['about']} | {len(truth['conversations'])} | {truth['packets']} "
            f"| {truth['made']} |"
        )
    return README.format(rows="\n".join(rows))


README = """# Captures of known truth

Each `NAME.pcapng` was made by the scenario of that name, `NAME.json` is what is in it: written by the scenario from
what it did, not by reading the capture. The tests read every capture and compare. Keys are those of the record (see
the project's README); `parent` is a place in the list, anomalies are the codes without their frames, and the few keys
that are missing are not judged.

    socks5sniff record -o captures/          # make all of them again: the same files, octet for octet
    socks5sniff record --list                # what there is
    socks5sniff read captures/NAME.pcapng    # look at one

Made `simulated`: the bundled proxy and client ran on a network in memory with fixed addresses, ports and times, and
the proxy wrote the packets that a sniffer beside it would have seen. `loopback`: captured on a real interface.
Hosts: proxy 192.0.2.1 (outbound 203.0.113.1), servers 198.51.100.0/24 and 2001:db8::/32. Each scenario has a client,
ports, five minutes and sequence numbers of its own, so that all files together are one capture, too:

    socks5sniff read captures/*.pcapng

| scenario | what happens | conversations | packets | made by |
| --- | --- | --- | --- | --- |
{rows}
"""
