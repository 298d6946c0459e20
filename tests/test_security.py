"""What SECURITY.md promises is held by tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / ".github" / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = dict(re.findall(r"^\| ([A-Z][^|]+) \| (`tests/[^|]+) \|$", TEXT, re.MULTILINE))
"""Promise, and the tests that hold it."""


def named_in(path: Path) -> set[str]:
    """Names of the test functions of a file, those of classes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }


def test_there_are_promises() -> None:
    assert len(PROMISES) >= 20
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(rows) == len(PROMISES), "a row that is not read here"


@pytest.mark.parametrize("promise", PROMISES)
def test_each_is_held_by_tests(promise: str) -> None:
    named = re.findall(r"`([^`]+)`", PROMISES[promise])
    assert named
    for name in named:
        file, _, test = name.partition("::")
        assert test in named_in(ROOT / file), name


def test_what_it_refers_to_is_there() -> None:
    for topic in re.findall(r"`socks5sniff help (\w+)`", TEXT):
        assert (ROOT / "socks5sniff" / "manual" / f"{topic}.md").exists(), topic
    for module in re.findall(r"`python -m ([\w.]+)`", TEXT):
        place = ROOT.joinpath(*module.split("."))
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
    assert "SystemCallFilter" in (ROOT / "socks5sniff" / "manual" / "systemd.md").read_text(encoding="utf-8")
