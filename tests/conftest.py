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


@pytest.fixture(scope="session")
def shared_captures() -> Path:
    """The folder of public captures beside the checkout, which is not part of the project."""
    folder = ROOT.parent / "shared" / "captures"
    if not folder.is_dir():
        pytest.skip("the public captures (../shared/captures) are not here")
    return folder
