"""What README and manual show is what the program does. `python -m tests.test_readme` brings them up to date."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import PropertyMock, patch

import pytest

from socks5sniff import manual
from socks5sniff.cli import main
from socks5sniff.codec.codes import ANOMALIES, COMMANDS
from socks5sniff.errors import ExitCode
from socks5sniff.record.fields import RECORD

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MANUAL = sorted(manual.FOLDER.glob("*.md"))
DOCUMENTS = [README, *MANUAL]
WIDTH = "98"
EXAMPLE = re.compile(r"^(```console\n\$ (socks5sniff (?!live|interfaces)[^\n]*)\n)(.*?)^```$", re.MULTILINE | re.DOTALL)
ANOMALY_ROWS = re.compile(r"^(\| code \| severity \|[^\n]*\n\| --- .*?\n)(?:\|[^\n]*\n)*", re.MULTILINE)
VARYING = ("socks5sniff demo",)
"""Commands whose output has other numbers each time: its words are compared."""
PROJECT = "https://github.com/socks5sniff/socks5sniff/"

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """In a folder of its own, where `captures` is the project's."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "captures").symlink_to(ROOT / "captures")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def output_of(command: str) -> str:
    """What a command prints, errors included, on a terminal of WIDTH columns without colours."""
    out = io.StringIO()
    with (
        elsewhere(),
        patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}),
        patch("socks5sniff.cli.output.Output.is_terminal", PropertyMock(return_value=True)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        main(shlex.split(command)[1:])
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def anomaly_rows() -> str:
    return "".join(f"| `{code}` | {about.severity} | {about.description} |\n" for code, about in ANOMALIES.items())


def same(command: str, shown: str, printed: str) -> bool:
    if command not in VARYING:
        return shown == printed
    return re.sub(r"[-\d .:]+", " ", shown) == re.sub(r"[-\d .:]+", " ", printed)


def refreshed(text: str) -> str:
    """A document with the present output under each command."""

    def one(found: re.Match[str]) -> str:
        head, command, shown = found.groups()
        printed = output_of(command)
        return f"{head}{shown if same(command, shown, printed) else printed}```"

    return ANOMALY_ROWS.sub(lambda found: found[1] + anomaly_rows(), EXAMPLE.sub(one, text))


@every_document
def test_the_outputs_shown_are_true(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert refreshed(text) == text


def test_the_readme_is_read_in_five_minutes() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.encode()) <= 9000
    assert len(EXAMPLE.findall(text)) >= 2
    assert max(len(line) for found in EXAMPLE.finditer(text) for line in found[3].splitlines()) < 100


def test_the_exit_codes_shown_are_all() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", manual.text("read"), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(code.value, code.name) for code in ExitCode]


def test_the_record_keys_shown_are_all() -> None:
    rows = re.findall(r"^\| (`.*?) \|", manual.text("record").partition("\n## ")[0], re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert shown == set(RECORD.inside)


def test_every_word_that_an_option_takes_is_on_the_page_that_the_message_names() -> None:
    from socks5sniff.sinks.columns import USUAL

    page = manual.text("record")
    words = [*ANOMALIES, *COMMANDS.values(), *(column.name for column in USUAL)]
    assert [word for word in words if f"`{word}`" not in page] == []


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    """Those of the README are whole addresses, as it is shown in other places too."""
    text = document.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}
    inline = set(re.findall(r"\]\(([^)\s]+)\)", text)) | set(re.findall(r"^\[[\w-]+\]: (\S+)$", text, re.M))
    assert {link.removeprefix("#") for link in inline if link.startswith("#")} <= headings
    assert set(re.findall(r"\]\[([\w-]+)\]", text)) <= set(re.findall(r"^\[([\w-]+)\]: ", text, re.M))
    for link in inline:
        if link.startswith(PROJECT):
            assert (ROOT / re.sub(r"^(blob|tree)/main/", "", link.removeprefix(PROJECT))).exists(), link
        elif not link.startswith(("#", "https:", "http:")):
            assert document != README, link
            assert (document.parent / link.partition("#")[0]).exists(), link


@every_document
def test_a_page_of_the_manual_begins_with_its_title(document: Path) -> None:
    if document != README:
        assert re.match(r"# \S", document.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
