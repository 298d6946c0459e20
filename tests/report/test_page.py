"""What the page is made of, and what it may do."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from socks5sniff.record import Target
from socks5sniff.report import Report, live_page, page
from socks5sniff.report.page import SCRIPTS, STYLES, asset

from ..sinks.samples import sample
from .reading import data_of, read

ASSETS = Path(page.__file__).parent / "assets"
ABOUT = {"inputs": ["a.pcapng"], "command": [], "packets": 1, "skipped": 0, "found": 1}
HOSTILE = "</script></noscript><img src=x onerror=alert(1)>\u202e\x1b[31m\"'&\r\n"


def text_of(*records: object, **about: object) -> str:
    made = Report()
    for record in records:
        made.add(record)  # type: ignore[arg-type]
    return "".join(made.write({**ABOUT, **about}))


class Elements(HTMLParser):
    """Start tags with their attributes, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag in self.contents:
            self.contents[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is not None:
            self.contents[self.cdata_elem][-1] += data


def test_every_asset_is_used() -> None:
    used = {*SCRIPTS, *STYLES, "uplot.js", "uplot-LICENSE", "page.html"}
    assert {path.name for path in ASSETS.iterdir()} == used


def test_uplot_is_the_release_it_says_it_is() -> None:
    """Version 1.6.32 as its makers published it, with its licence."""
    digests = {name: hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() for name in ("uplot.js", "uplot.css")}
    assert digests == {
        "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    }
    assert "(v1.6.32)" in asset("uplot.js")[:100]
    assert asset("uplot-LICENSE").startswith("The MIT License (MIT)")
    assert asset("uplot-LICENSE").strip() in text_of()


def test_no_script_makes_markup_or_code_out_of_text() -> None:
    wrong = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|setHTML"
        r"|\beval\b|new Function|setTimeout\(\s*[\"'`]|javascript:|\bstyle\s*:\s*[\"'`]|[\"'`]style[\"'`]"
        r"|setAttributeNS|\.cssText|importScripts|\bfetch\(|XMLHttpRequest|sendBeacon|WebSocket"
    )
    for name in (*SCRIPTS, "uplot.js"):
        assert wrong.findall(asset(name)) == [], name


def test_the_lint_finds_what_it_looks_for() -> None:
    assert "innerHTML" not in asset("text.js")
    assert 'node.setAttribute(name, value === true ? "" : visible(value))' in asset("text.js")


def test_nothing_in_the_scripts_ends_them() -> None:
    for name in (*SCRIPTS, "uplot.js", *STYLES):
        assert not re.search(r"</(script|style)|<!--", asset(name), re.IGNORECASE), name


def test_the_policy_allows_the_page_s_own_scripts_and_styles_and_nothing_else() -> None:
    found = Elements(text_of(sample()))
    policy = next(a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in
              found.contents["script"][1:]]  # fmt: skip
    assert len(hashes) == 2
    assert rules["script-src"] == hashes
    assert len(rules["style-src"]) == 1
    assert "unsafe" not in policy
    assert rules["default-src"] == rules["connect-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]


def test_a_report_asks_nobody_for_anything() -> None:
    text = text_of(sample())
    for tag, attributes in Elements(text).tags:
        assert tag not in ("iframe", "object", "embed", "img", "form", "base"), tag
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
    urls = set(re.findall(r"https?://[^\s\"'`<>)]+", text))
    assert urls <= {"http://www.w3.org/2000/svg", "https://github.com/leeoniya/uPlot"}


def test_names_from_the_wire_lie_in_the_data_or_are_escaped() -> None:
    hostile = sample(username=HOSTILE, destination=Target("domain", HOSTILE, 443))
    text = text_of(hostile, inputs=[HOSTILE])
    assert [tag for tag, _ in Elements(text).tags] == [tag for tag, _ in Elements(text_of(sample(), inputs=["a"])).tags]
    assert "<img" not in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert text.count("</script>") == 3
    _, columns = read(data_of(text))
    assert columns["destination.host"] == columns["username"] == [HOSTILE]


def test_without_scripts_the_figures_can_be_read() -> None:
    text = text_of(sample(), sample(id=2, outcome="rejected"), packets=4321)
    summary = text.split("<noscript>")[1].split("</noscript>")[0]
    for told in ("a.pcapng", "4,321", "rejected", "example.com:443", "127.0.0.1:1080", "cleartext-credentials"):
        assert told in summary
    assert "<th scope=row>conversations<td>2" in summary


def test_the_same_conversations_make_the_same_page() -> None:
    assert text_of(sample()) == text_of(sample())


def test_beyond_max_rows_figures_still_cover_all() -> None:
    made = Report(max_rows=2)
    for number in range(1, 6):
        made.add(sample(id=number))
    header, columns = read(data_of("".join(made.write(ABOUT))))
    assert columns["id"] == [1, 2]
    assert header["rest"]["conversations"] == 3
    assert header["rest"]["groups"]["outcome"] == [["succeeded", 3, 3 * (517 + 4096)]]


def test_a_report_of_nothing_is_a_page_all_the_same() -> None:
    header, _ = read(data_of(text_of()))
    assert header["rows"] == 0
    assert header["rest"] is None


def test_the_live_page_may_ask_its_own_server() -> None:
    assert "connect-src &#x27;self&#x27;" in live_page()
    assert "connect-src &#x27;none&#x27;" in text_of()


def test_both_languages_have_every_word_that_is_asked_for() -> None:
    rows = re.findall(r"""^    "?([^":]+)"?: \[(["'])(.*)\2, (["'])(.*)\4\],$""", asset("languages.js"), re.MULTILINE)
    words = {name: (english, chinese) for name, _, english, _, chinese in rows}
    asked = {word for name in SCRIPTS for word in re.findall(r'\bsay\("([^"]+)"', asset(name))}
    assert len(words) > 100
    assert asked - {"column ", "top "} <= set(words)
    assert [name for name, (one, other) in words.items() if one.count("%") != other.count("%")] == []
