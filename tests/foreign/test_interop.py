"""The bundled proxy with foreign clients, and the bundled client with foreign proxies.

Each conversation works, and reads back right from two captures that know nothing of each other: tcpdump's on the
interface and, for our proxy, the one that it writes itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import socks5sniff
from socks5sniff.record import Conversation, Endpoint, ReplyCode, Target, Traffic

from .conftest import PASSWORD, USERNAME, Server, need
from .lab import CLOSED_PORT, ECHO_PORT, HTTP_PORT, NAME, NAME_IPV6, PROXY, TARGET, TARGET_IPV6, Lab
from .reading import check, conversation
from .targets import BODY

URL = f"http://{TARGET}:{HTTP_PORT}/"
NAMED_URL = f"http://{NAME}:{HTTP_PORT}/"
HELLO = b"hello through the tunnel\n"
ADDRESS_IPV6 = Target("ipv6", TARGET_IPV6, HTTP_PORT)
GRANTED4 = ReplyCode(90, "request granted")
ADDRESS, NAMED = Target("ipv4", TARGET, HTTP_PORT), Target("domain", NAME, HTTP_PORT)


class Ours(NamedTuple):
    """The bundled proxy in the lab, and the capture that it writes."""

    port: int
    trace: Path
    address: str = PROXY

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def start(web: Lab, port: int, *arguments: str) -> Ours:
    trace = web.folder / f"trace-{port}.pcapng"
    listen = ("--listen", f"{PROXY}:{port}", "--allow-remote", "--capture", str(trace))
    web.start(sys.executable, "-m", "socks5sniff", "proxy", *listen, *arguments, log=f"ours-{port}.log")
    web.wait_for_port(port)
    return Ours(port, trace)


@pytest.fixture(scope="module")
def ours(web: Lab) -> Iterator[Ours]:
    """Our proxy without authentication."""
    return start(web, 1090)


@pytest.fixture(scope="module")
def ours_login(web: Lab) -> Ours:
    """Our proxy that wants a user name and a password."""
    return start(web, 1091, "--user", f"{USERNAME}:{PASSWORD}")


SAME = ("protocol", "phase", "outcome", "methods", "method", "username", "authenticated", "command", "destination")
SAME += ("reply", "bound", "peer_reply", "peer", "tunnel", "bytes", "udp", "name_resolution", "client")
"""What both captures must say; who closes first is a race where both ends close."""


def read_twice(path: Path, proxy: Ours) -> Conversation:
    """The record of the only conversation on the wire, after the proxy's own capture has been seen to agree."""
    record = conversation(path, proxy.port)
    deadline = time.monotonic() + 15
    own: list[Conversation] = []
    while not own and time.monotonic() < deadline:
        time.sleep(0.3)  # the proxy writes its packets out a few times a second
        own = [each for each in socks5sniff.read(str(proxy.trace)) if each.client == record.client]
    assert len(own) == 1, "the proxy's own capture does not hold the conversation"
    seen, told = ({name: getattr(each, name) for name in SAME} for each in (record, own[0]))
    assert told == seen
    return record


class TestClientsOfOurProxy:
    @pytest.fixture(autouse=True)
    def _programs(self) -> None:
        need("curl", "ncat")

    @pytest.mark.parametrize(
        ("option", "url", "facts"),
        [
            ("--socks5", URL, {"destination": ADDRESS, "protocol": "socks5"}),
            (
                "--socks5",
                f"http://[{TARGET_IPV6}]:{HTTP_PORT}/",
                {"destination": ADDRESS_IPV6},
            ),
            ("--socks5-hostname", NAMED_URL, {"destination": NAMED, "name_resolution": "remote"}),
            (
                "--socks5-hostname",
                f"http://{NAME_IPV6}:{HTTP_PORT}/",
                {"destination": Target("domain", NAME_IPV6, HTTP_PORT)},
            ),
            (
                "--socks4",
                URL,
                {"destination": ADDRESS, "protocol": "socks4", "reply": GRANTED4},
            ),
            ("--socks4a", NAMED_URL, {"destination": NAMED, "protocol": "socks4a", "username": None}),
        ],
    )
    def test_curl(self, web: Lab, ours: Ours, option: str, url: str, facts: dict[str, object]) -> None:
        with web.capture(ours.port) as path:
            assert web.run("curl", "-sS", option, str(ours), url) == BODY
        record = read_twice(path, ours)
        check(record, outcome="succeeded", command="connect", **facts)
        assert record.tunnel is not None
        assert record.tunnel.protocol == "http"
        assert record.bytes is not None
        assert record.bytes.received > len(BODY)

    @pytest.mark.parametrize(("option", "protocol"), [("--socks4", "socks4"), ("--socks4a", "socks4a")])
    def test_curl_with_a_user_id(self, web: Lab, ours: Ours, option: str, protocol: str) -> None:
        with web.capture(ours.port) as path:
            assert web.run("curl", "-sS", option, str(ours), "--proxy-user", "carol:", URL) == BODY
        check(read_twice(path, ours), protocol=protocol, username="carol", outcome="succeeded")

    @pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
    def test_curl_logs_in(self, web: Lab, ours_login: Ours, option: str) -> None:
        with web.capture(ours_login.port) as path:
            login = ("--proxy-user", f"{USERNAME}:{PASSWORD}")
            assert web.run("curl", "-sS", option, str(ours_login), *login, NAMED_URL) == BODY
        check(read_twice(path, ours_login), method="username-password", username=USERNAME, authenticated=True)

    @pytest.mark.parametrize(
        ("login", "outcome"), [(("--proxy-user", f"{USERNAME}:wrong"), "auth-failed"), ((), "no-acceptable-method")]
    )
    def test_curl_is_not_let_in(self, web: Lab, ours_login: Ours, login: tuple[str, ...], outcome: str) -> None:
        with web.capture(ours_login.port) as path:
            web.run("curl", "-sS", "--socks5", str(ours_login), *login, URL, status=97)
        check(read_twice(path, ours_login), outcome=outcome, command=None)

    @pytest.mark.parametrize(
        ("option", "reply"),
        [("--socks5", ReplyCode(5, "connection refused")), ("--socks4", ReplyCode(91, "request rejected or failed"))],
    )
    def test_curl_is_refused(self, web: Lab, ours: Ours, option: str, reply: ReplyCode) -> None:
        with web.capture(ours.port) as path:
            web.run("curl", "-sS", option, str(ours), f"http://{TARGET}:{CLOSED_PORT}/", status=97)
        check(read_twice(path, ours), outcome="rejected", reply=reply)

    def test_real_errors_have_their_codes(self, web: Lab, ours: Ours) -> None:
        """The lab has no route to the world: the network is unreachable."""
        with web.capture(ours.port) as path:
            web.run("curl", "-sS", "--socks5", str(ours), "http://192.0.2.1/", status=97)
        check(read_twice(path, ours), reply=ReplyCode(3, "network unreachable"))

    @pytest.mark.parametrize(
        ("options", "destination", "protocol"),
        [
            (("--proxy-type", "socks5", TARGET), Target("ipv4", TARGET, ECHO_PORT), "socks5"),
            (("--proxy-type", "socks5", "--proxy-dns", "remote", NAME), Target("domain", NAME, ECHO_PORT), "socks5"),
            (("--proxy-type", "socks4", TARGET), Target("ipv4", TARGET, ECHO_PORT), "socks4"),
            (("--proxy-type", "socks4", "--proxy-dns", "remote", NAME), Target("domain", NAME, ECHO_PORT), "socks4a"),
        ],
    )
    def test_ncat(self, web: Lab, ours: Ours, options: tuple[str, ...], destination: Target, protocol: str) -> None:
        with web.capture(ours.port) as path:
            assert web.run("ncat", "--proxy", str(ours), *options, str(ECHO_PORT), octets=HELLO) == HELLO
        traffic = Traffic(len(HELLO), len(HELLO))
        check(read_twice(path, ours), protocol=protocol, destination=destination, bytes=traffic, outcome="succeeded")

    def test_ncat_logs_in(self, web: Lab, ours_login: Ours) -> None:
        with web.capture(ours_login.port) as path:
            proxy = ("--proxy", str(ours_login), "--proxy-type", "socks5", "--proxy-auth", f"{USERNAME}:{PASSWORD}")
            assert web.run("ncat", *proxy, TARGET, str(ECHO_PORT), octets=HELLO) == HELLO
        check(read_twice(path, ours_login), username=USERNAME, authenticated=True, outcome="succeeded")

    def test_ssh_through_ncat(self, web: Lab, ours: Ours, ssh_dynamic: Server) -> None:
        user = str(web.folder / "ssh" / "user")
        through = f"ncat --proxy {ours} --proxy-type socks5 127.0.0.1 2222"
        options = (
            f"ProxyCommand={through}",
            "UserKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=no",
            "BatchMode=yes",
        )
        listed = [argument for option in options for argument in ("-o", option)]
        with web.capture(ours.port) as path:
            assert web.run("ssh", "-F", "none", "-i", user, *listed, "root@127.0.0.1", "echo inside") == b"inside\n"
        record = read_twice(path, ours)
        check(record, destination=Target("ipv4", "127.0.0.1", 2222))
        assert record.tunnel is not None
        assert record.tunnel.protocol == "ssh"

    def test_proxychains(self, web: Lab, ours: Ours) -> None:
        need("proxychains4")
        config = web.folder / "proxychains-ours.conf"
        proxies = f"socks5 {ours.address} {ours.port}\n"
        config.write_text(f"strict_chain\nproxy_dns\nquiet_mode\nremote_dns_subnet 224\n[ProxyList]\n{proxies}")
        with web.capture(ours.port) as path:
            assert web.run("proxychains4", "-f", str(config), "curl", "-sS", URL) == BODY
        check(read_twice(path, ours), destination=ADDRESS, outcome="succeeded")

    def test_pysocks(self, web: Lab, ours_login: Ours) -> None:
        pytest.importorskip("socks", reason="PySocks not installed")
        with web.capture(ours_login.port) as path:
            web.python(_PYSOCKS_TCP, str(ours_login.port), USERNAME, PASSWORD, NAME, str(ECHO_PORT))
        facts = {"destination": Target("domain", NAME, ECHO_PORT), "username": USERNAME}
        check(read_twice(path, ours_login), bytes=Traffic(100_000, 100_000), **facts)

    def test_pysocks_datagrams(self, web: Lab, ours: Ours) -> None:
        pytest.importorskip("socks", reason="PySocks not installed")
        with web.capture(ours.port) as path:
            web.python(_PYSOCKS_UDP, str(ours.port), TARGET, str(ECHO_PORT))
        record = read_twice(path, ours)
        check(record, command="udp-associate", outcome="succeeded")
        assert record.udp is not None
        assert record.udp[:5] == (3, 3, 10 + 100 + 1000, 10 + 100 + 1000, 0)

    @pytest.mark.parametrize(("scheme", "protocol"), [("socks5", "socks5"), ("socks4", "socks4a")])
    def test_python_socks(self, web: Lab, ours: Ours, scheme: str, protocol: str) -> None:
        pytest.importorskip("python_socks", reason="python-socks not installed")
        with web.capture(ours.port) as path:
            web.python(_PYTHON_SOCKS, f"{scheme}://{ours}", NAME, str(ECHO_PORT))
        check(read_twice(path, ours), protocol=protocol, bytes=Traffic(5, 5), outcome="succeeded")


_PYSOCKS_TCP = f"""
import sys, socks
port, user, password, host, target = sys.argv[1:]
s = socks.socksocket()
s.set_proxy(socks.SOCKS5, "{PROXY}", int(port), rdns=True, username=user, password=password)
s.settimeout(10)
s.connect((host, int(target)))
s.sendall(b"x" * 100000)
got = 0
while got < 100000:
    got += len(s.recv(65536))
s.close()
"""

_PYSOCKS_UDP = f"""
import sys, socks, socket
port, host, target = sys.argv[1:]
s = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, "{PROXY}", int(port), rdns=True)
s.settimeout(10)
for size in (10, 100, 1000):
    s.sendto(b"u" * size, (host, int(target)))
    assert s.recvfrom(65536)[0] == b"u" * size
s.close()
"""

_PYTHON_SOCKS = """
import sys
from python_socks.sync import Proxy
s = Proxy.from_url(sys.argv[1], rdns=True).connect(dest_host=sys.argv[2], dest_port=int(sys.argv[3]))
s.sendall(b"hello")
got = b""
while len(got) < 5:
    got += s.recv(100)
s.close()
"""


_OUR_CLIENT = f"""
import asyncio, json, sys
from socks5sniff.client import Client, ClientError

what, host, port, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])

async def connect(client):
    tunnel = await client.connect(options["to"], options["port"])
    tunnel.write(b"0123456789")
    answer = await tunnel.read_exactly(10)
    await tunnel.close()
    return {{"answer": answer.decode(), "bound": [tunnel.bound.text, tunnel.bound.port]}}

async def bind(client):
    binding = await client.bind("{PROXY}", 0)
    reader, writer = await asyncio.open_connection(binding.bound.text, binding.bound.port, local_addr=("{PROXY}", 0))
    tunnel = await binding.accept()
    writer.write(b"called back")
    heard = await tunnel.read_exactly(11)
    tunnel.write(b"answer")
    assert await reader.readexactly(6) == b"answer"
    writer.close()
    await tunnel.close()
    return {{"answer": heard.decode(), "bound": [binding.bound.text, binding.bound.port],
             "peer": [tunnel.bound.text, tunnel.bound.port]}}

async def associate(client):
    association = await client.associate()
    got = 0
    for size in (10, 100, 1000):
        association.send(b"u" * size, options["to"], options["port"])
        got += len((await association.receive()).data)
    await association.close()
    return {{"answer": got, "bound": [association.bound.text, association.bound.port]}}

async def resolve(client):
    return {{"answer": (await client.resolve(options["to"])).text}}

async def resolve_ptr(client):
    return {{"answer": (await client.resolve_ptr(options["to"])).text}}

async def main():
    client = Client(host, port, version=options.get("version", "5"), username=options.get("user"),
                    password=options.get("password", ""), timeout=15)
    try:
        return await globals()[what](client)
    except ClientError as error:
        return {{"error": type(error).__name__, "code": getattr(error, "code", None)}}

print(json.dumps(asyncio.run(main())))
"""


def ask(web: Lab, server: Server, what: str, **options: object) -> dict[str, object]:
    """What our client got from a proxy."""
    printed = web.python(_OUR_CLIENT, what, server.address, str(server.port), json.dumps(options))
    answer: dict[str, object] = json.loads(printed)
    return answer


class TestOurClient:
    @pytest.mark.parametrize(
        ("proxy", "version", "to", "protocol"),
        [
            ("microsocks", "5", TARGET, "socks5"),
            ("microsocks", "5", NAME, "socks5"),
            ("microsocks", "5", TARGET_IPV6, "socks5"),
            ("danted", "5", TARGET, "socks5"),
            ("danted", "4", TARGET, "socks4"),
            ("ssh_dynamic", "5", NAME, "socks5"),
            ("ssh_dynamic", "4", TARGET, "socks4"),
            ("ssh_dynamic", "4a", NAME, "socks4a"),
        ],
    )
    def test_connect(
        self, web: Lab, proxy: str, version: str, to: str, protocol: str, request: pytest.FixtureRequest
    ) -> None:
        server: Server = request.getfixturevalue(proxy)
        with web.capture(server.port) as path:
            answer = ask(web, server, "connect", version=version, to=to, port=ECHO_PORT)
        assert answer["answer"] == "0123456789"
        record = conversation(path, server.port)
        check(record, protocol=protocol, outcome="succeeded", bytes=Traffic(10, 10), proxy=Endpoint(PROXY, server.port))
        assert record.bound is not None
        assert [record.bound.host, record.bound.port] == answer["bound"]

    @pytest.mark.parametrize(
        ("password", "outcome", "seen"),
        [(PASSWORD, "succeeded", None), ("wrong", "auth-failed", "AuthenticationError")],
    )
    def test_user_and_password(
        self, web: Lab, microsocks_login: Server, password: str, outcome: str, seen: str | None
    ) -> None:
        with web.capture(microsocks_login.port) as path:
            options = {"user": USERNAME, "password": password, "to": TARGET, "port": ECHO_PORT}
            answer = ask(web, microsocks_login, "connect", **options)
        assert answer.get("error") == seen
        check(conversation(path, microsocks_login.port), username=USERNAME, outcome=outcome)

    def test_no_method(self, web: Lab, microsocks_login: Server) -> None:
        with web.capture(microsocks_login.port) as path:
            answer = ask(web, microsocks_login, "connect", to=TARGET, port=ECHO_PORT)
        assert answer["error"] == "NoMethodError"
        check(conversation(path, microsocks_login.port), outcome="no-acceptable-method")

    @pytest.mark.parametrize(("proxy", "port", "code"), [("microsocks", CLOSED_PORT, 5), ("danted", 25, 2)])
    def test_refusal(self, web: Lab, proxy: str, port: int, code: int, request: pytest.FixtureRequest) -> None:
        server: Server = request.getfixturevalue(proxy)
        with web.capture(server.port) as path:
            answer = ask(web, server, "connect", to=TARGET, port=port)
        assert answer == {"error": "RefusedError", "code": code}
        record = conversation(path, server.port)
        assert record.reply is not None
        assert record.reply.code == code

    @pytest.mark.parametrize("version", ["5", "4"])
    def test_bind(self, web: Lab, danted: Server, version: str) -> None:
        with web.capture(danted.port) as path:
            answer = ask(web, danted, "bind", version=version)
        assert answer["answer"] == "called back"
        record = conversation(path, danted.port)
        check(record, command="bind", outcome="succeeded", bytes=Traffic(6, 11))
        assert record.bound is not None
        assert [record.bound.host, record.bound.port] == answer["bound"]
        assert record.peer is not None
        assert [record.peer.host, record.peer.port] == answer["peer"]

    def test_udp_associate(self, web: Lab, danted: Server) -> None:
        with web.capture(danted.port) as path:
            answer = ask(web, danted, "associate", to=TARGET, port=ECHO_PORT)
        assert answer["answer"] == 1110
        record = conversation(path, danted.port)
        check(record, command="udp-associate", outcome="succeeded")
        assert record.udp is not None
        assert record.udp[:5] == (3, 3, 1110, 1110, 0)

    @pytest.mark.parametrize(("version", "code"), [("5", 4), ("4a", 91)])
    def test_tor_resolves_nothing_here(self, web: Lab, tor: Server, version: str, code: int) -> None:
        with web.capture(tor.port) as path:
            answer = ask(web, tor, "resolve", to="name.test", version=version)
        assert answer == {"error": "RefusedError", "code": code}
        check(conversation(path, tor.port), command="resolve", outcome="rejected")

    def test_tor_resolves_what_is_an_address_already(self, web: Lab, tor: Server) -> None:
        with web.capture(tor.port) as path:
            answer = ask(web, tor, "resolve", to=TARGET)
        assert answer == {"answer": TARGET}
        check(conversation(path, tor.port), command="resolve", outcome="succeeded")

    def test_tor_has_no_name_for_an_address(self, web: Lab, tor: Server) -> None:
        with web.capture(tor.port) as path:
            answer = ask(web, tor, "resolve_ptr", to=TARGET)
        assert answer == {"error": "RefusedError", "code": 4}
        check(conversation(path, tor.port), command="resolve-ptr", outcome="rejected")
