"""What foreign proxies answer: BIND, UDP ASSOCIATE, refusals, Tor's own codes. The client here is a plain socket."""

from __future__ import annotations

import json
import re

import pytest

from socks5sniff.record import ReplyCode, Target, Traffic, UdpDestination, UdpTraffic

from .conftest import Server, need
from .lab import CLOSED_PORT, ECHO_PORT, HTTP_PORT, NAME, NAME_IPV6, PROXY, TARGET, Lab
from .reading import check, codes, conversation
from .targets import BODY

# Each script writes its octets by hand and prints as JSON what it saw: that is the truth of its test.
_CONNECT = """
import json, socket, sys
proxy, port = sys.argv[1], int(sys.argv[2])

def address(octets):
    return socket.inet_ntop(socket.AF_INET, octets[4:8]), int.from_bytes(octets[8:10], "big")

def exactly(connection, count):
    octets = b""
    while len(octets) < count:
        more = connection.recv(count - len(octets))
        assert more, octets
        octets += more
    return octets

control = socket.create_connection((proxy, port), 10)
control.sendall(b"\\5\\1\\0")
assert exactly(control, 2) == b"\\5\\0"
"""

_BIND = (
    _CONNECT
    + """
control.sendall(b"\\5\\2\\0\\1" + socket.inet_aton(sys.argv[3]) + b"\\0\\0")
first = exactly(control, 10)
caller = socket.create_connection(address(first), 10)
second = exactly(control, 10)
caller.sendall(b"called back")
assert exactly(control, 11) == b"called back"
control.sendall(b"answer")
assert exactly(caller, 6) == b"answer"
print(json.dumps({"bound": address(first), "peer": address(second), "caller": caller.getsockname()}))
caller.close()
control.close()
"""
)

_SOCKS4_BIND = """
import json, socket, sys
control = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
control.sendall(b"\\4\\2\\0\\0" + socket.inet_aton(sys.argv[3]) + b"carol\\0")
first = control.recv(8)
bound = socket.inet_ntoa(first[4:8]), int.from_bytes(first[2:4], "big")
caller = socket.create_connection(bound, 10)
second = control.recv(8)
peer = socket.inet_ntoa(second[4:8]), int.from_bytes(second[2:4], "big")
caller.sendall(b"x")
assert control.recv(1) == b"x"
print(json.dumps({"codes": [first[1], second[1]], "bound": bound, "peer": peer}))
caller.close()
control.close()
"""

_UDP = (
    _CONNECT
    + """
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind((proxy, 0))
datagrams.settimeout(10)
own = datagrams.getsockname() if sys.argv[3] == "declared" else ("0.0.0.0", 0)
control.sendall(b"\\5\\3\\0\\1" + socket.inet_aton(own[0]) + own[1].to_bytes(2, "big"))
relay = address(exactly(control, 10))
for host, port, size in json.loads(sys.argv[4]):
    header = b"\\0\\0\\0\\1" + socket.inet_aton(host) + port.to_bytes(2, "big")
    datagrams.sendto(header + b"d" * size, relay)
    octets = datagrams.recv(65536)
    assert octets == header + b"d" * size, octets[:10]
print(json.dumps({"relay": relay, "declared": own}))
control.close()
"""
)

_REQUEST = (
    _CONNECT
    + """
control.sendall(bytes.fromhex(sys.argv[3]))
answer = control.recv(300)
print(json.dumps({"code": answer[1]}))
while control.recv(1000):
    pass
"""
)


def run(lab: Lab, server: Server, script: str, *arguments: str) -> dict[str, object]:
    """What the script saw."""
    seen: dict[str, object] = json.loads(lab.python(script, server.address, str(server.port), *arguments))
    return seen


def target(address: object) -> Target:
    assert isinstance(address, list)
    return Target("ipv4", address[0], address[1])


def test_dante_bind(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        seen = run(web, danted, _BIND, PROXY)
    record = conversation(path, danted.port)
    check(
        record,
        phase="relay",
        outcome="succeeded",
        command="bind",
        destination=Target("ipv4", PROXY, 0),
        reply=ReplyCode(0, "succeeded"),
        bound=target(seen["bound"]),
        peer_reply=ReplyCode(0, "succeeded"),
        peer=target(seen["peer"]),
        bytes=Traffic(len(b"answer"), len(b"called back")),
    )
    assert seen["peer"] == seen["caller"]
    assert [frame.type for frame in record.frames] == ["greeting", "method-selection", "request", "reply", "reply"]


def test_dante_socks4_bind(web: Lab, danted: Server) -> None:
    with web.capture(danted.port) as path:
        seen = run(web, danted, _SOCKS4_BIND, PROXY)
    assert seen["codes"] == [90, 90]
    check(
        conversation(path, danted.port),
        protocol="socks4",
        outcome="succeeded",
        username="carol",
        command="bind",
        reply=ReplyCode(90, "request granted"),
        bound=target(seen["bound"]),
        peer_reply=ReplyCode(90, "request granted"),
        peer=target(seen["peer"]),
        bytes=Traffic(0, 1),
    )


@pytest.mark.parametrize("declared", ["declared", "zeros"])
def test_dante_udp_associate(web: Lab, danted: Server, declared: str) -> None:
    sizes = [(TARGET, ECHO_PORT, 10), ("127.0.0.1", ECHO_PORT, 1000), (TARGET, ECHO_PORT, 1)]
    with web.capture(danted.port) as path:
        seen = run(web, danted, _UDP, declared, json.dumps(sizes))
    record = conversation(path, danted.port)
    check(
        record,
        phase="relay",
        outcome="succeeded",
        command="udp-associate",
        destination=target(seen["declared"]),
        bound=target(seen["relay"]),
        bytes=None,
    )
    assert record.udp is not None
    assert record.udp._replace(destinations=[]) == UdpTraffic(3, 3, 1011, 1011, 0, [])
    assert sorted(record.udp.destinations) == [
        UdpDestination(TARGET, ECHO_PORT, 2, 2),
        UdpDestination("127.0.0.1", ECHO_PORT, 1, 1),
    ]
    assert "udp-unassociated" not in codes(record)


def test_dante_forbids(web: Lab, danted: Server) -> None:
    """A port that its rules block."""
    with web.capture(danted.port) as path:
        seen = run(web, danted, _REQUEST, "05010001" + "0a420002" + "0019")
    assert seen == {"code": 2}
    check(
        conversation(path, danted.port),
        phase="request",
        outcome="rejected",
        destination=Target("ipv4", TARGET, 25),
        reply=ReplyCode(2, "connection not allowed by ruleset"),
    )


def test_microsocks_does_not_know_a_command(web: Lab, microsocks: Server) -> None:
    with web.capture(microsocks.port) as path:
        seen = run(web, microsocks, _REQUEST, "05990001" + "0a420002" + "1f40")
    assert seen == {"code": 7}
    record = conversation(path, microsocks.port)
    check(
        record,
        outcome="rejected",
        command="unknown-0x99",
        destination=Target("ipv4", TARGET, HTTP_PORT),
        reply=ReplyCode(7, "command not supported"),
    )
    assert "unknown-command" in codes(record)


def test_dante_names_its_refusal(web: Lab, danted: Server) -> None:
    """Dante answers with the name it was asked for when it cannot resolve it: a reply with a domain in it."""
    with web.capture(danted.port) as path:
        name = b"nowhere.test"
        seen = run(web, danted, _REQUEST, (b"\5\1\0\3" + bytes([len(name)]) + name + b"\0\x50").hex())
    record = conversation(path, danted.port)
    assert record.reply is not None
    assert record.reply.code == seen["code"]
    check(record, outcome="rejected", destination=Target("domain", "nowhere.test", 80))
    assert record.bound is not None
    assert record.bound.type == "domain"


@pytest.mark.parametrize(
    ("option", "host", "destination"),
    [
        ("--socks5", TARGET, Target("ipv4", TARGET, HTTP_PORT)),
        ("--socks5-hostname", NAME, Target("domain", NAME, HTTP_PORT)),
        ("--socks5-hostname", NAME_IPV6, Target("domain", NAME_IPV6, HTTP_PORT)),
        ("--socks4", TARGET, Target("ipv4", TARGET, HTTP_PORT)),
    ],
)
def test_ssh_dynamic(web: Lab, ssh_dynamic: Server, option: str, host: str, destination: Target) -> None:
    need("curl")
    with web.capture(ssh_dynamic.port) as path:
        assert web.run("curl", "-sS", option, str(ssh_dynamic), f"http://{host}:{HTTP_PORT}/") == BODY
    check(
        conversation(path, ssh_dynamic.port),
        protocol=option[2:8],
        outcome="succeeded",
        command="connect",
        destination=destination,
    )


def test_ssh_dynamic_is_refused(web: Lab, ssh_dynamic: Server) -> None:
    """ssh closes without an answer when the far end refuses."""
    need("curl")
    with web.capture(ssh_dynamic.port) as path:
        url = f"http://{TARGET}:{CLOSED_PORT}/"
        web.run("curl", "-sS", "--socks5", str(ssh_dynamic), url, status=97)
    check(
        conversation(path, ssh_dynamic.port),
        phase="request",
        outcome="incomplete",
        destination=Target("ipv4", TARGET, CLOSED_PORT),
        reply=None,
    )


def test_tor_gives_up(web: Lab, tor: Server) -> None:
    need("curl")
    with web.capture(tor.port) as path:
        url = "http://example.test/"
        said = web.run("curl", "-sS", "--stderr", "-", "--socks5-hostname", str(tor), url, status=97)
    record = conversation(path, tor.port)
    # Without a route Tor says the one or the other, as its own time-outs fall; curl tells which it was.
    heard = re.search(rb"\(([16])\)", said)
    assert heard is not None, said
    check(
        record,
        phase="request",
        outcome="rejected",
        command="connect",
        destination=Target("domain", "example.test", 80),
        reply={b"1": ReplyCode(1, "general SOCKS server failure"), b"6": ReplyCode(6, "TTL expired")}[heard[1]],
        name_resolution="remote",
    )
    assert record.timing.request is not None
    assert 0 < record.timing.request < 10


def test_tor_isolates_by_user_name(web: Lab, tor: Server) -> None:
    """Tor takes any user name, and keeps streams of different ones apart."""
    need("curl")
    with web.capture(tor.port) as path:
        user = ("--proxy-user", "isolated:stream")
        web.run("curl", "-sS", *user, "--socks5-hostname", str(tor), "http://example.test/", status=97)
    check(conversation(path, tor.port), method="username-password", username="isolated", authenticated=True)


def test_tor_on_an_onion_address_that_is_none(web: Lab, tor: Server) -> None:
    need("curl")
    host = "a" * 56 + ".onion"
    with web.capture(tor.port) as path:
        web.run("curl", "-sS", "--socks5-hostname", str(tor), f"http://{host}/", status=97)
    check(
        conversation(path, tor.port),
        outcome="rejected",
        destination=Target("domain", host, 80),
        reply=ReplyCode(0xF6, "invalid onion address"),
    )


@pytest.mark.parametrize(
    ("option", "protocol", "reply"),
    [
        ("-5", "socks5", ReplyCode(4, "host unreachable")),
        ("-4", "socks4a", ReplyCode(91, "request rejected or failed")),
    ],
)
def test_tor_cannot_resolve(web: Lab, tor: Server, option: str, protocol: str, reply: ReplyCode) -> None:
    """Over SOCKS5 it refuses with a reply of ten octets whose address type is 0; its code can be read all the same."""
    need("tor-resolve")
    with web.capture(tor.port) as path:
        web.run("tor-resolve", option, "name.test", str(tor), status=1)
    record = conversation(path, tor.port)
    check(
        record,
        protocol=protocol,
        phase="request",
        outcome="rejected",
        command="resolve",
        destination=Target("domain", "name.test", 0),
        reply=reply,
        tunnel=None,
        bytes=None,
    )
    assert ("unknown-address-type" in codes(record)) == (option == "-5")


def test_tor_resolves_an_address(web: Lab, tor: Server) -> None:
    """The answer is in the reply, and nothing is relayed."""
    with web.capture(tor.port) as path:
        seen = run(web, tor, _REQUEST, "05f00003" + "09" + b"10.66.0.2".hex() + "0000")
    assert seen == {"code": 0}
    record = conversation(path, tor.port)
    check(record, command="resolve", outcome="succeeded", reply=ReplyCode(0, "succeeded"), bytes=None, tunnel=None)
    assert record.bound is not None
    assert record.bound[:2] == ("ipv4", TARGET)
    assert "domain-is-ip-literal" in codes(record)


def test_tor_cannot_resolve_an_address_back(web: Lab, tor: Server) -> None:
    need("tor-resolve")
    with web.capture(tor.port) as path:
        web.run("tor-resolve", "-x", TARGET, str(tor), status=1)
    check(
        conversation(path, tor.port),
        command="resolve-ptr",
        outcome="rejected",
        destination=Target("ipv4", TARGET, 0),
        reply=ReplyCode(4, "host unreachable"),
    )


def test_http_to_tors_socks_port(web: Lab, tor: Server) -> None:
    """A browser's HTTP proxy setting with a SOCKS port in it."""
    need("curl")
    with web.capture(tor.port) as path:
        web.run("curl", "-sS", "--proxy", f"http://{tor}", "http://example.test/", status=None)
    record = conversation(path, tor.port)
    check(record, protocol=None, command=None, destination=None, reply=None, tunnel=None, bytes=None)
    foreign = [anomaly for anomaly in record.anomalies if anomaly.code == "not-socks-on-socks-port"]
    assert len(foreign) == 1
    assert "HTTP" in foreign[0].message
