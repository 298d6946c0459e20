"""`record --live`: real sockets, a real capture of the loopback interface, the same truth."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .test_captures import differences, read_back

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("connect-domain", "auth-password", "bind", "udp-ipv6", "socks4a-connect", "split-octets", "gssapi-refused")
UNPLAYABLE = ("tcp-conflict", "not-socks-http")


def namespace_problem() -> str | None:
    """Why no network namespace can be made here, or None."""
    if not sys.platform.startswith("linux"):
        return "macOS only and Windows only have no network namespaces"
    for program in ("unshare", "ip", "tcpdump"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    done = subprocess.run(["unshare", "--net", "--user", "--map-root-user", "true"], capture_output=True, text=True)
    root = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True)
    return None if 0 in (done.returncode, root.returncode) else f"no network namespace: {done.stderr.strip()}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    problem = namespace_problem()
    if problem:
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("live")
    command = [sys.executable, "-m", "socks5sniff", "record", "--live", "-o", str(folder), *NAMES, *UNPLAYABLE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for name in UNPLAYABLE:
        assert f"{name}: not played: " in done.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_capture_reads_back_as_its_truth(recorded: Path, name: str) -> None:
    truth = json.loads((recorded / f"{name}.json").read_text(encoding="utf-8"))
    assert truth["made"] == "loopback"
    records = read_back(recorded / f"{name}.pcapng")
    assert len(records) == len(truth["conversations"]) == 1
    assert not differences(truth["conversations"][0], records[0])


def test_the_readme_says_how_it_was_made(recorded: Path) -> None:
    rows = [
        line for line in (recorded / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert len(rows) == len(NAMES)
    assert all(row.endswith("| loopback |") for row in rows)
