"""Fixtures that several test files use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from socks5sniff.analysis.faults import RAISE

os.environ[RAISE] = "1"  # of the commands that tests start, too: an error of the program is never contained here

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")  # how long an example takes says how busy the machine is

ROOT = Path(__file__).resolve().parents[1]

LONGEST = (
    "fuzz/test_fuzz.py",
    "live/test_capture.py",
    "wireshark/test_tunnels.py",
    "live/test_service.py",
    "test_commands_shown.py",
    "web/test_live_page.py",
    "wireshark/test_passes.py",
    "live/test_octets.py",
    "live/test_naming.py",
    "wireshark/test_public.py",
    "wireshark/test_cut_short.py",
    "wireshark/test_cut_captures.py",
    "analysis/test_analysis.py",
    "proxy/test_hostile.py",
    "live/test_buffer.py",
    "dissector/test_install.py",
    "capture/test_s3.py",
    "session/test_enclosed.py",
    "cli/test_bad_input.py",
)
"""Files that take longest. They come first: where files are shared out, none of them is to be left alone at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # not shared out
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places)
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def shared_captures() -> Path:
    """The folder of public captures beside the checkout, which is not part of the project."""
    folder = ROOT.parent / "shared" / "captures"
    if not folder.is_dir():
        pytest.skip("the public captures (../shared/captures) are not here")
    return folder
