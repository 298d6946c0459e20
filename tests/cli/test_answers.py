"""`stats`, `explain`, `--where`, `--fail-if` and `--quiet`, as whole commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode

from . import capture
from .test_process import loaded


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A capture of nine conversations with one proxy, of which every third is refused."""
    path = tmp_path_factory.mktemp("nine") / "nine.pcap"
    path.write_bytes(capture.capture(9))
    return str(path)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, str]:
    """What a command prints to standard output and error; it must end with `status`."""
    assert main(list(arguments)) == status
    return capsys.readouterr()


class TestWhere:
    def test_read(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        for option in ("-Y", "--where"):
            out, _ = ran(capsys, "read", nine, "--format", "jsonl", option, "reply.code == 5 and id > 3")
            assert [json.loads(line)["id"] for line in out.splitlines()] == [6, 9]

    def test_with_a_short_form_both_must_hold(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        options = ("--outcome", "rejected", "--destination", "host2.*,", "--destination", "host5.example.com:443")
        out, _ = ran(capsys, "read", nine, "--format", "jsonl", *options, "-Y", "id in {1..6}")
        assert [json.loads(line)["id"] for line in out.splitlines()] == [6]

    def test_a_mistake_is_one_line_with_its_place(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        for command in (["read"], ["stats"], ["explain"]):
            out, err = ran(capsys, *command, nine, "-Y", "id == 1 and outcome = x", status=ExitCode.USAGE)
            assert out == ""
            assert err.count("\n") == 1
            assert "at character 21, '=' is not understood" in err


class TestFailIf:
    def test_no_match_is_success(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("read", "stats", "explain"):
            assert ran(capsys, command, nine, "--quiet", "--fail-if", "outcome == malformed") == ("", "")

    def test_a_match_ends_with_9_and_says_which(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("read", "stats", "explain"):
            out, err = ran(capsys, command, nine, "--quiet", "--fail-if", "reply != 0", status=9)
            assert (out, err) == ("", "socks5sniff: 3 conversations match --fail-if 'reply != 0': 3, 6, 9\n")

    def test_without_quiet_the_report_is_whole(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        out, err = ran(capsys, "read", nine, "--fail-if", "id == 4", status=9)
        assert "9 conversations in" in out
        assert err == "socks5sniff: 1 conversation matches --fail-if 'id == 4': 4\n"

    def test_only_conversations_that_are_shown_count(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        ran(capsys, "read", nine, "--quiet", "--outcome", "succeeded", "--fail-if", "reply != 0")

    def test_many_matches_are_not_all_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "many.pcap"
        path.write_bytes(capture.capture(30))
        _, err = ran(capsys, "read", str(path), "--quiet", "--fail-if", "reply.code == 5", status=9)
        assert err.endswith(": 3, 6, 9, 12, 15, …\n")

    def test_damage_comes_first(self, nine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "cut.pcap"
        path.write_bytes(Path(nine).read_bytes()[:-30])
        for command in ("read", "stats", "explain"):
            ran(capsys, command, str(path), "--quiet", "--fail-if", "reply != 0", status=ExitCode.DAMAGED)

    def test_quiet_writes_no_file(self, nine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("read", "stats", "explain"):
            ran(capsys, command, nine, "--quiet", "-o", str(tmp_path / "x"), status=ExitCode.USAGE)
        assert not list(tmp_path.iterdir())


class TestStats:
    def test_table(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        out, err = ran(capsys, "stats", nine)
        assert out.startswith("9 conversations in 90 packets\n")
        assert "  6  66.7%  succeeded\n  3  33.3%  rejected\n" in out
        assert "Proxy 192.0.2.2:1080: 9 conversations\n" in out
        assert err == ""

    def test_json(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = json.loads(ran(capsys, "stats", nine, "--format", "json")[0])
        assert (found["conversations"], found["packets"]) == (9, 90)
        assert found["replies"] == {"succeeded": 6, "connection refused": 3}
        assert len(found["destinations"]) == 9
        timing = found["proxies"]["192.0.2.2:1080"]["timing"]["request"]
        assert timing == {"count": 9, "p50": 0.001, "p90": 0.001, "p95": 0.001, "p99": 0.001, "max": 0.001}

    def test_some(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = json.loads(ran(capsys, "stats", nine, "--format", "json", "-Y", "reply == 5", "--top", "2")[0])
        assert (found["conversations"], found["outcomes"]) == (3, {"rejected": 3})
        assert len(found["destinations"]) == 2

    def test_to_a_file(self, nine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert ran(capsys, "stats", nine, "-o", str(tmp_path / "figures")) == ("", "")
        assert (tmp_path / "figures").read_text().startswith("9 conversations")

    def test_of_a_damaged_capture(self, nine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "cut.pcap"
        path.write_bytes(Path(nine).read_bytes()[:-30])
        out, err = ran(capsys, "stats", str(path), status=ExitCode.DAMAGED)
        assert out.startswith("9 conversations in 89 packets\n")
        assert "truncated" in err
        assert err.count("\n") == 1

    def test_what_is_no_capture(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("stats", "explain"):
            out, err = ran(capsys, command, str(tmp_path / "missing"), status=ExitCode.INPUT)
            assert (out, err.count("\n")) == ("", 1)


class TestExplain:
    def test_a_capture(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        out, err = ran(capsys, "explain", nine)
        assert out.startswith("9 conversations: 6 succeeded, 3 did not\n")
        assert "3  error: The proxy refused CONNECT to host2.example.com:443: connection refused (code 5)" in out
        assert "(conversations 3, 6, 9; code reply-5)" in out
        assert err == ""

    def test_a_conversation(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        out, _ = ran(capsys, "explain", nine, "3")
        assert out.startswith("Conversation 3: 192.0.2.1:10002 through 192.0.2.2:1080 to host2.example.com:443")
        assert "|<-----------|            |  Reply: connection refused" in out
        assert "1. error: The proxy refused CONNECT" in out

    def test_json(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        whole = json.loads(ran(capsys, "explain", nine, "--format", "json")[0])
        assert (whole["conversations"], whole["failed"], whole["failures"][0]["count"]) == (9, 3, 3)
        one = json.loads(ran(capsys, "explain", nine, "3", "--format", "json")[0])
        assert (one["conversation"], one["outcome"]) == (3, "rejected")
        assert one["findings"][0]["code"] == "reply-5"
        record = next(record for record in socks5sniff.read(nine) if record.id == 3)
        frames = [entry.frame for entry in record.frames if entry.type in ("request", "reply")]
        assert one["findings"][0]["frames"] == frames

    def test_one_that_is_not_there(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        _, err = ran(capsys, "explain", nine, "10", status=ExitCode.INPUT)
        assert err.endswith("conversation 10 is not there, or not wanted; there are 9\n")
        ran(capsys, "explain", nine, "3", "-Y", "outcome == succeeded", status=ExitCode.INPUT)
        ran(capsys, "explain", nine, "0", status=ExitCode.USAGE)
        ran(capsys, "explain", nine, "x", status=ExitCode.USAGE)

    def test_the_judge_sees_only_the_one_that_is_told(self, nine: str, capsys: pytest.CaptureFixture[str]) -> None:
        ran(capsys, "explain", nine, "1", "--quiet", "--fail-if", "outcome == rejected")
        ran(capsys, "explain", nine, "3", "--quiet", "--fail-if", "outcome == rejected", status=9)


def test_short_forms_need_no_parser(nine: str) -> None:
    """What takes time to load is loaded for an expression only."""
    assert "lark" not in loaded("read", nine, "--outcome", "rejected", "--destination", "*.example.com:443")
    assert "lark" in loaded("read", nine, "-Y", "outcome == rejected")
