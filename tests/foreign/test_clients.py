"""Foreign clients through foreign proxies: what the client was told to do is what the record says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socks5sniff.record import Endpoint, ReplyCode, Target, Traffic

from .conftest import PASSWORD, USERNAME, Server, need
from .lab import CLOSED_PORT, ECHO_PORT, HTTP_PORT, NAME, NAME_IPV6, PROXY, TARGET, TARGET_IPV6, Lab
from .reading import check, codes, conversation, conversations
from .targets import BODY, RESPONSE

URL = f"http://{TARGET}:{HTTP_PORT}/"
NAMED_URL = f"http://{NAME}:{HTTP_PORT}/"
HELLO = b"hello through the tunnel\n"
COULD_NOT_CONNECT = 97  # curl's exit status for a proxy handshake that failed


def curl(lab: Lab, *arguments: str) -> int:
    """Fetch a URL with curl, check the body, and return the octets of the request."""
    measured = lab.folder / "curl-body"
    printed = lab.run("curl", "-sS", "-o", str(measured), "-w", "%{size_request}", *arguments)
    assert measured.read_bytes() == BODY
    return int(printed)


@pytest.fixture(autouse=True, scope="module")
def _curl_is_there() -> None:
    need("curl")


@pytest.mark.parametrize(
    ("option", "url", "destination", "resolution"),
    [
        ("--socks5", URL, Target("ipv4", TARGET, HTTP_PORT), "address"),
        ("--socks5", NAMED_URL, Target("ipv4", TARGET, HTTP_PORT), "address"),
        ("--socks5", f"http://[{TARGET_IPV6}]:{HTTP_PORT}/", Target("ipv6", TARGET_IPV6, HTTP_PORT), "address"),
        ("--socks5-hostname", NAMED_URL, Target("domain", NAME, HTTP_PORT), "remote"),
        ("--socks5-hostname", f"http://{NAME_IPV6}:{HTTP_PORT}/", Target("domain", NAME_IPV6, HTTP_PORT), "remote"),
        ("--socks5-hostname", URL, Target("ipv4", TARGET, HTTP_PORT), "address"),
    ],
)
def test_curl_socks5(web: Lab, microsocks: Server, option: str, url: str, destination: Target, resolution: str) -> None:
    with web.capture(microsocks.port) as path:
        sent = curl(web, option, str(microsocks), url)
    record = conversation(path, microsocks.port)
    check(
        record,
        protocol="socks5",
        proxy=Endpoint(microsocks.address, microsocks.port),
        reversed=False,
        phase="relay",
        outcome="succeeded",
        method="no-authentication",
        username=None,
        password=None,
        authenticated=None,
        command="connect",
        destination=destination,
        reply=ReplyCode(0, "succeeded"),
        bound=Target("ipv4", "0.0.0.0", 0),
        peer_reply=None,
        peer=None,
        bytes=Traffic(sent, len(RESPONSE)),
        udp=None,
        close="fin",
        name_resolution=resolution,
        parent=None,
    )
    assert record.client.address == PROXY
    assert record.methods is not None
    assert "no-authentication" in record.methods
    assert record.tunnel is not None
    assert record.tunnel.protocol == "http"
    assert record.tunnel.server_name is not None
    assert record.tunnel.server_name in url
    assert [(frame.sender, frame.type) for frame in record.frames] == [
        ("client", "greeting"),
        ("proxy", "method-selection"),
        ("client", "request"),
        ("proxy", "reply"),
    ]
    assert record.timing.authentication is None
    for step in ("tcp_handshake", "negotiation", "request", "first_byte"):
        assert 0 < getattr(record.timing, step) < record.duration
    assert not codes(record)


def test_curl_logs_in(web: Lab, microsocks_login: Server) -> None:
    with web.capture(microsocks_login.port) as path:
        user = ("--proxy-user", f"{USERNAME}:{PASSWORD}")
        sent = curl(web, "--socks5-hostname", str(microsocks_login), *user, NAMED_URL)
    record = conversation(path, microsocks_login.port)
    check(
        record,
        outcome="succeeded",
        method="username-password",
        username=USERNAME,
        password="********",
        authenticated=True,
        destination=Target("domain", NAME, HTTP_PORT),
        bytes=Traffic(sent, len(RESPONSE)),
    )
    assert record.timing.authentication is not None
    assert [frame.type for frame in record.frames] == [
        *("greeting", "method-selection", "auth-request", "auth-reply", "request", "reply")
    ]
    assert codes(record) == {"cleartext-credentials"}
    assert PASSWORD not in json.dumps(record.as_dict())


def test_curl_with_a_wrong_password(web: Lab, microsocks_login: Server) -> None:
    with web.capture(microsocks_login.port) as path:
        user = ("--proxy-user", f"{USERNAME}:wrong")
        web.run("curl", "-sS", "--socks5", str(microsocks_login), *user, URL, status=COULD_NOT_CONNECT)
    record = conversation(path, microsocks_login.port)
    check(
        record,
        phase="authentication",
        outcome="auth-failed",
        method="username-password",
        username=USERNAME,
        authenticated=False,
        command=None,
        destination=None,
        reply=None,
        bytes=None,
        tunnel=None,
    )
    assert {"auth-failed", "cleartext-credentials"} <= codes(record)


def test_curl_without_the_password_that_is_wanted(web: Lab, microsocks_login: Server) -> None:
    with web.capture(microsocks_login.port) as path:
        web.run("curl", "-sS", "--socks5", str(microsocks_login), URL, status=COULD_NOT_CONNECT)
    record = conversation(path, microsocks_login.port)
    check(
        record,
        phase="greeting",
        outcome="no-acceptable-method",
        method="no-acceptable-method",
        authenticated=None,
        command=None,
        destination=None,
    )
    assert "no-acceptable-method" in codes(record)


def test_curl_is_refused(web: Lab, microsocks: Server) -> None:
    with web.capture(microsocks.port) as path:
        refused = f"http://{TARGET}:{CLOSED_PORT}/"
        web.run("curl", "-sS", "--socks5", str(microsocks), refused, status=COULD_NOT_CONNECT)
    check(
        conversation(path, microsocks.port),
        phase="request",
        outcome="rejected",
        command="connect",
        destination=Target("ipv4", TARGET, CLOSED_PORT),
        reply=ReplyCode(5, "connection refused"),
        tunnel=None,
        bytes=None,
    )


def test_curl_socks4_through_dante(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        sent = curl(web, "--socks4", str(danted), "--proxy-user", "bob", URL)
    record = conversation(path, danted.port)
    check(
        record,
        protocol="socks4",
        outcome="succeeded",
        methods=None,
        method=None,
        username="bob",
        password=None,
        authenticated=None,
        command="connect",
        destination=Target("ipv4", TARGET, HTTP_PORT),
        reply=ReplyCode(90, "request granted"),
        bytes=Traffic(sent, len(RESPONSE)),
    )
    assert [frame.type for frame in record.frames] == ["request", "reply"]


def test_curl_socks4_is_refused_by_dante(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        refused = f"http://{TARGET}:{CLOSED_PORT}/"
        web.run("curl", "-sS", "--socks4", str(danted), refused, status=COULD_NOT_CONNECT)
    check(
        conversation(path, danted.port),
        protocol="socks4",
        outcome="rejected",
        destination=Target("ipv4", TARGET, CLOSED_PORT),
        reply=ReplyCode(91, "request rejected or failed"),
        tunnel=None,
    )


def test_curl_socks4a(web: Lab, ssh_dynamic: Server) -> None:
    with web.capture(ssh_dynamic.port) as path:
        sent = curl(web, "--socks4a", str(ssh_dynamic), NAMED_URL)
    check(
        conversation(path, ssh_dynamic.port),
        protocol="socks4a",
        outcome="succeeded",
        destination=Target("domain", NAME, HTTP_PORT),
        reply=ReplyCode(90, "request granted"),
        bytes=Traffic(sent, len(RESPONSE)),
        name_resolution="remote",
    )


def test_curl_tls(web: Lab, microsocks: Server) -> None:
    need("openssl")
    key, certificate = (str(web.folder / name) for name in ("tls.key", "tls.crt"))
    subject = ("-subj", f"/CN={NAME}", "-days", "2")
    web.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject)
    web.start("openssl", "s_server", "-accept", "8443", "-www", "-key", key, "-cert", certificate, log="s_server.log")
    web.wait_for_port(8443)
    with web.capture(microsocks.port) as path:
        url = f"https://{NAME}:8443/"
        web.run("curl", "-sS", "--http1.1", "--insecure", "--socks5-hostname", str(microsocks), url)
    record = conversation(path, microsocks.port)
    assert record.tunnel is not None
    assert record.tunnel[:3] == ("tls", NAME, ["http/1.1"])


def test_several_at_once(web: Lab, microsocks: Server) -> None:
    """Twenty conversations at the same time, each to an address of its own."""
    urls = [f"http://n{number}.test:{HTTP_PORT}/" for number in range(20)]
    known = [
        argument
        for number in range(20)
        for argument in ("--resolve", f"n{number}.test:{HTTP_PORT}:127.0.0.{number + 2}")
    ]
    outputs = [argument for url in urls for argument in ("-o", "/dev/null", url)]
    with web.capture(microsocks.port) as path:
        web.run(
            "curl",
            "-sS",
            "--parallel",
            "--parallel-immediate",
            "--socks5",
            str(microsocks),
            *known,
            *outputs,
            status=None,
        )
    records = conversations(path, microsocks.port)
    assert {record.destination for record in records} == {
        Target("ipv4", f"127.0.0.{number + 2}", HTTP_PORT) for number in range(20)
    }
    assert [record.id for record in records] == sorted(record.id for record in records)
    assert {record.outcome for record in records} == {"rejected"}


@pytest.mark.parametrize(
    ("options", "destination", "facts"),
    [
        (["--proxy-type", "socks5", TARGET], Target("ipv4", TARGET, ECHO_PORT), {"protocol": "socks5"}),
        (["--proxy-type", "socks5", "--proxy-dns", "remote", NAME], Target("domain", NAME, ECHO_PORT), {}),
        (["--proxy-type", "socks5", TARGET_IPV6], Target("ipv6", TARGET_IPV6, ECHO_PORT), {}),
        (["--proxy-type", "socks4", TARGET], Target("ipv4", TARGET, ECHO_PORT), {"protocol": "socks4"}),
        (
            ["--proxy-type", "socks4", "--proxy-dns", "remote", NAME],
            Target("domain", NAME, ECHO_PORT),
            {"protocol": "socks4a"},
        ),
    ],
)
def test_ncat(web: Lab, ssh_dynamic: Server, options: list[str], destination: Target, facts: dict[str, object]) -> None:
    need("ncat")
    with web.capture(ssh_dynamic.port) as path:
        assert web.run("ncat", "--proxy", str(ssh_dynamic), *options, str(ECHO_PORT), octets=HELLO) == HELLO
    record = conversation(path, ssh_dynamic.port)
    check(record, outcome="succeeded", command="connect", destination=destination, **facts)
    check(record, bytes=Traffic(len(HELLO), len(HELLO)), close="fin")
    assert record.tunnel is not None
    assert record.tunnel.protocol == "unknown"


def test_ncat_logs_in(web: Lab, microsocks_login: Server) -> None:
    need("ncat")
    with web.capture(microsocks_login.port) as path:
        proxy = ("--proxy", str(microsocks_login), "--proxy-type", "socks5", "--proxy-auth", f"{USERNAME}:{PASSWORD}")
        web.run("ncat", *proxy, "--send-only", TARGET, str(ECHO_PORT), octets=HELLO)
    record = conversation(path, microsocks_login.port)
    check(record, outcome="succeeded", username=USERNAME, authenticated=True)
    assert record.bytes is not None
    assert record.bytes.sent == len(HELLO)


def test_ssh_through_ncat(web: Lab, microsocks: Server, ssh_dynamic: Server) -> None:
    """An SSH session inside SOCKS: the tunnel says so."""
    need("ncat")
    user = str(web.folder / "ssh" / "user")
    through = f"ncat --proxy {microsocks} --proxy-type socks5 127.0.0.1 2222"
    options = (f"ProxyCommand={through}", "UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes")
    with web.capture(microsocks.port) as path:
        listed = [argument for option in options for argument in ("-o", option)]
        assert web.run("ssh", "-F", "none", "-i", user, *listed, "root@127.0.0.1", "echo inside") == b"inside\n"
    record = conversation(path, microsocks.port)
    check(record, outcome="succeeded", destination=Target("ipv4", "127.0.0.1", 2222))
    assert record.tunnel is not None
    assert record.tunnel.protocol == "ssh"
    assert record.tunnel.detail is not None
    assert record.tunnel.detail.startswith("SSH-2.0-")


_PYSOCKS_TCP = """
import sys, socks
kind, proxy, port, host, target, user, password = sys.argv[1:]
s = socks.socksocket()
s.set_proxy(getattr(socks, kind), proxy, int(port), rdns=True, username=user or None, password=password or None)
s.settimeout(10)
s.connect((host, int(target)))
s.sendall(b"x" * 100000)
got = 0
while got < 100000:
    got += len(s.recv(65536))
s.close()
"""


@pytest.mark.parametrize(
    ("kind", "proxy", "user", "facts"),
    [
        ("SOCKS5", "microsocks", "", {"protocol": "socks5", "method": "no-authentication", "username": None}),
        ("SOCKS5", "microsocks_login", USERNAME, {"method": "username-password", "username": USERNAME}),
        ("SOCKS4", "ssh_dynamic", "bob", {"protocol": "socks4a", "username": "bob"}),
    ],
)
def test_pysocks(
    web: Lab, kind: str, proxy: str, user: str, facts: dict[str, object], request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("socks", reason="PySocks not installed")
    server: Server = request.getfixturevalue(proxy)
    password = PASSWORD if kind == "SOCKS5" and user else ""
    with web.capture(server.port) as path:
        web.python(_PYSOCKS_TCP, kind, server.address, str(server.port), NAME, str(ECHO_PORT), user, password)
    record = conversation(path, server.port)
    check(record, outcome="succeeded", destination=Target("domain", NAME, ECHO_PORT), **facts)
    check(record, bytes=Traffic(100000, 100000))


_PYSOCKS_UDP = """
import json, sys, socks, socket
proxy, port, targets = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
s = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, proxy, port, rdns=True)
s.settimeout(10)
for host, target, text in targets:
    s.sendto(text.encode(), (host, target))
    assert s.recvfrom(65536)[0] == text.encode()
s.close()
"""


def test_pysocks_udp_through_dante(web: Lab, danted: Server) -> None:
    pytest.importorskip("socks", reason="PySocks not installed")
    datagrams = [(TARGET, ECHO_PORT, "one"), (TARGET, ECHO_PORT, "three"), ("127.0.0.1", ECHO_PORT, "seven")]
    with web.capture(danted.port) as path:
        web.python(_PYSOCKS_UDP, danted.address, str(danted.port), json.dumps(datagrams))
    _check_datagrams(path, danted, {(TARGET, ECHO_PORT): 2, ("127.0.0.1", ECHO_PORT): 1}, 13)


def _check_datagrams(path: Path, server: Server, destinations: dict[tuple[str, int], int], octets: int) -> None:
    record = conversation(path, server.port)
    check(record, phase="relay", outcome="succeeded", command="udp-associate", bytes=None)
    assert record.udp is not None
    count = sum(destinations.values())
    assert record.udp[:5] == (count, count, octets, octets, 0)
    assert {
        (found.host, found.port): (found.datagrams_sent, found.datagrams_received) for found in record.udp.destinations
    } == {destination: (count, count) for destination, count in destinations.items()}


_PYTHON_SOCKS = """
import sys
from python_socks.sync import Proxy
url, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = Proxy.from_url(url, rdns=True).connect(dest_host=host, dest_port=port)
s.sendall(b"hello")
got = b""
while len(got) < 5:
    got += s.recv(100)
s.close()
"""


@pytest.mark.parametrize(
    ("scheme", "proxy", "facts"),
    [
        ("socks5://", "microsocks", {"protocol": "socks5", "username": None}),
        (f"socks5://{USERNAME}:{PASSWORD}@", "microsocks_login", {"username": USERNAME, "authenticated": True}),
        ("socks4://bob:unused@", "ssh_dynamic", {"protocol": "socks4a", "username": "bob"}),
    ],
)
def test_python_socks(
    web: Lab, scheme: str, proxy: str, facts: dict[str, object], request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("python_socks", reason="python-socks not installed")
    server: Server = request.getfixturevalue(proxy)
    with web.capture(server.port) as path:
        web.python(_PYTHON_SOCKS, f"{scheme}{server}", NAME, str(ECHO_PORT))
    record = conversation(path, server.port)
    check(record, outcome="succeeded", destination=Target("domain", NAME, ECHO_PORT), bytes=Traffic(5, 5), **facts)


def test_proxychains(web: Lab, microsocks: Server, danted: Server) -> None:
    """A chain of two: the first tunnel carries the conversation with the second proxy."""
    need("proxychains4")
    config = web.folder / "proxychains.conf"
    proxies = "".join(f"socks5 {server.address} {server.port}\n" for server in (microsocks, danted))
    config.write_text(f"strict_chain\nproxy_dns\nquiet_mode\nremote_dns_subnet 224\n[ProxyList]\n{proxies}")
    with web.capture(danted.port) as path:
        assert web.run("proxychains4", "-f", str(config), "curl", "-sS", URL) == BODY
    outer = conversation(path, microsocks.port)
    check(outer, outcome="succeeded", destination=Target("ipv4", danted.address, danted.port))
    assert outer.tunnel is not None
    assert outer.tunnel.protocol == "socks5"
    _, inner = conversations(path, microsocks.port)
    check(inner, parent=outer.id, tcp_stream=outer.tcp_stream)
    for record in (inner, conversation(path, danted.port)):
        check(record, outcome="succeeded", destination=Target("ipv4", TARGET, HTTP_PORT))
        assert record.tunnel is not None
        assert record.tunnel.protocol == "http"
        assert record.bytes is not None
        assert record.bytes.received == len(RESPONSE)
