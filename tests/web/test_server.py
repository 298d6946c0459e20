"""Who gets an answer from the live page's server, and what every answer says."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from socks5sniff.errors import OutputError
from socks5sniff.web import Publisher, Server

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(Publisher(), "127.0.0.1", 0)
    made.start()
    yield made
    made.stop()


def port_of(server: Server) -> int:
    return int(server.url.split(":")[2].split("/")[0])


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def cookie_of(server: Server) -> str:
    return ask(server, f"/?token={server.token}")[1]["set-cookie"].split(";")[0]


def test_the_printed_address_gives_the_page_and_a_cookie(server: Server) -> None:
    status, headers, body = ask(server, "/" + server.url.split("/")[3])
    assert status == 200
    assert b"<!doctype html>" in body
    assert headers["set-cookie"] == f"socks5sniff-{port_of(server)}={server.token}; Path=/; HttpOnly; SameSite=Strict"
    assert server.token.encode() not in body


def test_the_cookie_is_enough_from_then_on(server: Server) -> None:
    assert ask(server, "/", Cookie=cookie_of(server))[0] == 200


def test_the_token_has_128_bits_and_is_another_one_each_time(server: Server) -> None:
    other = Server(Publisher(), "127.0.0.1", 0)
    assert len(server.token) == 22
    assert server.token != other.token
    other.stop()


@pytest.mark.parametrize("path", ["/", "/events", "/?token=", "/?token=wrong", "/events?token=x", "/nothing"])
def test_without_the_token_nothing_is_told(server: Server, path: str) -> None:
    status, headers, body = ask(server, path)
    assert status == 403
    assert "set-cookie" not in headers
    assert body == b"open the address that socks5sniff has printed, with its token\n"


@pytest.mark.parametrize(
    "cookie", ["", "socks5sniff-1=x", "=;=", "socks5sniff-{port}=", "socks5sniff-{port}=\xff", 'a="']
)
def test_a_wrong_cookie_is_none(server: Server, cookie: str) -> None:
    assert ask(server, "/events", Cookie=cookie.format(port=port_of(server)))[0] == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.test:{port}",
        "[::1",
        "192.0.2.1:{port}",
        "",
    ],
)
def test_a_name_that_is_not_the_server_s_gets_nothing_even_with_the_token(server: Server, host: str) -> None:
    """A page of another site whose name was pointed to 127.0.0.1 (DNS rebinding)."""
    cookie = cookie_of(server)
    status, headers, _ = ask(server, "/", Cookie=cookie, Host=host.format(port=port_of(server)))
    assert status == 421
    assert "set-cookie" not in headers


@pytest.mark.parametrize("host", ["localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "127.0.0.2:{port}"])
def test_loopback_has_several_names(server: Server, host: str) -> None:
    assert ask(server, "/", Cookie=cookie_of(server), Host=host.format(port=port_of(server)))[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_only_get_is_answered(server: Server, method: str) -> None:
    status, headers, _ = ask(server, f"/?token={server.token}", method)
    assert status == 405
    assert headers["allow"] == "GET"
    assert "set-cookie" not in headers


def test_every_answer_carries_what_keeps_it_in_its_place(server: Server) -> None:
    cookie = cookie_of(server)
    for path, given in (("/", cookie), ("/", ""), ("/nothing", cookie)):
        _, headers, _ = ask(server, path, Cookie=given)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "2001:db8::1"])
def test_it_listens_on_loopback_unless_others_are_allowed(host: str) -> None:
    with pytest.raises(OutputError, match="--allow-remote"):
        Server(Publisher(), host, 0)


def test_others_may_be_allowed() -> None:
    made = Server(Publisher(), "0.0.0.0", 0, remote=True)
    made.start()
    status = ask(made, "/", Cookie=cookie_of(made), Host=f"192.0.2.1:{port_of(made)}")[0]
    made.stop()
    assert status == 200


def test_an_address_that_is_taken_is_said(server: Server) -> None:
    with pytest.raises(OutputError, match=f"127.0.0.1:{port_of(server)}: Address already in use"):
        Server(Publisher(), "127.0.0.1", port_of(server))
    with pytest.raises(OutputError, match="not an IP address"):
        Server(Publisher(), "nowhere.test", 0)


def test_nobody_is_answered_before_it_starts() -> None:
    made = Server(Publisher(), "127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError):
        ask(made, "/")
    made.stop()


def test_nothing_is_imported_once_it_is_made() -> None:
    """Rights are given up in between, and with them perhaps the way to the packages."""
    made = Server(Publisher(), "127.0.0.1", 0)
    before = set(sys.modules)
    made.start()
    stream = open_stream(made)
    stream.close()
    ask(made, "/", "POST")
    made.stop()
    assert {
        name for name in set(sys.modules) - before if name.partition(".")[0] in ("starlette", "uvicorn", "anyio")
    } == set()


def open_stream(server: Server) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    connection.request("GET", "/events", headers={"Cookie": cookie_of(server)})
    answer = connection.getresponse()
    assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
    assert answer.readline() == b": welcome\n"
    return answer


def test_it_stops_at_once_while_streams_are_open() -> None:
    before = threading.active_count()
    made = Server(Publisher(), "127.0.0.1", 0)
    made.start()
    streams = [open_stream(made) for _ in range(3)]
    begin = time.monotonic()
    made.stop()
    assert time.monotonic() - begin < 8
    assert all(stream.read().endswith(b"event: end\ndata: {}\n\n") for stream in streams)
    assert threading.active_count() == before


def test_a_browser_that_reads_nothing_holds_nobody_up() -> None:
    publisher = Publisher(kept=1_000_000)
    made = Server(publisher, "127.0.0.1", 0)
    made.start()
    stalled, reading = open_stream(made), open_stream(made)
    record = {"id": 1, "username": "x" * 10_000}
    for _ in range(2000):
        publisher.publish([record], [], {})
    publisher.publish([{"id": 2}], [], {})
    while b'"id":2' not in reading.readline():
        pass
    assert publisher._size < 1_100_000
    stalled.close()
    made.stop()
