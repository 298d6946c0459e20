"""A capture that is left running: records that are not lost, signals, health, and what a service manager hears."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .lab import LiveLab

LIVE = (sys.executable, "-m", "socks5sniff", "live")
MANUAL = Path(__file__).resolve().parents[2] / "socks5sniff" / "manual" / "systemd.md"


def until(done: Callable[[], Any], patience: float = 40) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def records(*paths: Path) -> list[dict[str, Any]]:
    """Every line of the files must be a whole record."""
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def conversations(*paths: Path) -> int:
    return sum("type" not in record for record in records(*paths))


def test_records_are_appended_over_restarts_and_a_crash(lab: LiveLab) -> None:
    path = lab.folder / "appended.jsonl"
    path.write_text('{"kept": true}\n')
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        live = lab.live("--format", "jsonl", "-o", str(path))
        before = len(records(path))
        lab.curl()
        until(lambda before=before: len(records(path)) > before)
        live.stop(number)
    assert len(records(path)) == 4
    assert path.read_text().startswith('{"kept": true}\n')


def test_records_are_cut_into_files_and_the_numbers_go_on_after_a_restart(lab: LiveLab) -> None:
    folder = lab.folder / "cut"
    folder.mkdir()
    options = ("--format", "jsonl", "-o", str(folder / "r.jsonl"), "--rotate-size", "1k", "--keep", "3")
    for run in range(2):
        live = lab.live(*options)
        before = conversations(*folder.iterdir())
        lab.curl()
        until(lambda before=before: conversations(*folder.iterdir()) > before)  # two seconds after its end
        lab.curl()
        assert live.stop() == 0, run
    names = sorted(path.name for path in folder.iterdir())
    assert all(re.fullmatch(r"r_\d{5}_\d{14}\.jsonl", name) for name in names)
    numbers = [int(name[2:7]) for name in names]
    assert len(numbers) == 3
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert numbers[-1] >= 4
    assert records(*folder.iterdir())


def test_logrotate_may_move_the_files_or_empty_them(lab: LiveLab) -> None:
    folder = lab.folder / "moved"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    path, capture = folder / "r.jsonl", folder / "x.pcapng"
    live = lab.live("--format", "jsonl", "-o", str(path), "-w", str(capture))
    lab.curl()
    until(lambda: conversations(path) == 1)
    path.rename(folder / "r.1")
    capture.rename(folder / "x.1")
    os.kill(live.pid, signal.SIGHUP)
    until(capture.exists)
    until(path.exists)
    lab.curl()
    until(lambda: conversations(path) == 1)
    path.write_bytes(b"")
    lab.curl()
    until(lambda: conversations(path) == 1)
    assert live.stop() == 0
    assert conversations(folder / "r.1") == 1
    assert len(lab.read(folder / "x.1")) == 1
    assert len(lab.read(capture)) == 2


def test_where_a_file_cannot_be_opened_again_the_present_one_is_written_on(lab: LiveLab) -> None:
    folder = lab.folder / "closed"
    folder.mkdir(mode=0o755)
    path = folder / "r.jsonl"
    live = lab.live("--format", "jsonl", "-o", str(path))
    path.rename(folder / "r.1")
    os.kill(live.pid, signal.SIGHUP)
    live.wait_for("r.jsonl: Permission denied; the file that was open is written on")
    lab.curl()
    assert live.stop() == 0
    assert conversations(folder / "r.1") == 1


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_no_record_and_saving_goes_on_with_space(lab: LiveLab) -> None:
    folder = lab.folder / "small"
    with small_disk(folder):
        path, filler = folder / "r.jsonl", folder / "filler"
        live = lab.live("--format", "jsonl", "-o", str(path), "-w", str(folder / "x.pcapng"), "--filter", "port 11080")
        lab.curl()
        until(lambda: conversations(path) == 1)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        page = path.stat().st_size % 4096 or 4096
        path_room = 4096 - page  # what is left of the file's last page
        for _ in range(path_room // 1000 + 3):
            lab.curl()
        live.wait_for("r.jsonl: No space left on device; what is to be written waits for space")
        live.wait_for("x.pcapng: No space left on device; saving waits for space, the analysis goes on")
        filler.unlink()
        live.wait_for("r.jsonl: there is space again")
        live.wait_for("x.pcapng: there is space again, saving goes on")
        assert live.stop() == 0, live.said
        count = path_room // 1000 + 4
        assert conversations(path) == count
        assert len(lab.read(folder / "x.pcapng")) == count


def test_a_disk_that_stays_full_is_told_by_the_exit_status_and_the_counts_are_the_files(lab: LiveLab) -> None:
    folder = lab.folder / "full"
    with small_disk(folder):
        with (folder / "filler").open("wb") as file:
            file.write(bytes(200_000))
        live = lab.live("--format", "jsonl", "-w", str(folder / "x.pcapng"))
        for _ in range(12):
            lab.curl()
        live.wait_for("No space left on device; saving waits")
        assert live.stop() == 5
        assert len(live.records) == 12
        said = re.search(r"saved (\d+) packets before that to \S+; (\d+) were lost", live.said)
        assert said is not None
        saved, lost = map(int, said.groups())
        frames = lab.run("tshark", "-r", str(folder / "x.pcapng"), "-T", "fields", "-e", "frame.number")
        assert len(frames.splitlines()) == saved > 0
        assert saved + lost == int(re.search(r"in (\d+) packets", live.said)[1])  # type: ignore[index]


def test_health_is_a_record_a_line_and_metrics(lab: LiveLab) -> None:
    folder = lab.folder / "metrics"
    folder.mkdir()
    path = folder / "socks5sniff.prom"
    live = lab.live("--format", "jsonl", "--stats-interval", "0.5", "--metrics", str(path), "-w", "health.pcapng")
    lab.curl()
    until(lambda: any("type" not in record for record in live.records))
    count = len(live.records)
    until(lambda: len(live.records) > count + 1)
    os.kill(live.pid, signal.SIGUSR1)
    live.wait_for(" 0 dropped; 0 open, 1 ended; ")
    assert live.stop() == 0
    health = [record for record in live.records if record.get("type") == "health"]
    last = health[-1]
    assert last["received"]["lo"] == last["packets"] > 10
    assert last["dropped"] == {"lo": 0}
    assert (last["open"], last["ended"], last["outcomes"]) == (0, 1, {"succeeded": 1})
    assert max(record["open"] for record in health) <= 1
    assert last["saved"] > 10
    assert last["memory"] > 10_000_000
    documented = re.search(r'^\{"type":"health".*\}$', MANUAL.read_text(), re.MULTILINE)
    assert documented is not None
    assert [*json.loads(documented[0])] == [*last]
    families = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["socks5sniff_conversations_total", "succeeded"] == 1
    assert values["socks5sniff_interface_dropped_packets_total", "lo"] == 0
    assert values["socks5sniff_packets_total",] > 10
    assert all(family.documentation for family in families.values())
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def unit() -> dict[str, str]:
    """The manual's unit, by key."""
    found = re.search(r"```ini\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    assert found is not None
    return dict(line.split("=", 1) for line in found[1].splitlines() if "=" in line)


def test_the_manuals_unit_runs_with_its_rights_and_its_manager_hears_of_it(lab: LiveLab) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = lab.folder / "notify"
    manager.bind(str(path))
    path.chmod(0o777)
    manager.settimeout(15)
    facts = unit()
    assert facts["Type"] == "notify"
    assert facts["AmbientCapabilities"] == facts["CapabilityBoundingSet"] == "CAP_NET_RAW"
    logs = lab.folder / "logs"
    logs.mkdir()
    program, *arguments = shlex.split(facts["ExecStart"].replace("${LOGS_DIRECTORY}", str(logs)))
    assert program.endswith("/socks5sniff")
    # As the manager starts it: CAP_NET_RAW alone, and not by being root.
    rights = ["--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw"]
    rights += ["--securebits=+noroot,+noroot_locked", "--no-new-privs"]
    environment = [f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=500000"]
    command = [*arguments, "--stats-interval", "1"]
    live = lab.start("env", *environment, "setpriv", *rights, sys.executable, "-m", "socks5sniff", *command)
    heard = [manager.recv(4096).decode()]
    assert heard == ["READY=1"], live.said
    lab.curl()
    began = time.monotonic()
    while heard.count("WATCHDOG=1") < 8:
        heard.append(manager.recv(4096).decode())
    assert 1.5 < time.monotonic() - began < 10  # eight are due in two seconds
    assert any(text.startswith("STATUS=up ") for text in heard)
    os.kill(live.pid, signal.SIGTERM)
    while "STOPPING=1" not in heard:
        heard.append(manager.recv(4096).decode())
    assert live.status() == 0, live.said
    manager.close()
    (file,) = logs.iterdir()
    assert conversations(file) == 1
