"""A password that was seen is in nothing that is written, unless it is asked for."""

from __future__ import annotations

import gzip
import shutil
import time
from pathlib import Path

import pytest

from socks5sniff.capture import open_captures
from socks5sniff.live.rotation import Rotation
from socks5sniff.live.saving import Saving
from tests.capture import samples
from tests.fuzz.files import COMMANDS, run
from tests.report.reading import data_of
from tests.traffic import CLIENT, PLAIN, SERVER, connection

from .test_live_run import play

PASSWORD = "corr3ct-h0rse"
LOGIN = [(CLIENT, b"\5\2\0\2"), (SERVER, b"\5\2"), (CLIENT, b"\1\5alice\x0d" + PASSWORD.encode())]
TALKS = {
    "accepted": [*LOGIN, (SERVER, b"\1\0"), *PLAIN[2:]],
    "refused": [*LOGIN, (SERVER, b"\1\1")],
    "unanswered": LOGIN,
    "answered with another version": [*LOGIN, (SERVER, b"\7\0"), *PLAIN[2:]],
    "unasked": [(CLIENT, b"\5\1\0"), (SERVER, b"\5\0"), LOGIN[2], (SERVER, b"\1\0"), *PLAIN[2:]],
    "sent at once": [(CLIENT, LOGIN[0][1] + LOGIN[2][1] + PLAIN[2][1]), LOGIN[1], (SERVER, b"\1\0"), *PLAIN[3:]],
    "twice": [*LOGIN, (SERVER, b"\1\1"), LOGIN[2]],
    "cut short": [*LOGIN[:2], (CLIENT, LOGIN[2][1][:-1])],
}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "x.pcap"
    packets = [
        packet
        for number, said in enumerate(TALKS.values())
        for packet in connection(said, client=(f"10.0.0.{number + 1}", 40_000))
    ]
    path.write_bytes(samples.pcap([samples.Frame(packet.time, packet.frame()) for packet in packets]))
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_shows_it(capture: Path, command: tuple[str, ...]) -> None:
    status, out, error, _ = run([*command, str(capture)])
    assert status == 0
    assert out
    shown = out + error
    if "html" in command:
        shown += data_of(out).decode("latin-1")
    assert PASSWORD[:-1] not in shown


def test_nor_does_a_conversation_in_words(capture: Path) -> None:
    for number in range(1, len(TALKS) + 1):
        status, out, error, _ = run(["explain", str(capture), str(number)])
        assert status == 0
        assert PASSWORD[:-1] not in out + error


def test_it_is_there_for_who_asks(capture: Path) -> None:
    _, out, _, _ = run(["read", "--show-passwords", "--format", "jsonl", str(capture)])
    assert out.count(PASSWORD) >= 4


def test_errors_do_not_show_it(capture: Path) -> None:
    """A file that ends in the login, and one whose frames are octets of it."""
    octets = capture.read_bytes()
    path = capture.with_name("cut.pcap")
    begin = octets.index(PASSWORD.encode())
    for size in range(len(PASSWORD)):
        path.write_bytes(octets[: begin + size])
        status, out, error, _ = run(["read", "--frames", str(path)])
        assert status == 4
        assert PASSWORD[:6] not in out + error
    path.write_bytes(PASSWORD.encode())
    assert PASSWORD not in run(["read", str(path)])[2]
    path.write_bytes(gzip.compress(PASSWORD.encode()))
    assert PASSWORD not in run(["read", str(path)])[2]


def test_comments_of_a_saved_capture_do_not_show_it(capture: Path, tmp_path: Path) -> None:
    """It is in the packets that hold it, and nowhere else."""
    file = tmp_path / "saved.pcapng"
    frames = list(open_captures([str(capture)]))
    saving = Saving(str(file), frames[0].interfaces, 262_144, Rotation(), tuple, time.time_ns(), lambda error: None)
    view, _ = play(frames, saving=saving)
    assert len(view.records) == len(TALKS)
    assert file.read_bytes().count(PASSWORD[:-1].encode()) == capture.read_bytes().count(PASSWORD[:-1].encode())
    assert b"SOCKS5 10.0.0.1:40000" in file.read_bytes()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_verify_does_not_show_it(capture: Path) -> None:
    """Also where the two readings differ."""
    status, out, error, _ = run(["verify", str(capture)])
    assert status in (0, 8)
    assert out
    assert PASSWORD[:-1] not in out + error
