"""Every command, piece of Python and figure of README and manual is understood by what it is for."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import click
import pytest

from socks5sniff import manual
from socks5sniff.cli import main
from socks5sniff.codec.codes import REPLIES
from tests.cli.test_help import parsed
from tests.test_readme import DOCUMENTS, ROOT, elsewhere

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("", "sh", "console")


def blocks(document: Path, *kinds: str) -> list[str]:
    return [body for kind, body in FENCED.findall(document.read_text(encoding="utf-8")) if kind in kinds]


def command_lines(document: Path) -> list[str]:
    """Commands in indented blocks, behind `$` in consoles, and in the text where they begin with the program's name."""
    text = document.read_text(encoding="utf-8")
    found = [line[2:] for body in blocks(document, *SHELL) for line in body.splitlines() if line.startswith("$ ")]
    plain = FENCED.sub("", text)
    found += [line.strip() for line in re.findall(r"^ {4}(?! )(?!.*──|[|].*[|]$)(.*)$", plain, re.MULTILINE)]
    found += [one for one in re.findall(r"`((?:sudo )?(?:\S*/)?socks5sniff [^`]+)`", plain) if "…" not in one]
    return [line for line in found if re.match(r"(?:sudo |\S*/)*(?:socks5sniff|\w+)[ \"]", line)]


COMMANDS = [(document, line) for document in DOCUMENTS for line in command_lines(document)]
every_command = pytest.mark.parametrize(
    ("document", "line"), COMMANDS, ids=[f"{document.name}-{line[:50]}" for document, line in COMMANDS]
)


def stages(line: str) -> list[list[str]]:
    """The programs of a line, each with its arguments; what is before the program we look for stays in front."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        elif set(word) <= set("<>"):
            continue
        else:
            found[-1].append(word)
    return [stage for stage in found if stage]


def from_program(stage: list[str], name: str) -> list[str] | None:
    """A stage's arguments for a program, None where it is not called."""
    for index, word in enumerate(stage):
        if Path(word).name == name:
            return stage[index + 1 :]
    return None


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 60


@every_command
def test_the_shell_understands_it(document: Path, line: str) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash not installed")
    subprocess.run(["bash", "-n", "-c", line], check=True)


@every_command
def test_our_program_understands_it(document: Path, line: str) -> None:
    if "$(" in line:
        line = re.sub(r"\"?\$\(.*?\)\"?", "1", line)
    for stage in stages(line):
        ours = from_program(stage, "socks5sniff")
        if ours and stage[:2] != ["docker", "build"]:
            with contextlib.suppress(click.exceptions.Exit), contextlib.redirect_stdout(io.StringIO()):
                parsed(shlex.join(["socks5sniff", *ours]))


@every_command
def test_tcpdump_understands_its_filter(document: Path, line: str) -> None:
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump not installed")
    for stage in stages(line):
        arguments = from_program(stage, "tcpdump")
        if arguments is not None:
            words: list[str] = []
            waiting = iter(arguments)
            for word in waiting:
                if not word.startswith("-"):
                    words.append(word)
                elif word[-1] in "iswrcy":
                    next(waiting)
            assert words, line
            subprocess.run(["tcpdump", "-d", "-y", "EN10MB", " ".join(words)], check=True, capture_output=True)


@every_command
def test_what_can_be_run_here_is_run(document: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if re.match(r"socks5sniff (?:read captures/|help|record --list|proxy --list-faults|demo$)", line):
        with elsewhere():
            assert main(shlex.split(line)[1:]) == 0


PYTHON = [(document, body) for document in DOCUMENTS for body in blocks(document, "python")]


@pytest.mark.parametrize(("document", "body"), PYTHON, ids=[document.name for document, _ in PYTHON])
def test_the_python_shown_runs(document: Path, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = compile(body, str(document), "exec", ast.PyCF_ONLY_AST)
    assert tree.body
    if "tcpdump" not in body:  # that needs a network and a right
        with elsewhere():
            exec(compile(body, str(document), "exec"), {})


FIGURES = [
    ("read", "The {:,} addresses given last are remembered", "analysis.names:MAX_LEARNED", 1),
    ("read", "last packets are waited for {} s of capture time", "streams.spaces:LINGER", 1_000_000_000),
    ("read", "{} MB of memory; above that", "analysis.bounds:MAX_HEADS", 1 << 20),
    ("read", "({} s from a pipe", "analysis.reading:PIPE_PATIENCE", 1_000_000_000),
    ("live", "or beyond {} MB, are counted", "cli.live_output:BEHIND_OCTETS", 1 << 20),
    ("live", "takes at most {:.0%} of a processor", "live.processes.watching:SHARE", 1),
    ("live", "({:.0%} with psutil)", "live.processes.scanning:SHARE", 1),
    ("linux", "up to {:,} octets", "live.engine:SNAPLEN", 1),
]


@pytest.mark.parametrize(("topic", "words", "constant", "unit"), FIGURES, ids=[words for _, words, _, _ in FIGURES])
def test_figures_are_those_of_the_program(topic: str, words: str, constant: str, unit: int) -> None:
    module, _, name = constant.partition(":")
    value = getattr(import_module(f"socks5sniff.{module}"), name)
    figure = value if unit == 1 else value // unit
    told = re.sub(r"(?<!\d) (?=%)", "", manual.text(topic)).replace(" %", "%")
    assert " ".join(words.format(figure).split()) in " ".join(told.split())


def test_the_replies_that_the_recipes_explain_are_the_programs() -> None:
    shown = re.findall(r"`(?:rejected: )?([a-zA-Z ]+)`(?=,| \|)", manual.text("recipes").split("\n## ")[1])
    names = {name for name in shown if name not in ("no-acceptable-method", "auth-failed")}
    assert names
    assert names <= set(REPLIES.values())


def test_the_octets_of_the_chinese_readme_are_those_of_a_capture() -> None:
    octets = (ROOT / "captures" / "connect-domain.pcapng").read_bytes()
    octets += (ROOT / "captures" / "auth-password.pcapng").read_bytes()
    shown = [bytes.fromhex(found) for found in re.findall(r"`((?:[0-9a-f]{2} )+[0-9a-f]{2})`", manual.text("zh-CN"))]
    assert len(shown) >= 4
    assert all(found in octets for found in shown)


def test_the_refusal_shown_is_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from socks5sniff.live.rights import refusal

    monkeypatch.setattr("socks5sniff.live.rights.program", lambda: "/home/you/.venv/bin/socks5sniff")
    message = refusal("lo", "no permission to capture (CAP_NET_RAW)", "linux")
    assert f"$ socks5sniff live\nsocks5sniff: {message}\n" in manual.text("linux")
