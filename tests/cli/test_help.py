"""`--help`, `socks5sniff help`, the man pages and the shells' completion: all from one source."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from socks5sniff import manual
from socks5sniff.cli import main
from socks5sniff.cli.commands import COMMANDS, COMPLETE, group
from socks5sniff.cli.man_pages import FOLDER, pages
from socks5sniff.cli.pages import OTHERS, Command
from socks5sniff.errors import ExitCode
from socks5sniff.lab.scenarios import SCENARIOS

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def command(name: str) -> click.Command:
    found = group.get_command(click.Context(group, **group.context_settings), name)
    assert found is not None
    return found


def parsed(line: str) -> click.Context:
    """A command line's options as its command takes them, without running it."""
    words = shlex.split(line)
    words = words[words.index("socks5sniff") + 1 :]
    words = ["read", *words] if words[0] == "-r" else words
    context = click.Context(group, info_name="socks5sniff", **group.context_settings)
    name, found, rest = group.resolve_command(context, words)
    assert found is not None
    return found.make_context(name, rest, parent=context)


NAMES = [name for name in COMMANDS if not isinstance(command(name), click.Group)]


class TestHelp:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_command_has_two_examples_that_it_understands(self, name: str) -> None:
        found = command(name)
        assert isinstance(found, Command)
        assert len(found.examples) == 2
        for example in found.examples:
            stages = [stage for stage in re.split(r"[|&]+", example.command) if "socks5sniff " in stage]
            assert parsed(stages[0]).info_name == name

    @pytest.mark.parametrize("name", NAMES)
    def test_options_are_in_groups(self, name: str) -> None:
        found = command(name)
        assert isinstance(found, Command)
        groups = dict(found.groups(click.Context(found, **group.context_settings)))
        assert list(groups)[-1] == OTHERS
        if len(found.params) > 5:
            assert len(groups) > 2
            assert [written for written, _ in groups[OTHERS]][-1] == "-h, --help"

    @pytest.mark.parametrize("name", [*COMMANDS])
    def test_it_fits_80_columns(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([name, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(len(line) for line in lines if not line.startswith("  socks5sniff")) <= 80


class TestManual:
    def test_the_topics_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["help"]) == 0
        listed = re.findall(r"^  (\S+) {2,}\S", capsys.readouterr().out, re.MULTILINE)
        assert listed == list(manual.titles())
        wanted = "record live proxy wireshark linux macos windows speed inside recipes read python zh-CN"
        assert set(wanted.split()) <= set(listed)

    @pytest.mark.parametrize("topic", manual.titles())
    def test_a_topic_in_a_pipe_is_as_it_is_written(self, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["help", topic]) == 0
        assert capsys.readouterr().out == manual.text(topic)

    def test_a_command_without_a_topic_shows_its_options(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["help", "interfaces"]) == 0
        assert capsys.readouterr().out.startswith("Usage: socks5sniff interfaces")

    def test_a_topic_on_a_terminal_is_rendered(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("LINES", "500")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        assert main(["help", "windows"]) == 0
        out = capsys.readouterr().out
        plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
        assert "# Capture" not in plain
        assert "Capture on Windows" in plain
        assert "`" not in plain
        assert max(map(len, plain.splitlines())) <= 80


class TestManPages:
    def test_they_say_what_help_says(self) -> None:
        """`python -m socks5sniff.cli.man_pages` writes them anew."""
        written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
        assert written == pages()
        assert set(written) == {"socks5sniff.1", *(f"socks5sniff-{name}.1" for name in COMMANDS)}

    def test_every_exit_code_is_on_the_page(self) -> None:
        for code in ExitCode:
            assert f".B {code.value} {code.name}" in pages()["socks5sniff.1"]

    def test_the_formatter_has_nothing_to_say(self) -> None:
        if shutil.which("groff") is None:
            pytest.skip("groff not installed")
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", *FOLDER.iterdir()], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        plain = re.sub(r".\x08", "", done.stdout)
        assert re.search(r"^ +[-\u2010\u2212]{2}outcome NAME,…$", plain, re.MULTILINE)


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv(COMPLETE, "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        main([])
        return [answer.partition(",")[2] for answer in capsys.readouterr().out.splitlines()]

    return complete


class TestCompletion:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("socks5sniff r", ["read", "record"]),
            ("socks5sniff read --out", ["--output", "--outcome"]),
            ("socks5sniff sanitize --payload b", ["blank"]),
            ("socks5sniff read --outcome r", ["rejected"]),
            ("socks5sniff read --outcome rejected,in", ["rejected,incomplete"]),
            ("socks5sniff read --anomaly local", ["local-dns"]),
            ("socks5sniff read --format js", ["json", "jsonl"]),
            ("socks5sniff read --columns id,destination.h", ["id,destination.host"]),
            ("socks5sniff read --time e", ["epoch"]),
            ("socks5sniff live -i an", ["any"]),
            ("socks5sniff live --view t", ["table"]),
            ("socks5sniff record socks4a", sorted(name for name in SCENARIOS if name.startswith("socks4a"))),
            ("socks5sniff proxy --fault rep", ["reply="]),
            ("socks5sniff help rec", ["recipes", "record"]),
            ("socks5sniff dissector i", ["install"]),
        ],
    )
    def test_words_and_values(self, complete: object, line: str, expected: list[str]) -> None:
        assert callable(complete)
        assert complete(line) == expected

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_every_shell_gets_its_script(self, shell: str) -> None:
        code = "import sys; from socks5sniff.cli import main; sys.exit(main(sys.argv[1:]))"
        environment = {**ENVIRONMENT, COMPLETE: f"{shell}_source"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert f"{COMPLETE}={shell}_complete" in done.stdout
        if shutil.which(shell):
            subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)

    def test_bash_completes(self, tmp_path: Path) -> None:
        """The whole way: the script that the program prints, in the shell, asks the program."""
        if shutil.which("bash") is None:
            pytest.skip("bash not installed")
        program = tmp_path / "socks5sniff"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m socks5sniff "$@"\n')
        program.chmod(0o755)
        script = f"""
            eval "$({COMPLETE}=bash_source socks5sniff)"
            COMP_WORDS=(socks5sniff read --outcome rejected,mal) COMP_CWORD=3
            _socks5sniff_completion socks5sniff
            echo "${{COMPREPLY[@]}}"
        """
        environment = {**ENVIRONMENT, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "rejected,malformed\n"

    def test_fish_completes(self, tmp_path: Path) -> None:
        if shutil.which("fish") is None:
            pytest.skip("fish not installed")
        program = tmp_path / "socks5sniff"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m socks5sniff "$@"\n')
        program.chmod(0o755)
        script = f"{COMPLETE}=fish_source socks5sniff | source; complete -C 'socks5sniff read --outcome mal'"
        environment = {**ENVIRONMENT, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(["fish", "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["malformed"]
