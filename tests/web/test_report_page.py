"""The report in a real browser: what it shows, what it does, and that nothing from the wire gets out of its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from socks5sniff.analysis import Attempt, Bypass
from socks5sniff.record import AnomalyEntry, Conversation, Endpoint, ReplyCode, Target, Tunnel

from ..report.made_up import conversations
from ..sinks.samples import START, sample
from .chromium import Browser, Tab

Report = Callable[..., Tab]
HOSTILE = (
    "</script><script>alert(1)</script><img src=http://evil.test/x onerror=alert(2)>",
    "\u202egnp.exe\u2066 bidi",
    "line\r\nbreak\ttab\x00nul\x1b[31mred",
    "quotes\"'`${alert(3)}&amp;<b>bold</b>",
    "javascript:alert(4)",
    "__proto__",
    "😀".encode("utf-16", "surrogatepass").decode("utf-16")[0] + "\ue000\ue003",
)


def rows(tab: Tab) -> list[list[str]]:
    """Texts of the table's rows in sight, in order."""
    return tab.evaluate(
        "[...document.querySelectorAll('.body .row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )


def column(tab: Tab, name: str) -> list[str]:
    heads = tab.evaluate("[...document.querySelectorAll('[role=columnheader]')].map(head => head.textContent)")
    return [row[heads.index(name)] for row in rows(tab)]


def text(tab: Tab, selector: str) -> str:
    return tab.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")


def searched(tab: Tab, words: str) -> str:
    """The line below the search box, after the page has searched."""
    tab.evaluate("document.querySelector('.note').replaceChildren()")
    tab.search(words)
    return tab.wait("document.querySelector('.note').textContent")


def failing() -> list[Conversation]:
    refused = sample(
        id=2, outcome="rejected", reply=ReplyCode(5, "connection refused"), username="bob", tunnel=None,
        destination=Target("ipv6", "2001:db8::7", 8080), start_ns=START + 5_000_000_000, end_ns=START + 5_100_000_000,
        anomalies=[AnomalyEntry("early-data", "note", 8, "data before the reply")],
    )  # fmt: skip
    return [sample(), refused, sample(id=3, outcome="incomplete", phase="greeting", username=None, destination=None)]


def test_it_shows_what_was_read_and_asks_nobody_for_anything(report: Report) -> None:
    tab = report(failing(), fault="office.pcapng: truncated (byte offset 99, frame 7)")
    shown = text(tab, ".what")
    assert "1,234" in shown
    assert "5 packets could not be read" in shown
    assert "truncated (byte offset 99, frame 7)" in shown
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert tab.complaints == []


def test_cards_lists_and_histograms_count(report: Report) -> None:
    tab = report(failing())
    cards = tab.evaluate("[...document.querySelectorAll('.card')].map(card => card.innerText.split('\\n'))")
    assert ["3", "conversations"] in cards
    assert ["1", "succeeded", "33.3 %"] in cards
    entries = tab.evaluate("[...document.querySelectorAll('.list li')].map(entry => entry.innerText.split('\\n'))")
    assert ["[2001:db8::7]:8080", "1", "4.61 kB"] in entries
    steps = tab.evaluate("[...document.querySelectorAll('.steps figcaption')].map(each => each.textContent)")
    assert steps[:2] == ["TCP handshake3 times", "method negotiation3 times"]
    assert tab.evaluate("document.querySelectorAll('.steps canvas').length") == len(steps)


def test_an_entry_of_a_list_filters_and_its_chip_takes_the_filter_away(report: Report) -> None:
    tab = report(failing())
    tab.evaluate("[...document.querySelectorAll('.list button')].find(b => b.title === '[2001:db8::7]:8080').click()")
    assert column(tab, "destination") == ["[2001:db8::7]:8080"]
    assert text(tab, ".note") == "1 of 3 match"
    tab.evaluate("document.querySelector('.chip').click()")
    assert len(rows(tab)) == 3


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_filters_as_any_other(report: Report, name: str) -> None:
    tab = report([sample(username=name), sample(id=2, username="bob")])
    tab.evaluate(
        "[...document.querySelectorAll('.list')].find(l => l.textContent.startsWith('Users'))"
        ".querySelector('li button').click()"
    )
    assert text(tab, ".note") == "1 of 2 match"
    assert tab.complaints == []


def test_a_span_of_time_is_chosen_by_dragging(report: Report) -> None:
    tab = report(failing())
    tab.drag(".u-over", 0.6, 1)
    tab.wait("document.querySelector('.chip') !== null")
    assert column(tab, "#") == ["2"]


def test_every_column_sorts_both_ways_and_nothing_comes_last(report: Report) -> None:
    tab = report(conversations(300))
    heads = tab.evaluate("document.querySelectorAll('[role=columnheader] button').length")
    for index in range(heads):
        click = f"document.querySelectorAll('[role=columnheader] button')[{index}].click()"
        tab.evaluate(click)
        tab.evaluate(click) if index == 0 else None
        up = tab.evaluate("document.querySelector('[aria-sort=ascending],[aria-sort=descending]').ariaSort")
        assert up == "ascending"
        first = [row[index] for row in rows(tab)]
        tab.evaluate(click)
        last = [row[index] for row in rows(tab)]
        assert first[0] != last[0] or len({*first, *last}) == 1, index
    assert tab.complaints == []


def test_destinations_sort_as_people_count(report: Report) -> None:
    hosts = ["10.0.0.10", "10.0.0.9", "b.test", "a.test", "10.0.0.9"]
    targets = [Target("domain", host, port) for host, port in zip(hosts, (1, 80, 1, 1, 443), strict=True)]
    tab = report([sample(id=n, destination=t) for n, t in enumerate([*targets, None], 1)])
    click = "[...document.querySelectorAll('.head button')].find(b => b.textContent === 'destination').click()"
    tab.evaluate(click)
    assert column(tab, "#") == ["2", "5", "1", "4", "3", "6"]
    tab.evaluate(click)
    assert column(tab, "#") == ["3", "4", "1", "5", "2", "6"]


def test_only_rows_in_sight_are_elements(report: Report) -> None:
    tab = report(conversations(5000))
    assert len(rows(tab)) < 80
    tab.evaluate("document.querySelector('[role=grid]').focus()")
    tab.key("End")
    assert "5000" in column(tab, "# ▲") if "# ▲" in text(tab, ".head") else "5000" in column(tab, "#")
    assert len(rows(tab)) < 80


def test_the_keyboard_is_enough(report: Report) -> None:
    tab = report(failing())
    tab.evaluate("document.querySelector('[role=grid]').focus()")
    tab.key("ArrowDown")
    tab.key("Enter")
    assert text(tab, "#panel-title").startswith("#2 rejected: connection refused")
    tab.key("j")
    assert text(tab, "#panel-title").startswith("#3 ")
    tab.key("k")
    assert text(tab, "#panel-title").startswith("#2 ")
    tab.key("Escape")
    assert not tab.evaluate("document.querySelector('dialog').open")
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "grid"


def test_search_takes_expressions_and_text_and_points_at_what_is_wrong(report: Report) -> None:
    tab = report(failing())
    assert searched(tab, 'outcome == rejected and destination.host contains "db8"') == "1 of 3 match · expression"
    assert searched(tab, "BOB") == "1 of 3 match · text search"
    assert searched(tab, "[2001:db8::7]:8080") == "1 of 3 match · text search"
    assert searched(tab, "outcome = rejected").startswith("3 of 3")
    assert text(tab, ".fault").startswith("at character 9: ")
    assert tab.evaluate("document.getElementById('search').ariaInvalid") == "true"
    searched(tab, "")
    assert text(tab, ".fault") == ""


def test_a_row_opens_its_ladder(report: Report) -> None:
    tab = report(failing())
    tab.evaluate("document.querySelectorAll('.body .row')[1].click()")
    whats = tab.evaluate("[...document.querySelectorAll('.ladder .what')].map(each => each.textContent)")
    assert whats == [
        "SYN", "SYN, ACK", "no-authentication, username-password", "username-password", "alice", "success",
        "connect example.com:443", "succeeded, bound 192.0.2.7:40000", "517 octets sent, 4,096 received",
        "FIN, closed by the client",
    ]  # fmt: skip
    assert tab.evaluate("[...document.querySelectorAll('.ladder .no')].map(each => each.textContent)") == [
        "1", "4", "5", "6", "7", "8", "9", "21",
    ]  # fmt: skip
    assert tab.evaluate("document.querySelectorAll('.ladder .mark').length") == 1
    assert "Data before the reply." in text(tab, ".odd")
    assert text(tab, ".copied code") == "tcp.stream eq 0"
    commands = tab.evaluate("[...document.querySelectorAll('.copied code')].map(each => each.textContent)")
    assert commands[1] == "socks5sniff read office.pcapng --where 'id == 2' --frames"
    assert tab.evaluate("location.hash") == "#2"


def test_what_explains_a_conversation_stands_below_its_ladder(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(
        code="reply-5", severity="error", sentence="The proxy said <b>no</b>", frames=(8, 9), causes=("a\u202eb", "c"),
        advice="Ask `again` <i>.",
    )  # fmt: skip
    monkeypatch.setattr("socks5sniff.report.report.explainer", lambda: lambda c: [told])
    tab = report(failing())
    tab.evaluate("document.querySelector('.body .row').click()")
    assert text(tab, ".odd > li").startswith("errorThe proxy said <b>no</b>. (frame 8, 9)")
    assert tab.evaluate("[...document.querySelectorAll('.causes li')].map(each => each.textContent)") == [
        "a\\u202eb",
        "c",
    ]
    assert text(tab, ".advice") == "Ask again <i>."
    assert text(tab, ".advice code") == "again"


def test_an_address_with_a_number_opens_that_conversation(report: Report) -> None:
    tab = report(failing())
    tab.evaluate("location.hash = '#3'")
    tab.wait("document.querySelector('dialog').open")
    assert text(tab, "#panel-title").startswith("#3 incomplete: closed by")


def test_attempts_and_bypasses_are_shown_where_there_are_some(report: Report) -> None:
    tab = report(failing())
    assert tab.evaluate("document.querySelectorAll('.attempts *, .bypasses *').length") == 0
    attempt = Attempt(Endpoint("2001:db8::1", 9), Endpoint("192.0.2.1", 1080), "refused", 1_795_336_741_123456789, 77)
    past = Bypass(
        *(Endpoint("192.0.2.10", 5), Endpoint("203.0.113.9", 443), "tcp", "<i>x</i>\u202e", 5, 6_000_000, 1234),
        *(1_795_336_741_000000000, 1_795_336_742_000000000, {"pid": 8, "name": "curl"}),
    )
    tab = report(
        failing(), attempts=[attempt.as_dict()], bypasses=[past.as_dict()], **{"all attempts": 1, "all bypasses": 4321}
    )
    time = "2026-11-22 08:39:01"
    assert cells(tab, "attempts") == [f"{time}.123", "refused", "[2001:db8::1]:9", "192.0.2.1:1080", "77"]
    assert cells(tab, "bypasses") == [
        *(f"{time}.000", "192.0.2.10:5", "curl[8]", "203.0.113.9:443", "tcp", "<i>x</i>\\u202e"),
        *("5 B", "6.00 MB", "1,234"),
    ]
    assert "4,321 in all, the first 1 are listed" in text(tab, ".bypasses h2")


def cells(tab: Tab, name: str) -> list[str]:
    found: list[str] = tab.evaluate(f"[...document.querySelectorAll('.{name} td')].map(each => each.textContent)")
    return found


def test_beyond_max_rows_the_table_says_so_and_figures_cover_all(report: Report) -> None:
    tab = report(conversations(500), max_rows=100)
    assert "first 100 of 500" in text(tab, ".note")
    assert tab.evaluate("document.querySelector('.card b').textContent") == "500"
    outcomes: dict[str, int] = {}
    for c in conversations(500):
        outcomes[c.outcome] = outcomes.get(c.outcome, 0) + 1
    shown = tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.list')].find(l => l.textContent.startsWith('Outcomes'))"
        ".querySelectorAll('li').values().map(e => [e.querySelector('.name').textContent,"
        " +e.querySelector('.count').textContent]))"
    )
    assert shown == outcomes
    searched(tab, "outcome == succeeded")
    assert (
        int(tab.wait("document.querySelector('.filters.any') && document.querySelector('.card b').textContent")) < 101
    )


def beside(names: Sequence[str]) -> dict[str, Any]:
    """Attempts and bypasses with these names wherever one can stand."""
    end = [{"address": name, "port": 1} for name in names]
    return {
        "attempts": [
            {"client": e, "proxy": e, "outcome": n, "start": None, "frame": 1}
            for e, n in zip(end, names, strict=True)
        ],
        "bypasses": [
            {"client": e, "destination": e, "server_name": n, "transport": n, "process": {"pid": 1, "name": n}}
            for e, n in zip(end, names, strict=True)
        ],
    }


def test_hostile_names_stay_where_they_are(report: Report) -> None:
    """Everywhere that a name can stand; every row is opened and every filter tried."""
    records = [
        sample(
            id=number, username=name, password=name, destination=Target("domain", name, 443),
            tunnel=Tunnel("http", name, [name], name), process={"pid": 1, "name": name}, capture=name,
            anomalies=[AnomalyEntry("local-dns", "warning", 4, name)],
            frames=[frame._replace(summary=name) for frame in sample().frames],
            upstream={"source": {"address": name, "port": 1}, "destination": None, "outcome": name},
        )
        for number, name in enumerate(HOSTILE, 1)
    ]  # fmt: skip
    tab = report(records, inputs=[HOSTILE[0]], command=[*HOSTILE], fault=HOSTILE[1], **beside(HOSTILE))
    before = tab.evaluate("document.querySelectorAll('img, script, iframe, b:not(.card b), i').length")
    for number in range(len(HOSTILE)):
        tab.evaluate(f"document.querySelectorAll('.body .row')[{number}].click()")
        tab.evaluate("document.querySelector('dialog').close()")
        searched(tab, json.dumps(HOSTILE[number]))
    searched(tab, "")
    whole = tab.evaluate("document.body.textContent")
    assert "\\u202egnp.exe\\u2066 bidi" in whole
    assert "line\\r\\nbreak\\ttab\\x00nul\\x1b[31mred" in whole
    assert not set("\u202e\u2066\x00\x1b\r\ue000") & set(whole)
    assert not tab.evaluate(
        "[...document.querySelectorAll('*')].some(node => [...node.attributes].some(each => /[\\u202e\\u2066\\0\\x1b]/"
        ".test(each.value) || each.name.startsWith('on')))"
    )
    assert tab.evaluate("document.querySelectorAll('img, script, iframe, b:not(.card b), i').length") == before
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith("file:")] == []


def test_a_browser_without_scripts_shows_a_summary(browser: Browser, tmp_path: Any, report: Report) -> None:
    report(failing())
    plain = browser.tab(scripts=False)
    plain.open(tmp_path / "report.html")
    plain.call("Emulation.setScriptExecutionDisabled", value=False)
    shown = plain.evaluate("document.body.innerText")
    assert "Outcomes" in shown
    assert "[2001:db8::7]:8080" in shown


def test_it_speaks_chinese_to_whom_it_may_concern(browser: Browser, tmp_path: Any, report: Report) -> None:
    tab = report(failing())
    tab.evaluate(
        "(() => { const box = document.querySelectorAll('.controls select')[1]; box.value = 'zh';"
        " box.dispatchEvent(new Event('change')); })()"
    )
    assert text(tab, "h1") == "SOCKS 会话"
    assert tab.evaluate("document.documentElement.lang") == "zh-CN"
    other = browser.tab()
    other.call("Emulation.setLocaleOverride", locale="zh-CN")
    other.call("Network.setUserAgentOverride", userAgent="x", acceptLanguage="zh-CN")
    other.open(tmp_path / "report.html")
    other.ready()
    assert text(other, "h1") == "SOCKS 会话"


def test_times_are_utc_until_one_asks_for_local_ones(report: Report, tab: Tab) -> None:
    tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Shanghai")
    report(failing())
    assert column(tab, "start")[0] == "00:00:00.123"
    tab.evaluate(
        "(() => { const box = document.querySelector('.controls select'); box.value = 'local';"
        " box.dispatchEvent(new Event('change')); })()"
    )
    assert column(tab, "start")[0] == "08:00:00.123"
    assert "Asia/Shanghai" in text(tab, ".what")


@pytest.mark.parametrize("width", [390, 768, 2560])
def test_nothing_sticks_out_of_the_page(report: Report, tab: Tab, width: int) -> None:
    tab.size(width, 900)
    report(conversations(300))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.evaluate("document.querySelector('.body .row').click()")
    assert tab.evaluate("document.querySelector('dialog').scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(report: Report, tab: Tab, dark: bool) -> None:
    """WCAG 2.1, 1.4.3: a contrast of at least 4.5 for text."""
    tab.dark(dark)
    report(failing())
    ratios = tab.evaluate(
        """(() => {
        const style = getComputedStyle(document.documentElement);
        const light = (name) => {
          const hex = style.getPropertyValue(name).trim().slice(1);
          const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
          const [r, g, b] = parts.map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
        const pairs = ['--text', '--soft', '--accent', '--warning', '--error'].flatMap((ink) =>
          ['--back', '--panel', '--hover'].map((ground) => [ink, ground]));
        return [...pairs, ['--text', '--bar'], ['--soft', '--bar']].map(([a, b]) => [a, b, ratio(a, b)]);
        })()"""
    )
    assert [pair for pair in ratios if pair[2] < 4.5] == []


def test_everything_that_can_be_pressed_has_a_name(report: Report) -> None:
    tab = report(failing())
    tab.evaluate("document.querySelector('.body .row').click()")
    nameless = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, [role=grid], [role=img], dialog')].filter(node =>"
        " !(node.textContent.trim() || node.ariaLabel || node.getAttribute('aria-labelledby') ||"
        " node.labels?.length)).length"
    )
    assert nameless == 0


def test_the_page_prints_rows_that_are_out_of_sight(report: Report) -> None:
    tab = report(conversations(120))
    assert len(rows(tab)) < 120
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(rows(tab)) == 120
