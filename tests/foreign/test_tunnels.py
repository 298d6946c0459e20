"""What real clients send through a tunnel, and what it is called: curl's protocols, ssh, and a Telegram library."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from socks5sniff.record import Tunnel

from ..analysis.test_tunnel_datagrams import OFFERED, ja4_of
from .conftest import Server, need
from .lab import HTTP_PORT, NAME, PROXY, TARGET, Lab
from .reading import conversation


@pytest.fixture(scope="module")
def greeter(web: Lab) -> Iterator[Callable[[int, str], None]]:
    """Starts a server that says something to whoever connects, and then hears what there is."""
    need("curl", "ncat")
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int, text: str) -> None:
        script = f"printf '{text}'; timeout 3 cat >/dev/null"
        started.append(web.start("ncat", "-l", "-k", TARGET, str(port), "--sh-exec", script, log=f"greeter-{port}.log"))
        web.wait_for_port(port)

    yield start
    for process in started:
        web.end(process)


def tunnel(path: Path, server: Server) -> Tunnel:
    found = conversation(path, server.port).tunnel
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("scheme", "port", "greeting", "named"),
    [
        ("smtp", 9201, r"220 mx.test ready\r\n", Tunnel("smtp", detail="220 mx.test ready")),
        ("ftp", 9202, r"220 ready\r\n", Tunnel("ftp", detail="220 ready")),
        ("imap", 9203, r"* OK IMAP4rev1 here\r\n", Tunnel("imap", detail="* OK IMAP4rev1 here")),
        ("pop3", 9204, r"+OK here\r\n", Tunnel("pop3", detail="+OK here")),
    ],
)
def test_curl_after_a_greeting(
    web: Lab,
    microsocks: Server,
    greeter: Callable[[int, str], None],
    scheme: str,
    port: int,
    greeting: str,
    named: Tunnel,
) -> None:
    """The greeting alone would be the same for mail and files: what curl says next tells."""
    greeter(port, greeting)
    with web.capture(microsocks.port) as path:
        url = f"{scheme}://{TARGET}:{port}/"
        web.run("curl", "-sS", "--max-time", "1", "--socks5", str(microsocks), url, status=None)
    assert tunnel(path, microsocks) == named


def test_the_status_of_http(web: Lab, microsocks: Server) -> None:
    need("curl")
    with web.capture(microsocks.port) as path:
        web.run("curl", "-sS", "-o", "/dev/null", "--socks5", str(microsocks), f"http://{TARGET}:{HTTP_PORT}/a?b")
    assert tunnel(path, microsocks) == Tunnel("http", f"{TARGET}:{HTTP_PORT}", None, "GET /a?b HTTP/1.1: 200 OK")


def test_both_banners_of_ssh(web: Lab, microsocks: Server, ssh_dynamic: Server) -> None:
    need("ncat", "ssh")
    through = f"ncat --proxy {microsocks} --proxy-type socks5 127.0.0.1 2222"
    options = (f"ProxyCommand={through}", "UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes")
    with web.capture(microsocks.port) as path:
        listed = [argument for option in options for argument in ("-o", option)]
        user = str(web.folder / "ssh" / "user")
        web.run("ssh", "-F", "none", "-i", user, *listed, "root@127.0.0.1", "true")
    found = tunnel(path, microsocks)
    assert found.protocol == "ssh"
    assert re.fullmatch(r"SSH-2\.0-OpenSSH\S+( .*)?, server SSH-2\.0-OpenSSH.*", str(found.detail))


def test_ja4_of_curl_is_what_tshark_finds(web: Lab, microsocks: Server, greeter: Callable[[int, str], None]) -> None:
    """A server that hears the ClientHello and says nothing; tshark lists what was offered."""
    need("curl", "ncat", "tshark")
    greeter(9205, "")
    with web.capture(microsocks.port) as path:
        named = ("--connect-to", f"{NAME}:9205:{TARGET}:9205")
        command = ("curl", "-sS", "--insecure", "--max-time", "1", *named, "--socks5", str(microsocks))
        web.run(*command, f"https://{NAME}:9205/", status=None)
    asked = [argument for field in OFFERED for argument in ("-e", field)]
    # The proxy's other leg is plain TLS.
    leg = ("-Y", "tls.handshake.type == 1 && tcp.port == 9205", "-d", "tcp.port==9205,tls")
    command = ["tshark", "-r", str(path), *leg, "-T", "fields", "-E", "separator=|", "-E", "occurrence=a", *asked]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    name, *lists, protocols = lines[0].split("|")
    found = tunnel(path, microsocks)
    assert (found.protocol, found.server_name, found.alpn) == ("tls", name, protocols.split(","))
    assert f"JA4 {ja4_of('t13', lists, protocols)}" in str(found.detail)


_TELEGRAM = """
import asyncio, logging, sys
from telethon.network.connection import (
    ConnectionTcpAbridged, ConnectionTcpFull, ConnectionTcpIntermediate, ConnectionTcpObfuscated)
kind, proxy, port, host, target = sys.argv[1:]

class Loggers(dict):
    def __missing__(self, name):
        return logging.getLogger(name)

async def main():
    made = {"abridged": ConnectionTcpAbridged, "full": ConnectionTcpFull,
            "intermediate": ConnectionTcpIntermediate, "obfuscated": ConnectionTcpObfuscated}[kind](
        host, int(target), 2, loggers=Loggers(), proxy=("socks5", proxy, int(port)))
    await made.connect(timeout=5)
    question = (20).to_bytes(4, "little") + bytes.fromhex("f18e7ebe") + b"n" * 16
    await made.send(bytes(8) + b"12345678" + question)
    await asyncio.sleep(0.3)
    await made.disconnect()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("kind", "port", "detail"),
    [
        ("abridged", 9206, "abridged transport"),
        ("full", 9207, "full transport"),
        ("intermediate", 9208, "intermediate transport"),
        ("obfuscated", 9209, "obfuscated abridged transport"),
    ],
)
def test_telegram(
    web: Lab, microsocks: Server, greeter: Callable[[int, str], None], kind: str, port: int, detail: str
) -> None:
    """A Telegram library's transports, to a server that says nothing; the last looks like random octets."""
    pytest.importorskip("telethon", reason="Telethon not installed")
    pytest.importorskip("python_socks", reason="python-socks not installed")
    greeter(port, "")
    with web.capture(microsocks.port) as path:
        web.python(_TELEGRAM, kind, PROXY, str(microsocks.port), TARGET, str(port))
    assert tunnel(path, microsocks) == Tunnel("mtproto", detail=detail)
