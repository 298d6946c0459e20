"""`socks5sniff read` in this process, with conversations from a stand-in for the analysis."""

from __future__ import annotations

import csv
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from socks5sniff.cli import main
from socks5sniff.cli.output import Output, sink_options
from socks5sniff.cli.progress import LEAST, ProgressBar
from socks5sniff.errors import DamagedInputError, ExitCode, InputError, OutputError
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch, written
from socks5sniff.sinks import Options
from tests.sinks.samples import sample


class Reading:
    """Conversations from a list, then an error if there is one."""

    packets = 100
    skipped = 0
    evicted = 0
    faults: tuple[()] = ()
    attempt_counts: tuple[()] = ()
    attempts: tuple[()] = ()
    bypasses: tuple[()] = ()
    notes: tuple[()] = ()
    unknown_links: tuple[()] = ()
    workers: ClassVar[dict[str, int]] = {}

    def __init__(self, records: list[Conversation], fault: BaseException | None) -> None:
        self.conversations = 0
        self._records = records
        self._fault = fault

    def batches(self) -> Iterator[Batch]:
        for record in self._records:
            self.conversations += 1
            yield written([record])
        if self._fault is not None:
            raise self._fault


class Analysis:
    """What `socks5sniff.analysis.read` is replaced by; remembers how it was called."""

    def __init__(self) -> None:
        self.records = [sample(), sample(id=2, outcome="rejected", username="bob")]
        self.fault: BaseException | None = None
        self.names: tuple[str, ...] = ()
        self.options: dict[str, Any] = {}

    def read(self, names: tuple[str, ...], **options: Any) -> Reading:
        self.names, self.options = names, options
        return Reading(self.records, self.fault)


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch) -> Analysis:
    fake = Analysis()
    monkeypatch.setattr("socks5sniff.analysis.read", fake.read)
    return fake


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


class TestFormats:
    def test_the_table_is_the_default(self, analysis: Analysis, run: Run) -> None:
        status, out, err = run("read", "x.pcap")
        assert (status, err) == (0, "")
        assert "example.com:443" in out
        assert out.endswith("2 conversations in 100 packets\nsucceeded 1, rejected 1\n")

    def test_json(self, analysis: Analysis, run: Run) -> None:
        assert json.loads(run("read", "--format", "json", "x")[1]) == [c.as_dict() for c in analysis.records]

    def test_jsonl(self, analysis: Analysis, run: Run) -> None:
        lines = run("read", "--format", "jsonl", "x")[1].splitlines()
        assert [json.loads(line) for line in lines] == [c.as_dict() for c in analysis.records]

    def test_csv(self, analysis: Analysis, run: Run) -> None:
        rows = list(csv.DictReader(run("read", "--format", "csv", "x")[1].splitlines()))
        assert [row["username"] for row in rows] == ["alice", "bob"]

    def test_zeek(self, analysis: Analysis, run: Run) -> None:
        assert run("read", "--format", "zeek", "x")[1].startswith("#separator \\x09\n")

    def test_accesslog(self, analysis: Analysis, run: Run) -> None:
        lines = run("read", "--format", "accesslog", "x")[1].splitlines()
        assert [line.split()[3] for line in lines] == ["alice", "bob"]

    def test_frames(self, analysis: Analysis, run: Run) -> None:
        assert len(run("read", "--frames", "x")[1].splitlines()) == 13
        assert analysis.options["udp_frames"] is True

    def test_frames_within_json(self, analysis: Analysis, run: Run) -> None:
        assert len(json.loads(run("read", "--frames", "--format", "json", "x")[1])) == 2
        assert analysis.options["udp_frames"] is True

    @pytest.mark.parametrize("name", ["csv", "zeek", "accesslog"])
    def test_frames_have_no_place_in_other_formats(self, analysis: Analysis, run: Run, name: str) -> None:
        status, out, err = run("read", "--frames", "--format", name, "x")
        assert (status, out) == (ExitCode.USAGE, "")
        assert "--frames goes with" in err


class TestOptions:
    def test_names_ports_and_passwords_reach_the_analysis(self, analysis: Analysis, run: Run) -> None:
        run("read", "--port", "8080", "--port", "9999", "--show-passwords", "a", "b")
        assert analysis.names == ("a", "b")
        assert list(analysis.options["ports"]) == [8080, 9999]
        assert analysis.options["show_passwords"] is True
        assert analysis.options["udp_frames"] is False

    def test_filters(self, analysis: Analysis, run: Run) -> None:
        out = run("read", "--format", "jsonl", "--outcome", "rejected", "--user", "b*", "x")[1]
        assert json.loads(out)["id"] == 2

    def test_the_table_says_how_many_the_filter_left_out(self, analysis: Analysis, run: Run) -> None:
        assert "1 of 2 conversations" in run("read", "--user", "bob", "x")[1]


class TestUsage:
    def test_no_command_shows_the_help(self, run: Run) -> None:
        status, out, err = run()
        assert (status, out) == (ExitCode.USAGE, "")
        assert "read" in err

    def test_help_is_no_error(self, run: Run) -> None:
        assert run("--help")[0] == 0
        status, out, _ = run("read", "--help")
        assert status == 0
        assert "--destination" in out

    def test_version(self, run: Run) -> None:
        from socks5sniff import __version__

        assert run("--version") == (0, f"socks5sniff {__version__}\n", "")

    def test_standard_input_that_is_a_terminal(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        status, _, err = run("read", "-")
        assert status == ExitCode.USAGE
        assert "terminal" in err


class TestFaults:
    def test_a_damaged_input_comes_after_what_was_decoded(self, analysis: Analysis, run: Run) -> None:
        analysis.fault = DamagedInputError("x.pcap", 4711, 42, "the file is truncated")
        status, out, err = run("read", "--format", "json", "x.pcap")
        assert status == ExitCode.DAMAGED
        assert len(json.loads(out)) == 2
        assert err == "socks5sniff: x.pcap: the file is truncated (byte offset 4711, frame 42)\n"

    def test_an_input_that_cannot_be_opened_prints_nothing_else(self, analysis: Analysis, run: Run) -> None:
        analysis.records, analysis.fault = [], InputError("x.pcap: no such file")
        assert run("read", "x.pcap") == (ExitCode.INPUT, "", "socks5sniff: x.pcap: no such file\n")

    def test_an_input_error_later_on_prints_what_was_decoded(self, analysis: Analysis, run: Run) -> None:
        analysis.fault = InputError("y.pcap: permission denied")
        status, out, _ = run("read", "x.pcap", "y.pcap")
        assert status == ExitCode.INPUT
        assert "2 conversations" in out

    def test_ctrl_c_prints_what_was_decoded(self, analysis: Analysis, run: Run) -> None:
        analysis.fault = KeyboardInterrupt()
        status, out, err = run("read", "x.pcap")
        assert (status, err) == (130, "")
        assert "2 conversations" in out

    def test_a_file_name_cannot_write_to_the_terminal(self, analysis: Analysis, run: Run) -> None:
        analysis.records, analysis.fault = [], InputError("\x1b[31m\n.pcap: no such file")
        assert run("read", "x")[2] == "socks5sniff: \\x1b[31m\\n.pcap: no such file\n"

    def test_forgotten_connections_are_told(
        self, analysis: Analysis, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Reading, "evicted", 12_345)
        status, out, err = run("read", "--format", "jsonl", "x.pcap")
        assert status == 0
        assert len(out.splitlines()) == 2
        assert err == "socks5sniff: 12,345 open connections were forgotten early: there were too many at once.\n"

    def test_a_programming_error_is_not_hidden(self, analysis: Analysis, run: Run) -> None:
        analysis.fault = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            run("read", "x")


class TestCtrlC:
    def test_the_reading_ends_between_batches(self, analysis: Analysis, run: Run) -> None:
        """The first Ctrl-C is raised where the analysis tells its progress; the record before it is written."""

        class Pressed(list[Conversation]):
            def __iter__(self) -> Iterator[Conversation]:
                signal.raise_signal(signal.SIGINT)
                yield sample()
                analysis.options["progress"](1, 2)
                yield sample(id=2)

        analysis.records = Pressed()
        status, out, _ = run("read", "--format", "jsonl", "x.pcap")
        assert status == 130
        assert [json.loads(line)["id"] for line in out.splitlines()] == [1]

    def test_a_second_one_does_not_wait_for_the_batch(self, analysis: Analysis, run: Run) -> None:
        class Pressed(list[Conversation]):
            def __iter__(self) -> Iterator[Conversation]:
                yield sample()
                signal.raise_signal(signal.SIGINT)
                yield sample(id=2)
                signal.raise_signal(signal.SIGINT)
                yield sample(id=3)

        analysis.records = Pressed()
        status, out, _ = run("read", "--format", "jsonl", "x.pcap")
        assert status == 130
        assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2]

    def test_the_handler_is_put_back(self, analysis: Analysis, run: Run) -> None:
        before = signal.getsignal(signal.SIGINT)
        run("read", "x")
        assert signal.getsignal(signal.SIGINT) is before


class TestOutputFile:
    def test_it_is_written(self, analysis: Analysis, run: Run, tmp_path: Path) -> None:
        target = tmp_path / "out.jsonl"
        assert run("read", "--format", "jsonl", "-o", str(target), "x") == (0, "", "")
        assert len(target.read_text().splitlines()) == 2

    def test_old_content_is_replaced(self, analysis: Analysis, run: Run, tmp_path: Path) -> None:
        target = tmp_path / "out.csv"
        target.write_text("old\n" * 10_000)
        run("read", "--format", "csv", "-o", str(target), "x")
        assert "old" not in target.read_text()

    def test_old_content_stays_when_there_is_no_input(self, analysis: Analysis, run: Run, tmp_path: Path) -> None:
        target = tmp_path / "out.csv"
        target.write_text("old\n")
        analysis.records, analysis.fault = [], InputError("x: no such file")
        assert run("read", "-o", str(target), "x")[0] == ExitCode.INPUT
        assert target.read_text() == "old\n"

    @pytest.mark.parametrize("name", ["jsonl", "html", "csv", "table"])
    def test_a_file_that_would_be_new_is_not_there_then(
        self, name: str, analysis: Analysis, run: Run, tmp_path: Path
    ) -> None:
        target = tmp_path / "out"
        analysis.records, analysis.fault = [], InputError("x: no such file")
        assert run("read", "--format", name, "-o", str(target), "x")[0] == ExitCode.INPUT
        assert not target.exists()

    def test_a_dash_is_standard_output(self, analysis: Analysis, run: Run) -> None:
        assert "2 conversations" in run("read", "-o", "-", "x")[1]

    def test_an_input_is_never_overwritten(self, analysis: Analysis, run: Run, tmp_path: Path) -> None:
        capture = tmp_path / "x.pcap"
        capture.write_bytes(b"precious")
        status, _, err = run("read", "-o", str(tmp_path / "." / "x.pcap"), str(capture))
        assert status == ExitCode.USAGE
        assert "one of the inputs" in err
        assert capture.read_bytes() == b"precious"

    @pytest.mark.parametrize("name", ["missing/out", "."])
    def test_what_cannot_be_opened(self, analysis: Analysis, run: Run, tmp_path: Path, name: str) -> None:
        status, _, err = run("read", "-o", str(tmp_path / name), "x")
        assert status == ExitCode.OUTPUT
        assert err.count("\n") == 1
        assert str(tmp_path) in err

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
    def test_a_full_disk(self, analysis: Analysis, run: Run) -> None:
        status, _, err = run("read", "-o", "/dev/full", "x")
        assert status == ExitCode.OUTPUT
        assert err == "socks5sniff: /dev/full: No space left on device\n"

    @pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
    def test_passwords_are_for_the_user_only(self, analysis: Analysis, run: Run, tmp_path: Path) -> None:
        old, new, plain = tmp_path / "old", tmp_path / "new", tmp_path / "plain"
        old.write_text("")
        old.chmod(0o644)
        umask = os.umask(0o022)
        try:
            for target in (old, new):
                run("read", "--show-passwords", "-o", str(target), "x")
                assert stat.S_IMODE(target.stat().st_mode) == 0o600
            run("read", "-o", str(plain), "x")
            assert stat.S_IMODE(plain.stat().st_mode) == 0o644
        finally:
            os.umask(umask)


class Stream:
    """A stream that says it is a terminal, or not, and that the disk is full."""

    def __init__(self, terminal: bool = False) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        raise OSError("no descriptor")

    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        self.write("")


class TestTerminal:
    def options(self, terminal: bool, colour: bool = True, inputs: tuple[str, ...] = (), rows: bool = True) -> Options:
        stream: Any = Stream(terminal)
        return sink_options(Output(stream, "standard output"), inputs, colour, rows)

    def test_colours_and_width_on_a_terminal_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "123")
        assert self.options(True) == Options(width=123, colour=True, prompt=False)
        assert self.options(False) == Options(width=None, colour=False, prompt=False)

    def test_no_colours_by_option_or_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        assert not self.options(True, colour=False).colour
        monkeypatch.setenv("NO_COLOR", "1")
        assert not self.options(True).colour
        monkeypatch.setenv("NO_COLOR", "")
        assert self.options(True).colour
        monkeypatch.setenv("TERM", "dumb")
        assert not self.options(True).colour

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
    def test_results_of_a_stream_are_awaited(self, tmp_path: Path) -> None:
        capture = tmp_path / "x.pcap"
        capture.write_bytes(b"")
        assert self.options(False, inputs=("-",)).prompt
        assert not self.options(False, inputs=(str(capture),)).prompt
        os.mkfifo(tmp_path / "fifo")
        assert self.options(False, inputs=(str(capture), str(tmp_path / "fifo"))).prompt

    def test_lines_are_awaited_except_in_a_file(self, tmp_path: Path) -> None:
        assert self.options(False, rows=False).prompt
        with (tmp_path / "out").open("w") as stream:
            assert not sink_options(Output(stream, "out"), (), colour=False, rows=False).prompt


class TestProgress:
    @pytest.mark.parametrize(
        ("terminal", "total", "shown"),
        [(True, LEAST, True), (True, LEAST - 1, False), (True, 0, False), (False, LEAST, False)],
    )
    def test_a_bar_for_a_large_input_on_a_terminal(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        terminal: bool,
        total: int,
        shown: bool,
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        bar = ProgressBar()
        bar.update(1, total)
        bar.stop()
        captured = capsys.readouterr()
        assert captured.out == ""
        assert bool(captured.err) is shown

    def test_each_worker_of_a_cluster_has_a_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", "160")
        bar = ProgressBar()
        bar.update(30_000_000, LEAST, 7, {"tcp://10.0.0.5:4000": 10_000_000})
        bar.update(40_000_000, LEAST, 9, {"tcp://10.0.0.5:4000": 10_000_000, "tcp://10.0.0.6:4000": 30_000_000})
        bar._bar.refresh()
        bar.stop()
        lines = capsys.readouterr().err.splitlines()
        for said, octets in (("9 conversations", "40.0"), ("10.0.0.5:4000", "10.0"), ("10.0.0.6:4000", "30.0")):
            assert any(said in line and f"{octets}/50.0 MB" in line for line in lines), lines

    def test_a_bar_that_was_stopped_stays_away(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        bar = ProgressBar()
        bar.stop()
        bar.update(1, LEAST)
        assert capsys.readouterr().err == ""

    def test_the_first_line_of_output_takes_the_bar_away(self, tmp_path: Path) -> None:
        calls: list[str] = []
        with (tmp_path / "out").open("w") as stream:
            output = Output(stream, "out")
            output.before = lambda: calls.append("stop")
            output.write("a\n")
            output.write("b\n")
        assert calls == ["stop"]


def test_output_errors_are_one_kind() -> None:
    stream: Any = Stream()
    for use in (lambda output: output.write("x"), lambda output: output.flush()):
        with pytest.raises(OutputError, match="out: No space left on device"):
            use(Output(stream, "out"))
