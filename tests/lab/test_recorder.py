"""The recorder: what it writes is the same every time, and is what lies in captures/."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import dpkt
import pytest

from socks5sniff.lab.recorder import LARGEST, ScenarioError, choose, play, readme, record, truth_text
from socks5sniff.lab.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "captures"


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_file_in_captures_is_what_the_scenario_makes(name: str) -> None:
    """A change shows here as a diff of the truth; `socks5sniff record -o captures` then makes the files anew."""
    recording = play(SCENARIOS[name])
    kept = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    made = truth_text(recording.truth)
    changed = difflib.unified_diff(kept.splitlines(), made.splitlines(), "captures", "made now", lineterm="", n=2)
    assert kept == made, "\n".join(changed)
    assert (FOLDER / f"{name}.pcapng").read_bytes() == recording.capture


def test_there_are_at_least_forty_scenarios_and_nothing_else_in_the_folder() -> None:
    assert len(SCENARIOS) >= 40
    names = {path.stem for path in FOLDER.iterdir() if path.is_file()} - {"README"}
    assert names == set(SCENARIOS)


def test_captures_are_small() -> None:
    sizes = [path.stat().st_size for path in FOLDER.glob("*.pcapng")]
    assert max(sizes) < LARGEST
    assert sum(sizes) < 1_000_000


def test_the_readme_lists_them_all() -> None:
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == readme(FOLDER)


def test_times_never_go_back() -> None:
    for path in sorted(FOLDER.glob("*.pcapng")):
        with path.open("rb") as file:
            times = [time for time, _ in dpkt.pcapng.Reader(file)]
        assert times == sorted(times), path.name


def test_another_process_with_other_hashes_makes_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "socks5sniff", "record", "-o", str(tmp_path), "connect-many", "udp-destinations"]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run(command, check=True, timeout=60, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    for name in ("connect-many", "udp-destinations"):
        assert (tmp_path / f"{name}.pcapng").read_bytes() == (FOLDER / f"{name}.pcapng").read_bytes()


def test_single_scenarios_keep_the_others_rows(tmp_path: Path) -> None:
    record(["connect-domain"], tmp_path)
    record(["bind"], tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| `connect-domain` |" in text
    assert "| `bind` |" in text


def test_an_unknown_scenario_is_said() -> None:
    with pytest.raises(ScenarioError, match="record --list"):
        choose(["no-such-thing"])


class TestCommand:
    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "socks5sniff", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)

    def test_list(self) -> None:
        done = self.run("record", "--list")
        assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(SCENARIOS)

    def test_unknown(self) -> None:
        done = self.run("record", "no-such-thing")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = self.run("record", "bind", "-o", str(tmp_path / "file"))
        assert done.returncode == 5
        assert len(done.stderr.splitlines()) == 1

    def test_demo(self, tmp_path: Path) -> None:
        path = tmp_path / "demo.pcapng"
        done = self.run("demo", "-o", str(path))
        assert done.returncode == 0, done.stderr
        for words in (
            "www.example.test",
            "connection refused",
            "no-acceptable-method",
            "udp-associate",
            "bind",
            "alice",
        ):
            assert words in done.stdout
        assert "hunter2" not in done.stdout
        assert str(path) in done.stdout
        assert path.stat().st_size > 10_000
