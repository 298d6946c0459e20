"""What `explain` says of real programs that misbehave, each in a way that the test makes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.explain import Finding, findings
from socks5sniff.record import Conversation

from .conftest import USERNAME, Server, need
from .lab import CLOSED_PORT, ECHO_PORT, HTTP_PORT, NAME, PROXY, TARGET, Lab
from .test_clients import COULD_NOT_CONNECT
from .test_servers import _CONNECT, _REQUEST, run

CLOSED = f"http://{TARGET}:{CLOSED_PORT}/"
OPEN = f"http://{TARGET}:{HTTP_PORT}/"
HASTY_PORT = 9100
"""A destination that closes without a word."""

_DATAGRAMS = (
    _CONNECT
    + """
import time
control.sendall(b"\\5\\3\\0\\1" + bytes(6))
relay = address(exactly(control, 10))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind((proxy, 0))
for number in range(int(sys.argv[3])):
    destination = socket.inet_aton(sys.argv[4]) + int(sys.argv[5]).to_bytes(2, "big")
    datagrams.sendto(b"\\0\\0\\0\\1" + destination + b"x", relay)
    time.sleep(0.2)
control.close()
print("null")
"""
)


@pytest.fixture(autouse=True, scope="module")
def _programs() -> None:
    need("curl", "ncat")


@pytest.fixture(scope="module")
def shell_proxy(web: Lab) -> Iterator[Callable[[int, str], Server]]:
    """Starts ncat with a shell script behind each connection: a proxy that does as badly as the script."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int, script: str) -> Server:
        command = ("ncat", "-l", "-k", PROXY, str(port), "--sh-exec", script)
        started.append(web.start(*command, log=f"shell-{port}.log"))
        web.wait_for_port(port)
        return Server(port)

    yield start
    for process in started:
        web.end(process)


def told(path: Path, server: Server) -> tuple[Conversation, list[Finding]]:
    """The only conversation with a proxy, and what is wrong with it."""
    records = [c for c in socks5sniff.read(str(path), ports=[server.port]) if c.proxy.port == server.port]
    assert len(records) == 1
    return records[0], findings(records[0])


def payload(path: Path, frame: int) -> bytes:
    """The octets that tshark finds in a frame's TCP segment."""
    command = ["tshark", "-r", str(path), "-Y", f"frame.number == {frame}", "-T", "fields", "-e", "tcp.payload"]
    return bytes.fromhex(subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip())


def curl(lab: Lab, *arguments: str, status: int | None = COULD_NOT_CONNECT) -> None:
    lab.run("curl", "-sS", "-o", "/dev/null", *arguments, status=status)


def test_refused(web: Lab, microsocks: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with web.capture(microsocks.port) as path:
        curl(web, "--socks5", str(microsocks), CLOSED)
    _, (found,) = told(path, microsocks)
    assert (found.code, found.severity) == ("reply-5", "error")
    assert found.sentence == f"The proxy refused CONNECT to {TARGET}:{CLOSED_PORT}: connection refused (code 5)"
    asked, answered = (payload(path, frame) for frame in found.frames)
    assert (asked[:4], answered[:2]) == (b"\5\1\0\1", b"\5\5")
    assert main(["explain", str(path)]) == 0
    assert "connection refused (code 5)" in capsys.readouterr().out


def test_no_route(web: Lab, microsocks: Server) -> None:
    with web.capture(microsocks.port) as path:
        curl(web, "--socks5", str(microsocks), "http://203.0.113.1/")
    _, (found,) = told(path, microsocks)
    assert found.code == "reply-3"
    assert "network unreachable" in found.sentence
    assert "no route" in found.causes[0]


def test_a_name_that_the_proxy_cannot_resolve(web: Lab, microsocks: Server) -> None:
    with web.capture(microsocks.port) as path:
        curl(web, "--socks5-hostname", str(microsocks), "http://nowhere.test/")
    record, (found, *_) = told(path, microsocks)
    assert record.reply is not None
    assert found.code == f"reply-{record.reply.code}"
    assert "nowhere.test:80" in found.sentence
    assert any("resolve" in cause for cause in found.causes)


def test_a_rule(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        curl(web, "--socks5", str(danted), f"http://{TARGET}:25/")
    _, (found, *_) = told(path, danted)
    assert found.code == "reply-2"
    assert f"rules for {TARGET}:25" in found.advice


def test_socks4_cannot_say_more(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        curl(web, "--socks4", str(danted), CLOSED)
    _, (found, *_) = told(path, danted)
    assert found.code == "reply-91"
    assert "SOCKS4 code 91" in found.sentence


def test_a_command_that_the_proxy_does_not_know(web: Lab, microsocks: Server) -> None:
    with web.capture(microsocks.port) as path:
        run(web, microsocks, _REQUEST, "05030001" + "00000000" + "0000")
    _, (found, *_) = told(path, microsocks)
    assert found.code == "reply-7"
    assert found.sentence.startswith("The proxy refused UDP ASSOCIATE: command not supported")


def test_a_wrong_password(web: Lab, microsocks_login: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with web.capture(microsocks_login.port) as path:
        curl(web, "--socks5", str(microsocks_login), "--proxy-user", f"{USERNAME}:wrong", OPEN)
    _, (found, *others) = told(path, microsocks_login)
    assert (found.code, found.severity) == ("auth-failed", "error")
    assert found.sentence == f"The proxy refused the user name and password of '{USERNAME}'"
    assert [payload(path, frame)[:1] for frame in found.frames] == [b"\1", b"\1"]
    assert "cleartext-credentials" in {other.code for other in others}
    assert main(["explain", str(path), "1"]) == 0
    shown = capsys.readouterr().out
    assert "wrong" not in shown.replace("a wrong user name", "")
    assert f"curl -x socks5h://USER:PASSWORD@{microsocks_login}" in " ".join(shown.split())


def test_no_password_where_one_is_wanted(web: Lab, microsocks_login: Server) -> None:
    with web.capture(microsocks_login.port) as path:
        curl(web, "--socks5", str(microsocks_login), OPEN)
    _, (found,) = told(path, microsocks_login)
    assert found.code == "no-acceptable-method"
    assert payload(path, found.frames[-1]) == b"\5\xff"
    assert "wants a user name and a password" in found.causes[0]


def test_ssh_says_by_closing_that_the_destination_refused(web: Lab, ssh_dynamic: Server) -> None:
    with web.capture(ssh_dynamic.port) as path:
        curl(web, "--socks5", str(ssh_dynamic), CLOSED)
    _, (found, *_) = told(path, ssh_dynamic)
    assert (found.code, found.severity) == ("ended-without-reply", "error")
    assert "The proxy closed the connection before the proxy's reply" in found.sentence
    assert "ssh -D" in found.causes[0]


def test_tor_without_a_network(web: Lab, tor: Server) -> None:
    with web.capture(tor.port) as path:
        curl(web, "--socks5-hostname", str(tor), "http://example.test/")
    _, (found, *_) = told(path, tor)
    assert found.code in ("reply-1", "reply-6")
    assert "example.test:80" in found.sentence


def test_an_onion_address_that_is_none(web: Lab, tor: Server) -> None:
    with web.capture(tor.port) as path:
        curl(web, "--socks5-hostname", str(tor), f"http://{'a' * 56}.onion/")
    _, (found, *_) = told(path, tor)
    assert found.code == "reply-246"
    assert found.causes == ("a typing error: the address's checksum is wrong",)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_protocol_on_the_port(web: Lab, microsocks: Server, scheme: str) -> None:
    with web.capture(microsocks.port) as path:
        curl(web, "--max-time", "3", "--proxy", f"{scheme}://{microsocks}", OPEN, status=None)
    _, (found, *_) = told(path, microsocks)
    assert (found.code, found.severity) == ("not-socks-on-socks-port", "error")
    assert found.sentence.startswith("HTTP" if scheme == "http" else "TLS")
    assert f"socks5h://{microsocks}" in found.advice


def test_datagrams_that_nobody_answers(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        run(web, danted, _DATAGRAMS, "3", TARGET, str(CLOSED_PORT))
    record, (found, *_) = told(path, danted)
    assert (found.code, found.severity) == ("udp-one-way", "warning")
    assert record.udp is not None
    assert (record.udp.datagrams_sent, record.udp.datagrams_received) == (3, 0)
    assert "nobody answers at the destination" in found.causes[0]


def test_datagrams_that_are_answered_are_fine(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        run(web, danted, _DATAGRAMS, "2", TARGET, str(ECHO_PORT))
    _, found = told(path, danted)
    assert "udp-one-way" not in {finding.code for finding in found}


def test_an_association_that_nobody_uses(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        run(web, danted, _DATAGRAMS, "0", TARGET, str(ECHO_PORT))
    record, found = told(path, danted)
    (unused,) = (finding for finding in found if finding.code == "udp-unused")
    assert str(record.bound) in unused.sentence


def test_a_destination_that_closes_without_a_word(
    web: Lab, microsocks: Server, shell_proxy: Callable[[int, str], Server]
) -> None:
    hasty = shell_proxy(HASTY_PORT, "true")
    with web.capture(microsocks.port) as path:
        # Nothing is sent, so that only the destination can end it.
        proxy = ("--proxy", str(microsocks), "--proxy-type", "socks5")
        web.run("ncat", "--recv-only", *proxy, hasty.address, str(hasty.port), status=None)
    _, (found, *_) = told(path, microsocks)
    assert found.code == "closed-without-data"
    assert "after its success without an octet from the destination" in found.sentence


def test_a_proxy_that_never_answers(web: Lab, shell_proxy: Callable[[int, str], Server]) -> None:
    silent = shell_proxy(9101, "sleep 5")
    with web.capture(silent.port) as path:
        curl(web, "--max-time", "2", "--socks5", str(silent), OPEN, status=None)
    _, (found,) = told(path, silent)
    assert found.code == "ended-unanswered"
    assert "The proxy's choice of a method never came: after" in found.sentence
    assert payload(path, found.frames[0])[:1] == b"\5"


def test_a_proxy_that_closes_after_the_greeting(web: Lab, shell_proxy: Callable[[int, str], Server]) -> None:
    rude = shell_proxy(9102, "head -c 3 >/dev/null")
    with web.capture(rude.port) as path:
        curl(web, "--socks5", str(rude), OPEN)
    _, (found,) = told(path, rude)
    assert found.code == "ended-by-proxy"
    assert found.sentence.startswith("The proxy ")
    assert "before the proxy's choice of a method" in found.sentence


def test_a_slow_proxy(web: Lab, shell_proxy: Callable[[int, str], Server]) -> None:
    request = 4 + 1 + len(NAME) + 2
    choice, reply = r"printf '\5\0'", r"printf '\5\0\0\1\0\0\0\0\0\0'"
    script = f"head -c 3 >/dev/null; {choice}; head -c {request} >/dev/null; sleep 1.3; {reply}; echo hello"
    slow = shell_proxy(9103, script)
    with web.capture(slow.port) as path:
        proxy = ("--proxy", str(slow), "--proxy-type", "socks5", "--proxy-dns", "remote")
        web.run("ncat", "--recv-only", *proxy, NAME, "80", status=None)
    record, found = told(path, slow)
    (late,) = (finding for finding in found if finding.code == "slow-request")
    assert record.timing.request is not None
    assert record.timing.request > 1.2
    assert late.sentence == f"The proxy took {record.timing.request:.1f} s to answer the request"


def test_all_is_well(web: Lab, microsocks: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with web.capture(microsocks.port) as path:
        curl(web, "--socks5-hostname", str(microsocks), f"http://{NAME}:{HTTP_PORT}/", status=0)
    assert told(path, microsocks)[1] == []
    assert main(["explain", str(path), "1"]) == 0
    assert capsys.readouterr().out.endswith("Nothing is wrong with it.\n")


def test_a_whole_capture_by_causes(web: Lab, microsocks: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with web.capture(microsocks.port) as path:
        for _ in range(3):
            curl(web, "--socks5", str(microsocks), CLOSED)
        curl(web, "--socks5", str(microsocks), "http://203.0.113.1/")
        for _ in range(2):
            curl(web, "--socks5", str(microsocks), OPEN, status=0)
    assert main(["explain", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("6 conversations: 2 succeeded, 4 did not\n")
    assert shown.index("3  error: The proxy refused") < shown.index("1  error: The proxy refused")
    assert shown.endswith("2 succeeded with nothing to say about them\n")
    assert main(["stats", str(path)]) == 0
    assert f"Proxy {microsocks}: 6 conversations" in capsys.readouterr().out
    failing = ["read", str(path), "--quiet", "--fail-if", f"reply == 5 and destination in {TARGET}/32"]
    assert main(failing) == 9
    assert ": 1, 2, 3" in capsys.readouterr().err
