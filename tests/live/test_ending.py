"""How a capture ends: after so many records, at a signal though nobody reads, and at once where it cannot begin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .lab import PATIENCE, LiveLab

LIVE = (sys.executable, "-m", "socks5sniff", "live")


def test_count_is_the_number_of_records(lab: LiveLab) -> None:
    live = lab.live("--count", "3", "--format", "jsonl")
    url = "http://127.0.0.1:18000/"
    lab.run(
        "sh", "-c", f"for i in 1 2 3 4 5 6 7 8; do curl -s -o /dev/null -x socks5://127.0.0.1:11080 {url} & done; wait"
    )
    assert live.status() == 0
    assert len(live.records) == 3
    assert "3 conversations in" in live.said


def test_count_counts_what_a_filter_lets_through(lab: LiveLab) -> None:
    live = lab.live("--count", "2", "--outcome", "rejected", "--format", "jsonl")
    nobody_there = ("-x", "socks5h://127.0.0.1:11080", "http://127.0.0.1:9/")
    lab.curl()
    lab.run("curl", "-sS", *nobody_there, status=97)
    lab.curl()
    lab.run("curl", "-sS", *nobody_there, status=97)
    assert live.status() == 0
    assert [record["outcome"] for record in live.records] == ["rejected", "rejected"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_who_does_not_read_does_not_keep_it_from_ending(lab: LiveLab, number: signal.Signals) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)  # full
    file = lab.folder / f"unread-{number.name}.pcapng"
    error = lab.folder / f"unread-{number.name}.err"
    with error.open("wb") as said:
        process = subprocess.Popen(
            lab.command([*LIVE, "-w", str(file)]), stdout=writing, stderr=said, env=lab.environment, cwd=lab.folder
        )
    os.close(writing)
    deadline = time.monotonic() + PATIENCE
    while "capturing on" not in error.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lab.curl()
    time.sleep(1)
    lab.curl()  # taken though the first lines are not
    time.sleep(1)
    began = time.monotonic()
    process.send_signal(number)
    try:
        status = process.wait(PATIENCE)
    finally:
        process.kill()
        os.close(reading)
    assert time.monotonic() - began < 10
    assert "2 conversations in" in error.read_text()
    assert "standard output: " in error.read_text()
    assert "nobody reads them" in error.read_text()
    assert status == 5
    assert len(lab.read(file)) == 2


def test_a_reader_who_goes_away_ends_it(lab: LiveLab) -> None:
    error = lab.folder / "gone.err"
    with error.open("wb") as said:
        process = subprocess.Popen(lab.command([*LIVE]), stdout=subprocess.PIPE, stderr=said, env=lab.environment)
    assert process.stdout is not None
    process.stdout.close()
    deadline = time.monotonic() + PATIENCE
    while "capturing on" not in error.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lab.curl()
    assert process.wait(PATIENCE) == 141


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--duration", "nan"), 2, "'nan' is not a duration"),
        (("--until-idle", "inf"), 2, "'inf' is not a duration"),
        (("--rotate-seconds", "nan", "-w", "x"), 2, "'nan' is not a duration"),
        (("--buffer", "100G"), 2, "--buffer 100,000,000,000 for each interface: this machine has"),
        (("--filter", "host proxy.example"), 2, "'proxy.example' at character 6 is a name that DNS"),
        (("--engine", "dumpcap", "--filter", "host proxy.example"), 2, "is a name that DNS"),
        (("-w", "-", "--format", "jsonl"), 2, "--format goes with -o FILE then"),
        (("-w", "same", "-o", "./same"), 2, "-w and -o are the same file"),
        (("--keep-size", "1M", "-w", "x"), 2, "go with --rotate-size or --rotate-seconds"),
    ],
)
def test_what_cannot_be_is_one_line_at_once(lab: LiveLab, options: tuple[str, ...], status: int, words: str) -> None:
    began = time.monotonic()
    text = lab.sniff("live", *options, status=status)
    assert time.monotonic() - began < 10
    assert words in text
    assert text.count("\n") == 1


def test_a_capture_goes_to_standard_output(lab: LiveLab) -> None:
    records = lab.folder / "records.jsonl"
    live = lab.live("-w", "-", "-o", str(records), "--format", "jsonl")
    lab.curl()
    time.sleep(1)
    assert live.stop() == 0
    (record,) = [json.loads(line) for line in records.read_text().splitlines()]
    capture = lab.folder / "stdout.pcapng"
    capture.write_bytes(live.out.read_bytes())
    (read,) = lab.read(capture)
    assert read["bytes"] == record["bytes"]
    assert "packets to standard output" in live.said


def test_without_a_file_for_them_the_lines_go_to_standard_error_then(lab: LiveLab) -> None:
    live = lab.live("-w", "-", "--count", "1")
    lab.curl()
    assert live.status() == 0
    assert live.out.read_bytes()[:4] == b"\n\r\r\n"
    assert " + 127.0.0.1:" in live.said


def test_two_captures_do_not_share_a_file(lab: LiveLab) -> None:
    path = lab.folder / "shared.pcapng"
    first = lab.live("-w", str(path))
    text = lab.sniff("live", "-w", str(path), status=5)
    assert text == f"socks5sniff: {path}: another program is writing it\n"
    assert first.stop() == 0
