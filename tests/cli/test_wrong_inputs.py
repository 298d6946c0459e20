"""What a user can get wrong, each with the exit status and what is said: one line, no Python in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from tests.cli.capture import capture

USAGE, INPUT, DAMAGED, OUTPUT = ExitCode.USAGE, ExitCode.INPUT, ExitCode.DAMAGED, ExitCode.OUTPUT

WRONG: list[tuple[str, ExitCode, str]] = [
    # the command
    ("raed ok.pcap", USAGE, "'raed' is not a command. Did you mean read?"),
    ("--nope", USAGE, "No such option '--nope'"),
    ("-x", USAGE, "No such option '-x'"),
    ("missing.pcapng", INPUT, "missing.pcapng: no such file"),
    ("text.txt", INPUT, "text.txt: not a pcap or pcapng capture: looks like text"),
    ("ok.pcap --nope", USAGE, "No such option '--nope'. See socks5sniff read --help."),
    # inputs
    ("read", USAGE, "which capture? Name a pcap or pcapng file, or - for standard input"),
    ("read missing.pcap", INPUT, "missing.pcap: no such file"),
    ("read dir", INPUT, "dir: a directory without a file in it"),
    ("read text.txt", INPUT, "looks like text"),
    ("read empty.pcap", INPUT, "empty.pcap: empty, there is nothing in it"),
    ("read cut.pcap", DAMAGED, "cut.pcap: truncated"),
    ("read ok.pcap missing.pcap", INPUT, "missing.pcap: no such file"),
    ("read - -", INPUT, "standard input can be read only once"),
    # words
    (
        "read --format xml ok.pcap",
        USAGE,
        "'xml' is not a format. Allowed: table, json, jsonl, csv, zeek, accesslog, html, parquet.",
    ),
    ("read --format Json ok.pcap", USAGE, "Did you mean json?"),
    ("read --format '' ok.pcap", USAGE, "'' is not a format"),
    ("read --outcome rejcted ok.pcap", USAGE, "'rejcted' is not an outcome. Did you mean rejected?"),
    ("read --outcome REJECTED ok.pcap", USAGE, "Did you mean rejected?"),
    ("read --outcome rejected,foo ok.pcap", USAGE, "'foo' is not an outcome. Allowed: succeeded, rejected, "),
    ("read --command conect ok.pcap", USAGE, "'conect' is not a command. Did you mean connect?"),
    ("read --command unknown-0xZZ ok.pcap", USAGE, "'unknown-0xZZ' is not a command"),
    ("read --anomaly local_dns ok.pcap", USAGE, "Did you mean local-dns? `socks5sniff help record` lists them."),
    ("read --columns destnation ok.pcap", USAGE, "'destnation' is not a column. Did you mean destination?"),
    ("read --columns id,,client ok.pcap", USAGE, "'' is not a column"),
    ("read --time cet ok.pcap", USAGE, "'cet' is not a form of time. Allowed: utc, local, epoch, relative."),
    ("read --outcom rejected ok.pcap", USAGE, "No such option '--outcom'"),
    ("read --user", USAGE, "Option '--user' requires an argument"),
    # ports and endpoints
    ("read --port 0 ok.pcap", USAGE, "'0' is not a port: a number from 1 to 65535."),
    ("read --port 65536 ok.pcap", USAGE, "'65536' is not a port"),
    ("read --port abc ok.pcap", USAGE, "'abc' is not a port"),
    ("read --port 1080, ok.pcap", USAGE, "'' is not a port"),
    ("read --port ² ok.pcap", USAGE, "'²' is not a port"),
    ("read --client 'a b' ok.pcap", USAGE, "'a b' is not understood; allowed: an address"),
    ("read --client 10.0.0.0/33 ok.pcap", USAGE, "'10.0.0.0/33' is not understood"),
    ("read --client 1.2.3 ok.pcap", USAGE, "'1.2.3' is not understood"),
    ("read --destination host:99999 ok.pcap", USAGE, "'host:99999' is not understood"),
    ("read --proxy [::1 ok.pcap", USAGE, "'[::1' is not understood"),
    # what does not go together
    ("read --columns id --format csv ok.pcap", USAGE, "--columns goes with --format table."),
    ("read --columns id --frames ok.pcap", USAGE, "--columns are the conversations'"),
    ("read --time utc --format json ok.pcap", USAGE, "--time does not go with --format json"),
    ("read --excel ok.pcap", USAGE, "--excel goes with --format csv."),
    (
        "read --frames --format csv ok.pcap",
        USAGE,
        "--frames goes with --format table, json, jsonl, html or parquet, not with csv.",
    ),
    # outputs
    ("read -o ok.pcap ok.pcap", USAGE, "'ok.pcap' is one of the inputs"),
    ("read -o dir ok.pcap", OUTPUT, "dir: Is a directory"),
    ("read -o missing/x ok.pcap", OUTPUT, "missing/x: No such file or directory"),
    ("demo -o missing/x.pcapng", OUTPUT, "missing/x.pcapng: cannot be written"),
    ("record -o text.txt connect-ssh", OUTPUT, "text.txt: cannot be written"),
    # live
    ("live -i", USAGE, "Option '-i' requires an argument"),
    ("live --duration 5q", USAGE, "'5q' is not a duration: seconds, or as in 500ms, 30s, 5m, 1h30m, 2d."),
    ("live --duration -1", USAGE, "'-1' is not a duration"),
    ("live --duration 0", USAGE, "'0' is not a duration"),
    (f"live --duration 1{'0' * 400}", USAGE, "is not a duration"),
    ("live --count 0", USAGE, "'0' is not a whole number from 1 on."),
    ("live --view lst", USAGE, "'lst' is not a view. Allowed: lines, table."),
    ("live --view table --format jsonl", USAGE, "--view and --format exclude each other."),
    ("live --frames --format csv", USAGE, "--frames goes with lines and with --format jsonl."),
    ("live --format json", USAGE, "'json' is not a format. Did you mean jsonl?"),
    ("live --time utc --format csv", USAGE, "--time does not go with --format csv"),
    ("live --only-socks", USAGE, "--only-socks goes with -w FILE."),
    ("live -w x.pcapng --keep 3", USAGE, "--keep and --keep-size go with --rotate-size or --rotate-seconds."),
    ("live --rotate-size 1T -w x", USAGE, "'1T' is not a size: a number of octets, as in 500000, 100M or 2G."),
    ("live --buffer 0", USAGE, "'0' is not a size"),
    ("live --snaplen 10", USAGE, "'10' is not a whole number from 64 to 262144."),
    ("live --engine rign", USAGE, "'rign' is not an engine. Did you mean ring?"),
    ("live extra", USAGE, "unexpected extra argument"),
    # the proxy
    ("proxy --listen 127.0.0.1:99999", USAGE, "'127.0.0.1:99999' is not HOST:PORT or :PORT."),
    ("proxy --listen localhost:abc", USAGE, "'localhost:abc' is not HOST:PORT"),
    ("proxy --listen 0.0.0.0:1080", USAGE, "0.0.0.0 can be reached from other machines"),
    ("proxy --user alice", USAGE, "'alice' has no ':' in it."),
    ("proxy --host www", USAGE, "'www' has no '=' in it."),
    ("proxy --fault repyl=5", USAGE, "'repyl' is not a fault. Did you mean reply?"),
    ("proxy --fault reply", USAGE, "reply=CODE: answer the request with this reply code"),
    ("proxy --fault reply=x", USAGE, "fault 'reply=x': 'x' is not a number"),
    ("proxy --fault reply=5@x", USAGE, "'x' is not a number"),
    ("proxy --fault before=reply:xyz", USAGE, "'xyz' is not octets in hexadecimal, as in 05ff"),
    ("proxy --fault delay=reply:soon", USAGE, "'soon' is not a number of seconds"),
    ("proxy --fault close=never", USAGE, "never is not one of"),
    ("proxy --idle-timeout soon", USAGE, "'soon' is not a duration"),
    ("proxy --limit none", USAGE, "'none' is not a whole number from 1 on."),
    # the others
    ("record nosuch", USAGE, "'nosuch' is not a scenario. `socks5sniff record --list` lists them."),
    ("record auth-pasword", USAGE, "Did you mean auth-password?"),
    ("verify", USAGE, "Missing argument 'FILE'"),
    ("verify missing.pcapng", INPUT, "missing.pcapng: no such file"),
    ("verify ok.pcap --against tshark", USAGE, "'tshark' is not a dissector. Allowed: lua, builtin."),
    ("verify ok.pcap --port x", USAGE, "'x' is not a port"),
    ("dissector instal", USAGE, "No such command 'instal'"),
    ("help nosuch", USAGE, "'nosuch' is not a topic or a command. `socks5sniff help` lists them."),
    ("help recipees", USAGE, "Did you mean recipes?"),
    ("interfaces extra", USAGE, "unexpected extra argument"),
]
PYTHON = re.compile(r"Traceback|Errno|Error\b|\b0x[0-9a-f]{8,}|x>=|<class|object at|base 10|could not convert|literal")
"""Words that only who wrote the program understands."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ok.pcap").write_bytes(capture(1))
    (tmp_path / "cut.pcap").write_bytes(capture(1)[:-10])
    (tmp_path / "empty.pcap").write_bytes(b"")
    (tmp_path / "text.txt").write_text("hello, this is text\n")
    (tmp_path / "dir").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("line", "status", "said"), WRONG, ids=[line[:60] for line, _, _ in WRONG])
def test_one_line_and_a_status(
    line: str, status: ExitCode, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(shlex.split(line)) == status
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("socks5sniff: ")
    assert err.count("\n") == 1
    assert not PYTHON.search(err)
    assert len(err) < 700
    assert out == "" or status in (INPUT, DAMAGED)
    assert (tmp_path / "ok.pcap").read_bytes() == capture(1)
