"""What the README shows is what the program does. `python -m tests.test_readme` brings the README up to date."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from unittest.mock import patch

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
WIDTH = "118"
EXAMPLE = re.compile(r"^(```console\n\$ socks5sniff (read [^\n]*)\n)(.*?)^```$", re.MULTILINE | re.DOTALL)


def output_of(command: str) -> str:
    """Standard output of a `read` in the project's folder, on a terminal of WIDTH columns without colours."""
    out = io.StringIO()
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}), contextlib.redirect_stdout(out):
            assert main(shlex.split(command)) == 0
    finally:
        os.chdir(before)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def refreshed(readme: str) -> str:
    """The README with the present output under each command."""
    return EXAMPLE.sub(lambda found: f"{found[1]}{output_of(found[2])}```", readme)


def test_the_outputs_shown_are_true():
    readme = README.read_text(encoding="utf-8")
    assert len(EXAMPLE.findall(readme)) >= 3
    assert refreshed(readme) == readme


def test_the_exit_codes_shown_are_all():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(code.value, code.name) for code in ExitCode]


def test_the_record_keys_shown_are_all():
    from .traffic import PLAIN, analyse, connection

    section = README.read_text(encoding="utf-8").split("\n## The record\n")[1].split("\n## ")[0]
    shown = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert shown == set(analyse(connection(PLAIN))[0].as_dict())


def test_links_inside_the_readme_lead_somewhere():
    readme = README.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", readme, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", readme)) <= headings
    for path in re.findall(r"\]\((?!#|https?:)([^)]+)\)", readme):
        assert (ROOT / path).exists(), path


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
