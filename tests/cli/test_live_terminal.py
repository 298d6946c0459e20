"""`live --view table` on a terminal, as its user sees it: a pseudo-terminal and an emulator behind it."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.lab import HTTP_PORT, PATIENCE, PROXY_PORT, LiveLab, need

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX, not Windows only")


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], columns: int, lines: int) -> None:
        import pty

        import pyte

        self.master, slave = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self.everything = b""
        self._stream = pyte.ByteStream(self.screen)
        self.resize(columns, lines)
        environment = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        import fcntl
        import termios

        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, condition: Callable[[str], Any]) -> str:
        """What is on the screen once it is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text
            self._take()
        return self.text

    def ended(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self._take() and time.monotonic() < deadline:
            pass
        return self.process.wait(PATIENCE)

    def _take(self) -> bool:
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            octets = os.read(self.master, 65536)
        except OSError:  # nobody has the other end open
            return False
        self.everything += octets
        self._stream.feed(octets)
        return bool(octets)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LiveLab]:
    need("curl", "ss", "unshare", "nsenter")
    lab = LiveLab(tmp_path)
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    lab.start(sys.executable, "-m", "socks5sniff", "proxy", "--listen", f"127.0.0.1:{PROXY_PORT}", "--quiet")
    lab.start(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(HTTP_PORT))
    lab.wait_for_port(PROXY_PORT)
    lab.wait_for_port(HTTP_PORT)
    yield lab
    lab.close()


@pytest.fixture
def terminal(lab: LiveLab) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "socks5sniff", "live", "--view", "table", "--port", str(PROXY_PORT)]
    terminal = Terminal(lab.command(command), {**lab.environment, "TERM": "xterm"}, 100, 24)
    terminal.wait(lambda text: "0 open, 0 ended" in text)
    yield terminal
    terminal.close()


def test_the_table_is_drawn_at_once_and_as_things_happen(lab: LiveLab, terminal: Terminal) -> None:
    lab.curl()
    text = terminal.wait(lambda text: "1 ended" in text)
    assert "proxy" in text.splitlines()[1]
    assert f"127.0.0.1:{HTTP_PORT}" in text
    assert "succeeded" in text
    assert text.splitlines()[-1].startswith("by start | ↑↓ enter:details s:sort")


def test_an_open_conversation_has_octets_and_a_rate(lab: LiveLab, terminal: Terminal) -> None:
    url, proxy = f"http://127.0.0.1:{HTTP_PORT}/large", f"socks5://127.0.0.1:{PROXY_PORT}"
    lab.start("curl", "-sS", "--limit-rate", "50k", "-o", os.devnull, "--proxy", proxy, url)
    terminal.wait(lambda text: ("1 open" in text and "M/s" in text) or "k/s" in text)
    (row,) = [line for line in terminal.text.splitlines() if f"127.0.0.1:{HTTP_PORT}" in line]
    assert " open " in row


def test_keys_choose_tell_filter_and_end(lab: LiveLab, terminal: Terminal) -> None:
    lab.curl()
    lab.run("curl", "-sS", "--proxy", f"socks5://127.0.0.1:{PROXY_PORT}", "http://127.0.0.1:9/", status=None)
    terminal.wait(lambda text: "2 ended" in text)
    terminal.press("\x1b[B\r")
    assert "Reply: connection refused" in terminal.wait(lambda text: "Greeting: no-authentication" in text)
    terminal.press("/succ\r")
    terminal.wait(lambda text: "filter 'succ': 1" in text and "rejected:" not in text)
    terminal.press("q")
    assert terminal.ended() == 0
    assert terminal.everything.count(b"\x1b[?1049h") == terminal.everything.count(b"\x1b[?1049l") == 1
    assert terminal.everything.count(b"\x1b[?25l") == terminal.everything.count(b"\x1b[?25h")
    assert b"2 conversations in" in terminal.everything.partition(b"\x1b[?1049l")[2]


def test_it_follows_the_size_of_the_terminal(lab: LiveLab, terminal: Terminal) -> None:
    lab.curl()
    terminal.wait(lambda text: "1 ended" in text)
    terminal.resize(80, 12)
    wanted = {"proxy", "destination", "result", "sent", "received"}
    terminal.wait(lambda text: wanted <= set("".join(text.splitlines()[1:2]).split()))
    terminal.wait(lambda text: "".join(text.splitlines()[11:12]).startswith("by start"))  # it may be half drawn


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_the_terminal_as_it_was(terminal: Terminal, number: signal.Signals) -> None:
    import termios

    cooked = termios.ECHO | termios.ICANON
    assert not termios.tcgetattr(terminal.master)[3] & cooked
    os.kill(terminal.process.pid, number)
    assert terminal.ended() == 0
    assert termios.tcgetattr(terminal.master)[3] & cooked == cooked
    assert terminal.everything.rstrip().endswith(b"0 dropped")
    assert b"\x1b[?1049l" in terminal.everything
