"""`explain` of whatever else can be wrong: odd clients of real proxies, and odd proxies, of a few lines each.

`misbehaviour.py` plays them all at once on the lab's sockets, and there is one capture of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.codec.codes import ANOMALIES, REPLIES, SOCKS4_REPLIES
from socks5sniff.explain import Finding, findings
from socks5sniff.explain.reasons import ANOMALY_REASONS, ENDING_REASONS, REPLY_REASONS
from socks5sniff.record import Conversation

from .conftest import Server, need
from .lab import ECHO_PORT, HTTP_PORT, PROXY, TARGET, Lab

PROGRAM = Path(__file__).with_name("misbehaviour.py")
PORTS = range(9200, 9300)
"""Where the proxies of `misbehaviour.py` listen."""


class Case(NamedTuple):
    """What `explain` has to say.

    Attributes:
        code, words: of the finding, and in its sentence.
        proof: octets in a frame that it points at; None where the packets there carry nothing of it.
        failed: the conversation came to nothing of it.
    """

    code: str
    words: str
    proof: bytes | None
    failed: bool = False


CASES = {
    "another version": Case("bad-version", "version 2", b"\2\1\0\1"),
    "no methods": Case("no-methods-offered", "no method", b"\5\0"),
    "a method twice": Case("duplicate-methods", "0x00", b"\5\2\0\0"),
    "a login that nobody asked for": Case("auth-unasked", "although", b"\1\5alice\3abc"),
    "a reserved octet": Case("reserved-nonzero", "0x01", b"\5\1\1\1"),
    "a private command": Case("unknown-command", "0x99", b"\5\x99\0\1"),
    "an address type": Case("unknown-address-type", "0x07", b"\5\1\0\7"),
    "an empty name": Case("empty-domain", "empty", b"\5\1\0\3\0"),
    "a name with umlauts": Case("domain-not-ascii", "ASCII", "bücher.test".encode()),
    "an address as a name": Case("domain-is-ip-literal", "in text", TARGET.encode()),
    "a name with its NUL": Case("domain-has-nul", "NUL", b"target.test\0"),
    "a number as a name": Case("odd-destination", "another notation", b"2130706433"),
    "no port": Case("zero-port", "port 0", b"\5\1\0\1"),
    "data before the reply": Case("early-data", "before", b"GET / HTTP/1.1"),
    "all at once": Case("pipelined-frames", "one segment", b"\5\1\0\5\1\0\1"),
    "octet by octet": Case("split-frame", "segments", b"\1\0"),
    "half a request": Case("half-frame", "The client closed", b"\5\1\0\1\x0a", True),
    "a target for its datagrams": Case("associate-names-target", TARGET, b"\5\3\0\1"),
    "a method of its own": Case("method-not-offered", "0x02", b"\5\2"),
    "a login in version 5": Case("auth-version", "5", b"\5\0"),
    "an empty password": Case("empty-credential", "empty", b"\1\5alice\0"),
    "a code of its own": Case("unknown-reply", "0x33", b"\5\x33"),
    "words after its refusal": Case("data-after-failure", "after", b"Not from here."),
    "a banner": Case("server-spoke-first", "precede", b"220 welcome"),
    "a reply too early": Case("reply-before-request", "before", b"\5\0\5\0\0\1"),
    "a reply as refusal": Case("refusal-too-long", "follow", b"\5\xff\0"),
    "half a reply": Case("half-frame", "The proxy closed", b"\5\0\0\1", True),
    "an unspecified relay": Case("bound-unspecified", "0.0.0.0", b"\5\0\0\1\0\0\0\0"),
    "a relay on loopback": Case("unreachable-bound", "loopback", b"\5\0\0\1\x7f\0\0\1"),
    "a level in clear": Case("gssapi-level-unprotected", "unwrapped", b"\1\2\0\1\1"),
    "a balancer in front": Case("proxy-protocol", "192.0.2.7", b"PROXY TCP4"),
    "no end": Case("late-close", "Open 10.", b"\5\5\0\1"),
    "no patience": Case("ended-by-client", "The client closed", b"\5\1\0", True),
    **{
        f"code {code}": Case(f"reply-{code}", REPLIES[code], bytes([5, code, 0, 1]), True)
        for code in (1, 4, 6, 8, 9, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7)
    },
    **{f"code {code}": Case(f"reply-{code}", SOCKS4_REPLIES[code], bytes([0, code]), True) for code in (92, 93)},
    "a lone fragment": Case("udp-fragments-incomplete", "fragment", b"\0\0\1\1"),
    "no header": Case("udp-no-header", "no SOCKS header", b"the data without"),
    "datagrams after the end": Case("udp-after-close", "after", b"anybody there?"),
    "a stranger at the relay": Case("udp-unassociated", TARGET, b"me, too"),
    "the client named as sender": Case("udp-names-client", PROXY, b"answer"),
    "its own resolver": Case("local-dns", "target.test", b"\5\1\0\1"),
    "two versions of one segment": Case("conflicting-retransmission", "differs", b"\5\1\0\1"),
}
IN_TEST_EXPLAIN = {
    *("auth-failed", "cleartext-credentials", "no-acceptable-method", "not-socks-on-socks-port", "udp-one-way"),
    *("closed-without-data", "udp-unused", "slow-request", "ended-unanswered", "ended-by-proxy"),
    *("ended-without-reply", "reply-2", "reply-3", "reply-5", "reply-7", "reply-91", "reply-246"),
}
"""What real programs do in test_explain.py; and test_attempts.py has a proxy that is not there."""


@pytest.fixture(scope="module")
def played(web: Lab, microsocks: Server, danted: Server) -> tuple[Path, dict[str, Conversation]]:
    """The capture, and the conversations by name."""
    need("tshark")
    ports = map(str, (microsocks.port, danted.port, HTTP_PORT, ECHO_PORT))
    with web.capture(danted.port) as path:
        printed = web.run(sys.executable, str(PROGRAM), PROXY, TARGET, *ports, timeout=30)
    names = {port: name for name, port in json.loads(printed).items()}
    records = [c for c in socks5sniff.read(str(path), ports=PORTS) if c.parent is None]
    return path, {names[c.client.port]: c for c in records if c.client.port in names}


@pytest.fixture(scope="module")
def octets(played: tuple[Path, dict[str, Conversation]]) -> dict[int, bytes]:
    """What each frame carries, by tshark."""
    fields = ("-T", "fields", "-E", "occurrence=f", "-e", "frame.number", "-e", "tcp.payload", "-e", "udp.payload")
    command = ["tshark", "-n", "-r", str(played[0]), *fields]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    return {int(number): bytes.fromhex(tcp or udp) for number, tcp, udp in (line.split("\t") for line in lines)}


def test_each_reason_has_its_program() -> None:
    codes = {case.code for case in CASES.values()} | IN_TEST_EXPLAIN
    codes |= {"udp-fragmented", "midstream", "handshake-gap", "capture-ended", "unreachable-proxy"}
    reasons = {*ANOMALY_REASONS, *ENDING_REASONS, *(f"reply-{code}" for code in REPLY_REASONS)}
    # A mistake of this program, and what is malformed without an error that says why, no other program makes.
    assert reasons - codes == {"internal-error", "malformed"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(
    name: str, played: tuple[Path, dict[str, Conversation]], octets: dict[int, bytes]
) -> None:
    case, conversation = CASES[name], played[1][name]
    told = {finding.code: finding for finding in findings(conversation)}
    assert case.code in told, (told, conversation)
    found = told[case.code]
    assert case.words in found.sentence
    assert case.proof is None or any(case.proof in octets[frame] for frame in found.frames)
    assert found.causes
    assert found.advice.endswith(".")
    if case.failed:
        assert (next(iter(told)), found.severity) == (case.code, "error")
    else:
        assert found.severity == ANOMALIES[case.code].severity or next(iter(told)) == case.code


def test_a_whole_capture_of_them(
    played: tuple[Path, dict[str, Conversation]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, conversations = played
    ports = ["--port", ",".join(map(str, PORTS))]
    assert main(["explain", str(path), *ports]) == 0
    shown = capsys.readouterr().out
    for case in CASES.values():
        assert f"code {case.code}" in shown
    assert main(["explain", str(path), str(conversations["no end"].id), *ports]) == 0
    assert "! late-close" in capsys.readouterr().out


def cut(path: Path, chosen: str) -> dict[str, Finding]:
    """What is said of the only conversation, when the capture has only these frames."""
    part = path.with_name("part.pcap")
    subprocess.run(["tshark", "-r", str(path), "-F", "pcap", "-w", str(part), "-Y", chosen], check=True)
    (conversation,) = socks5sniff.read(str(part))
    return {found.code: found for found in findings(conversation)}


def test_captures_that_lack_frames(played: tuple[Path, dict[str, Conversation]]) -> None:
    path, conversations = played
    c = conversations["all at once"]
    stream = f"tcp.stream == {c.tcp_stream}"
    greeting, choice, _, reply = (entry.frame for entry in c.frames)
    late = cut(path, f"{stream} and frame.number >= {greeting}")
    assert "start is not in the capture" in late["midstream"].sentence
    holed = cut(path, f"{stream} and frame.number != {choice}")
    assert holed["handshake-gap"].severity == "error"
    ended = cut(path, f"{stream} and frame.number < {reply}")
    assert "The capture ends before" in ended["capture-ended"].sentence
