"""The live page in a real browser: news arrive, a pause and a lost connection lose nothing, the end is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from socks5sniff.analysis import Attempt, Bypass
from socks5sniff.record import Endpoint
from socks5sniff.web import Publisher, Server

from ..live.lab import HTTP_PORT, PROXY_PORT, LiveLab, need
from ..report.made_up import conversations
from .chromium import Browser, Tab
from .test_report_page import HOSTILE, beside, column, text

RECORDS = [c.as_dict() for c in conversations(400)]
_ATTEMPT = Attempt(Endpoint("192.0.2.10", 5), Endpoint("192.0.2.1", 1080), "refused", 1_795_336_741_123456789, 77)
_PAST = Bypass(
    *(Endpoint("192.0.2.10", 5), Endpoint("203.0.113.9", 443), "udp", "www.example", 5, 6_000_000, 1234),
    *(1_795_336_741_000000000, 1_795_336_742_000000000, {"pid": 8, "name": "curl"}),
)
BESIDES = {
    "attempts": [_ATTEMPT.as_dict()],
    "all attempts": 1,
    "bypasses": [_PAST.as_dict()] * 200,
    "all bypasses": 1500,
}


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def server(publisher: Publisher) -> Iterator[Server]:
    made = Server(publisher, "127.0.0.1", 0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def page(server: Server, tab: Tab) -> Tab:
    tab.open(server.url)
    tab.ready()
    tab.wait("document.querySelector('.state.connected')?.textContent")
    return tab


def rows(tab: Tab, count: int) -> None:
    """Wait until the page has so many conversations."""
    tab.wait(f"document.querySelector('.note')?.textContent.startsWith('{count:,} of {count:,} ')")


def cut(server: Server) -> None:
    """End all connections as a network does that goes away."""
    loop = server._server.servers[0].get_loop()
    for connection in list(server._server.server_state.connections):
        loop.call_soon_threadsafe(connection.transport.abort)


def health(**figures: int) -> dict[str, int]:
    return {"packets": 1000, "dropped": 0, "open": 0, **figures}


def test_conversations_arrive_newest_first_and_figures_follow(page: Tab, publisher: Publisher) -> None:
    publisher.publish(RECORDS[:100], [], health())
    publisher.publish(RECORDS[100:150], [], health(packets=4321, dropped=7))
    rows(page, 150)
    assert column(page, "#")[:3] == ["150", "149", "148"]
    page.wait("document.querySelector('.card b').textContent === '150'")
    page.wait("document.querySelector('.stream').textContent.includes('4,321 packets, 7 dropped')")
    assert page.complaints == []


def test_the_token_leaves_the_address(page: Tab, server: Server) -> None:
    assert page.evaluate("location.href") == server.url.split("?")[0]
    assert page.evaluate("document.cookie") == ""
    page.call("Page.reload")
    page.ready()
    page.wait("document.querySelector('.state.connected')?.textContent")


def test_what_was_before_is_there_too(server: Server, publisher: Publisher, tab: Tab) -> None:
    publisher.publish(RECORDS[:50], [], health())
    tab.open(server.url)
    rows(tab, 50)


def test_a_filter_goes_on_while_conversations_arrive(page: Tab, publisher: Publisher) -> None:
    publisher.publish(RECORDS[:100], [], health())
    rows(page, 100)
    page.search("outcome != succeeded")
    publisher.publish(RECORDS[100:], [], health())
    failed = sum(record["outcome"] != "succeeded" for record in RECORDS)
    page.wait(f"document.querySelector('.note')?.textContent.startsWith('{failed} of 400 ')")
    assert column(page, "result")[0] != "succeeded"


def test_a_live_conversation_has_its_ladder(page: Tab, publisher: Publisher) -> None:
    publisher.publish(RECORDS[:1], [], health())
    rows(page, 1)
    page.evaluate("document.querySelector('.body .row').click()")
    frames = page.evaluate("[...document.querySelectorAll('.ladder .no')].map(each => +each.textContent)")
    assert frames == [
        RECORDS[0]["first_frame"],
        *[frame["frame"] for frame in RECORDS[0]["frames"]],
        RECORDS[0]["last_frame"],
    ]


def test_open_conversations_have_rates(page: Tab, publisher: Publisher) -> None:
    def opened(octets: int) -> list[dict[str, Any]]:
        return [{**RECORDS[n], "bytes": {"sent": octets * n, "received": 0}, "outcome": "succeeded"} for n in range(3)]

    begin = time.monotonic()
    publisher.publish([], opened(0), health(open=1234))
    page.wait("document.querySelectorAll('.opened tbody tr').length === 3")
    assert "1,234 open, the busiest 3 are shown" in text(page, ".opened h2")
    time.sleep(1.1)
    publisher.publish([], opened(1_000_000), health(open=3))
    page.wait("document.querySelector('.opened tbody td:nth-child(8)').textContent.includes('B') &&"
              " document.querySelector('.opened tbody td:nth-child(8)').textContent !== '0 B'")  # fmt: skip
    assert page.evaluate("document.querySelector('.opened tbody td').textContent") == "3"
    took = time.monotonic() - begin
    rate = page.evaluate("document.querySelector('.opened tbody td:nth-child(8)').textContent")
    assert float(rate.split()[0]) * {"MB": 1e6, "kB": 1e3}[rate.split()[1]] >= 2_000_000 / (took + 1)


def choose(tab: Tab, box: int, value: str) -> None:
    tab.evaluate(
        f"(() => {{ const box = document.querySelectorAll('.controls select')[{box}]; box.value = '{value}';"
        " box.dispatchEvent(new Event('change')); })()"
    )


def cells(tab: Tab, name: str) -> list[str]:
    found: list[str] = tab.evaluate(f"[...document.querySelectorAll('.{name} tbody tr')].map(row => row.innerText)")
    return ["|".join(row.split("\t")) for row in found]


def test_attempts_and_bypasses_arrive(page: Tab, publisher: Publisher, server: Server) -> None:
    """They are a state, not a stream: whoever was away has them when the connection is there again."""
    assert page.evaluate("document.querySelectorAll('.attempts *, .bypasses *').length") == 0
    publisher.publish([], [], health(), BESIDES)
    page.wait("document.querySelectorAll('.bypasses tbody tr').length === 200")
    assert cells(page, "attempts") == ["2026-11-22 08:39:01.123|refused|192.0.2.10:5|192.0.2.1:1080|77"]
    last = "2026-11-22 08:39:01.000|192.0.2.10:5|curl[8]|203.0.113.9:443|udp|www.example|5 B|6.00 MB|1,234"
    assert cells(page, "bypasses")[199] == last
    assert text(page, ".bypasses h2") == "What went around the proxy" + "1,500 in all, the newest 200 are listed"
    page.evaluate("document.querySelector('.bypasses .scroll').scrollTop = 700")
    cut(server)
    page.wait("document.querySelector('.state.lost')?.textContent")
    publisher.publish([], [], health(), {**BESIDES, "all bypasses": 1501})
    page.wait("document.querySelector('.bypasses h2').textContent.includes('1,501')")
    assert page.evaluate("document.querySelector('.bypasses .scroll').scrollTop") == 700, "who reads is left in peace"
    choose(page, 1, "zh")
    assert text(page, ".bypasses h2").startswith("绕过代理的流量" + "共 1,501 个")
    heads = "[...document.querySelectorAll('.bypasses th')].map(head => head.textContent).join(' ')"
    assert page.evaluate(heads) == "开始 客户端 进程 目标 传输协议 名称 发送 接收 数据包"


def test_a_pause_loses_nothing(page: Tab, publisher: Publisher) -> None:
    publisher.publish(RECORDS[:10], [], health())
    rows(page, 10)
    page.evaluate("document.querySelector('.stream button').click()")
    page.wait("document.querySelector('.state.paused')?.textContent")
    publisher.publish(RECORDS[10:60], [], health())
    time.sleep(0.8)
    assert text(page, ".note").startswith("10 of 10")
    page.evaluate("document.querySelector('.stream button').click()")
    rows(page, 60)
    assert "missed" not in text(page, ".stream")


def test_a_lost_connection_is_made_again_and_goes_on_where_it_was(
    page: Tab, publisher: Publisher, server: Server
) -> None:
    publisher.publish(RECORDS[:10], [], health())
    rows(page, 10)
    cut(server)
    page.wait("document.querySelector('.state.lost')?.textContent")
    publisher.publish(RECORDS[10:30], [], health())
    rows(page, 30)
    assert column(page, "#")[0] == "30"


def test_what_a_browser_missed_is_told(tab: Tab) -> None:
    publisher = Publisher(kept=20_000)
    server = Server(publisher, "127.0.0.1", 0)
    server.start()
    for record in RECORDS:
        publisher.publish([record], [], health())
    tab.open(server.url)
    tab.wait("document.querySelector('.stream .bad')?.textContent.includes('too slow or away')")
    server.stop()


def test_the_end_of_the_capture_is_told(page: Tab, publisher: Publisher, server: Server) -> None:
    publisher.publish(RECORDS[:5], [], health())
    server.stop()
    page.wait("document.querySelector('.state.ended')?.textContent")
    rows(page, 5)
    assert page.complaints == []


def test_hostile_names_stay_where_they_are(page: Tab, publisher: Publisher) -> None:
    def with_name(name: str, number: int) -> dict[str, Any]:
        record = json.loads(json.dumps(RECORDS[number]))
        record.update(
            username=name, process={"pid": 1, "name": name}, destination={**record["destination"], "host": name}
        )
        record["frames"][0]["summary"] = name
        return record

    good = [n for n, record in enumerate(RECORDS) if record["destination"]]
    hostile = [with_name(name, number) for name, number in zip(HOSTILE, good, strict=False)]
    publisher.publish(hostile, hostile, health(open=len(hostile)), beside(HOSTILE))
    rows(page, len(HOSTILE))
    page.wait("document.querySelectorAll('.opened tbody tr').length > 0")
    page.wait(f"document.querySelectorAll('.bypasses tbody tr').length === {len(HOSTILE)}")
    for number in range(len(HOSTILE)):
        page.evaluate(f"document.querySelectorAll('.body .row')[{number}].click()")
        page.evaluate("document.querySelector('dialog').close()")
    assert page.evaluate("document.querySelectorAll('img, iframe, main i, main b:not(.card b)').length") == 0
    assert page.complaints == []
    assert {url.split("?")[0].rpartition("/")[2] for url in page.requests} <= {"", "events"}


@pytest.mark.timeout(120)
def test_a_capture_feeds_the_page_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    need("chromium", "curl", "nsenter", "unshare", "microsocks")
    lab = LiveLab(tmp_path)
    try:
        lab.run("ip", "address", "add", "198.18.0.9/32", "dev", "lo")
        lab.start("python3", "-m", "http.server", str(HTTP_PORT), "--bind", "0.0.0.0")
        lab.start("microsocks", "-i", "127.0.0.1", "-p", str(PROXY_PORT))
        lab.wait_for_port(PROXY_PORT)
        lab.wait_for_port(HTTP_PORT)
        live = lab.live("-i", "lo", "--web")
        live.wait_for("token=")
        assert "from here on" in live.said.split("open http://")[0]
        url = live.said.split("open ")[1].split()[0]
        with Browser(lab.command([])) as browser:
            tab = browser.tab()
            tab.size(1200, 900)
            tab.open(url)
            tab.ready()
            for _ in range(3):
                lab.curl()
            rows(tab, 3)
            assert column(tab, "destination") == [f"127.0.0.1:{HTTP_PORT}"] * 3
            assert column(tab, "proxy") == [f"127.0.0.1:{PROXY_PORT}"] * 3
            lab.run("curl", "-sS", "--interface", "127.0.0.1", f"http://198.18.0.9:{HTTP_PORT}/")
            lab.run("bash", "-c", f": </dev/tcp/127.0.0.1/{PROXY_PORT}")
            tab.wait("['.attempts td', '.bypasses td'].every(each => document.querySelector(each) !== null)")
            assert cells(tab, "attempts")[0].split("|")[1::2] == ["closed", f"127.0.0.1:{PROXY_PORT}"]
            (bypass,) = cells(tab, "bypasses")
            assert f"|198.18.0.9:{HTTP_PORT}|tcp|198.18.0.9:{HTTP_PORT}|" in bypass
            assert live.stop() == 0
            tab.wait("document.querySelector('.state.ended')?.textContent")
            assert tab.complaints == []
        assert "0 dropped" in live.said
        assert "past the proxy" not in live.out.read_text(), "that is for --bypass"
    finally:
        lab.close()


def test_options_of_web_that_make_no_sense(tmp_path: Path) -> None:
    need("nsenter", "unshare")
    lab = LiveLab(tmp_path)
    try:
        assert "--allow-remote goes with --web" in lab.sniff("live", "--allow-remote", status=2)
        assert "can be reached from other machines" in lab.sniff("live", "--web", "0.0.0.0:0", status=5)
        assert "is not ADDRESS:PORT" in lab.sniff("live", "--web", "127.0.0.1:x", status=2)
    finally:
        lab.close()
