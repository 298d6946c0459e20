"""`follow`, as a whole command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode, InputError
from socks5sniff.payload.chunks import Chunk, Datagram
from socks5sniff.payload.rendering import Hex, Text

ROOT = Path(__file__).resolve().parents[2]
DOMAIN, LOST, CHAIN, UDP = (
    str(ROOT / "captures" / f"{name}.pcapng")
    for name in ("connect-domain", "tcp-lost-tunnel", "chain-of-three", "udp-associate")
)
ASKED = b"GET / HTTP/1.1\r\nHost: www.example.test\r\nUser-Agent: scenario\r\nConnection: close\r\n\r\n"


Run = Callable[..., tuple[bytes, str]]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """The command: what it writes, octet by octet, and what it says."""

    def ran(*arguments: str, status: int = 0) -> tuple[bytes, str]:
        assert main(["follow", *arguments]) == status
        out, err = capsysbinary.readouterr()
        return out, err.decode()

    return ran


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = ExitCode.INPUT) -> str:
    """The one line that a refusal says."""
    assert main(["follow", *arguments]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_text_tells_who_says_what(run: Run) -> None:
    out, err = run(DOMAIN, "1")
    lines = out.decode().splitlines()
    assert lines[:5] == [
        "> GET / HTTP/1.1",
        "> Host: www.example.test",
        "> User-Agent: scenario",
        "> Connection: close",
        ">",
    ]
    assert lines[5] == "< HTTP/1.1 200 OK"
    assert err == ""


def test_a_gap_is_a_line_of_its_own(run: Run) -> None:
    out, err = run(LOST, "1")
    assert (
        b"< Content-Type: text/plai\n! 40 octets of the destination are not in the capture, from offset 40 on\n" in out
    )
    assert err == ""


def test_raw_is_what_there_is_and_says_what_is_missing(run: Run) -> None:
    out, err = run(LOST, "1", "--from", "destination", "--format", "raw")
    assert out.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plai\r\n\r\nA page")
    assert len(out) == 83
    assert err == "socks5sniff: 40 octets of the destination are not in the capture, from offset 40 on\n"
    out, err = run(LOST, "1", "--from", "client", "--format", "raw")
    assert (out, err) == (ASKED, "")


def test_hex_can_be_turned_back(run: Run) -> None:
    for sender, mark in (("client", ">"), ("destination", "<")):
        out, _ = run(DOMAIN, "1", "--format", "hex", "--from", sender)
        rows = [
            re.fullmatch(rf"{mark} ([0-9a-f]{{8}})  ([0-9a-f ]{{47}})  (.{{1,16}})", line)
            for line in out.decode().splitlines()
        ]
        octets = b"".join(bytes.fromhex(row[2]) for row in rows if row)
        assert all(rows)
        assert octets == run(DOMAIN, "1", "--format", "raw", "--from", sender)[0]


def test_the_inner_tunnel_of_a_chain(run: Run) -> None:
    inner = next(
        c for c in socks5sniff.read(CHAIN) if c.parent is not None and c.destination and c.destination.port == 80
    )
    assert run(CHAIN, str(inner.id), "--from", "client", "--format", "raw")[0].startswith(b"GET / HTTP/1.1\r\n")
    assert run(CHAIN, "1", "--from", "client", "--format", "raw")[0].startswith(b"\x05\x01\x00")


def test_datagrams_of_an_association(run: Run) -> None:
    lines = run(UDP, "1")[0].decode().splitlines()
    assert [line for line in lines if line.startswith("=")] == [
        "= to 198.51.100.53:53, 34 octets",
        "= from 198.51.100.53:53, 50 octets",
    ]
    assert lines[1].startswith(r"> \x1d\x0c")


def test_standard_input_is_kept_meanwhile(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(DOMAIN, "rb") as file:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(file))
        assert run("-", "1", "--format", "raw", "--from", "client")[0] == ASKED


def test_a_file_appears_whole_and_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    arguments = (DOMAIN, "1", "--format", "raw", "--from", "client", "-o", str(target))
    assert main(["follow", *arguments]) == 0
    assert target.read_bytes() == ASKED
    target.write_bytes(b"old")
    assert "--force" in refused(capsys, *arguments, status=ExitCode.OUTPUT)
    assert target.read_bytes() == b"old"
    assert main(["follow", *arguments, "--force"]) == 0
    assert target.read_bytes() == ASKED
    assert [*tmp_path.iterdir()] == [target]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "socks5sniff", "follow", DOMAIN, "1"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == ExitCode.OUTPUT
    assert done.stderr.decode() == "socks5sniff: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("name", "number", "why"),
    [
        ("connect-domain", "2", "conversation 2 is not there; there is 1"),
        ("reply-connection-refused", "1", "conversation 1 opened no tunnel: the proxy refused it (connection refused)"),
        ("auth-refused", "1", "opened no tunnel: authentication failed"),
        ("gssapi-confidentiality", "1", "its request goes in GSSAPI tokens that cannot be read"),
        ("resolve", "1", "opened no tunnel: its command was resolve"),
        ("half-request", "1", "the capture does not hold its whole handshake"),
        ("port-1080-http", "1", "its handshake cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_one_clear_line(
    name: str, number: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in refused(capsys, str(ROOT / "captures" / f"{name}.pcapng"), number)


def test_packets_that_were_cut_are_told(tmp_path: Path, run: Run) -> None:
    from tests.payload.looking import written
    from tests.traffic import PLAIN, SERVER, connection

    path = written(tmp_path, connection([*PLAIN[:4], (SERVER, b"a" * 300)]), captured=154)
    out, err = run(path, "1")
    assert out.decode().splitlines()[-1] == "! 200 octets of the destination are not in the capture, from offset 100 on"
    assert err == f"socks5sniff: {path}: packets of conversation 1 were cut when they were captured (snapshot length)\n"


def test_a_damaged_capture_gives_what_there_is(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "short.pcapng"
    path.write_bytes(Path(DOMAIN).read_bytes()[:-400])
    out, err = run(str(path), "1", "--format", "raw", "--from", "client", status=ExitCode.DAMAGED)
    assert out == ASKED
    assert "truncated" in err


def test_on_a_terminal_it_goes_through_a_pager_in_colour(tmp_path: Path) -> None:
    """The pager that PAGER names gets both directions, each in its colour."""
    pty = pytest.importorskip("pty", reason="Windows only has no pseudo terminals")
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/paged\n")
    pager.chmod(0o755)
    master, slave = pty.openpty()
    environment = {**os.environ, "PAGER": str(pager), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "socks5sniff", "follow", DOMAIN, "1"]
    done = subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, env=environment, check=False)
    os.close(slave)
    os.close(master)
    assert done.returncode == 0
    paged = (tmp_path / "paged").read_text()
    assert "\x1b[31m> GET / HTTP/1.1\x1b[0m\n" in paged
    assert "\x1b[34m< HTTP/1.1 200 OK\x1b[0m\n" in paged


def test_octets_cannot_command_the_terminal() -> None:
    rendering = Text(colour=False)
    hostile = "\x1b[2J\u202eabc\tdef\r\n\x00é".encode() + b"\xff"
    found = b"".join([*rendering.chunk(Chunk(0, 0, 0, len(hostile), hostile, 1, 0)), *rendering.finish()])
    assert found.decode() == "> \\x1b[2J\\u202eabc\tdef\n> \\x00é\\xff\n"
    datagram = Datagram(0, 1, "\x1b[2J", 53, 1, 3, b"abc", 1, 0, None)
    assert b"\x1b" not in b"".join(Hex(False).datagram(datagram))


def test_a_character_may_come_in_two_segments() -> None:
    rendering = Text(colour=False)
    octets = "né".encode()
    chunks = [Chunk(0, 0, at, 1, octets[at : at + 1], 1, 0) for at in range(3)]
    assert (
        b"".join([*(part for chunk in chunks for part in rendering.chunk(chunk)), *rendering.finish()])
        == b"> n\xc3\xa9\n"
    )


class TestPython:
    def test_octets_with_frame_and_time(self) -> None:
        found = [*socks5sniff.streams(LOST, 1)]
        assert found[0] == ("client", 0, 83, ASKED, 15, found[0].time_ns)
        assert [(each.direction, each.offset, each.length) for each in found if each.octets is None] == [
            ("destination", 40, 40)
        ]
        record = next(socks5sniff.read(LOST))
        assert record.start_ns < found[0].time_ns < record.end_ns

    def test_octets_and_open_files_are_captures_too(self) -> None:
        expected = [*socks5sniff.streams(Path(DOMAIN), 1)]
        assert [*socks5sniff.streams(Path(DOMAIN).read_bytes(), 1)] == expected
        with open(DOMAIN, "rb") as file:
            assert [*socks5sniff.streams(file, 1)] == expected
        behind = BytesIO(b"junk" + Path(DOMAIN).read_bytes())
        behind.seek(4)
        assert [*socks5sniff.streams(behind, 1)] == expected

    def test_datagrams(self) -> None:
        assert [(each.direction, len(each.octets or b"")) for each in socks5sniff.streams(UDP, 1)] == [
            ("client", 34),
            ("destination", 50),
        ]

    def test_errors(self) -> None:
        with pytest.raises(InputError, match="conversation 9 is not there; there is 1"):
            next(socks5sniff.streams(DOMAIN, 9))

    def test_the_room_of_that_name_is_imported_as_before(self) -> None:
        from socks5sniff.streams import flows
        from socks5sniff.streams.octets import Octets

        assert flows.FlowTable
        assert Octets
        assert callable(socks5sniff.streams)
