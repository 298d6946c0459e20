"""What the manual shows that tshark finds, it finds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from socks5sniff import manual
from socks5sniff.cli import main
from tests.test_commands_shown import blocks
from tests.test_readme import elsewhere
from tests.wireshark.run import tshark


def test_the_example_of_the_manual() -> None:
    text = manual.text("decap")
    command = re.findall(r"^\$ socks5sniff (.+)$", text, re.MULTILINE)[0]
    order = re.findall(r"^    tshark -r plain\.pcapng (.+)$", text, re.MULTILINE)[0]
    (shown,) = blocks(manual.FOLDER / "decap.md", "")
    with elsewhere():
        assert main(shlex.split(command)) == 0
        names = ("-N", "n", "--disable-protocol", "socks")
        assert tshark(Path("plain.pcapng").absolute(), *names, *shlex.split(order), lua=False) == shown
