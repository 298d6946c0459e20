"""Man pages out of what `--help` shows: `python -m socks5sniff.cli.man_pages` writes them anew."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import click

from socks5sniff import __version__, manual

from .commands import COMMANDS, group
from .pages import Command

FOLDER = manual.FOLDER / "man"
PROGRAM = "socks5sniff"


def pages() -> dict[str, str]:
    """Each page's text by its file's name, as `socks5sniff-read.1`."""
    with click.Context(group, info_name=PROGRAM, **group.context_settings) as outermost:
        found = {f"{PROGRAM}.1": "\n".join(_program(outermost)) + "\n"}
        for name in COMMANDS:
            command = group.get_command(outermost, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=outermost) as context:
                found[f"{PROGRAM}-{name}.1"] = "\n".join(_command(command, context)) + "\n"
    return found


def _program(context: click.Context) -> Iterator[str]:
    yield from _head(PROGRAM, group, context)
    yield ".SH COMMANDS"
    for name, entry in COMMANDS.items():
        yield from (".TP", f".BR {_text(PROGRAM)}\\-{_text(name)} (1)", _text(entry.help))
    yield ".SH EXIT STATUS"
    for code, name, when in re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) \|$", manual.text("read"), re.MULTILINE):
        yield from (".TP", f".B {code} {name}", _text(when))
    yield from (".SH SEE ALSO", f"The manual: {_text(f'{PROGRAM} help')} lists its topics.")


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from _head(f"{PROGRAM}-{context.info_name}", command, context)
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from (".TP", f".B {_text(name)}", _text(found.get_short_help_str(500)))
    if isinstance(command, Command):
        for title, records in command.groups(context):
            yield f'.SH "{_text(title.upper())}"'
            for written, what in records:
                yield from (".TP", f".B {_text(written)}", _text(what))
        yield ".SH EXAMPLES"
        for example in command.examples:
            yield from (".TP", f".B {_text(example.command)}", _text(example.purpose))
    yield from (".SH SEE ALSO", f".BR {_text(PROGRAM)} (1)")


def _head(name: str, command: click.Command, context: click.Context) -> Iterator[str]:
    first, *rest = re.split(r"\n\s*\n", (command.help or "").strip())
    yield f'.TH "{_text(name.upper())}" 1 "" "{PROGRAM} {__version__}" "User Commands"'
    yield from (".SH NAME", f"{_text(name)} \\- {_text(_joined(first).rstrip('.'))}")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_text(context.command_path)}", _text(usage))
    yield ".SH DESCRIPTION"
    for paragraph in rest or [first]:
        yield from (".PP", _text(_joined(paragraph)))


def _joined(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """`text` as roff takes it for text, whatever it begins with."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = re.sub(r"[^\x20-\x7e]", lambda found: f"\\[u{ord(found[0]):04X}]", escaped)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def write(folder: Path) -> None:
    """Write the pages, and take away those that are not made any more."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.1"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m socks5sniff.cli.man_pages", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to write them")
    write(parser.parse_args().folder)
