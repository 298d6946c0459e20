"""The lines of a ladder: what happened, between whom, in the order of frames."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import socks5sniff
from socks5sniff.record import AnomalyEntry, Conversation, FrameEntry, UdpDestination, UdpTraffic
from socks5sniff.report.columns import container
from socks5sniff.report.conversations import Conversations

from ..sinks.samples import START, sample
from .chromium import Tab

CAPTURES = Path(__file__).resolve().parents[2] / "captures"


def ladder(scripts: Tab, records: list[Conversation], row: int = 0) -> Any:
    """Lifelines (name, dashed) and events (frame or null, from, to, text) of one conversation."""
    made = Conversations()
    made.take(records, [[]] * len(records))
    data = base64.b64encode(gzip.compress(container(made.columns.values(), made.dictionary, {"rows": made.rows})))
    return scripts.evaluate(
        f"Columns.read({json.dumps(data.decode())}).then(({{ store }}) => {{ const l = Sequence.of(store, {row});"
        " return { lines: l.lifelines.map((each) => [each.name, !!each.dashed]),"
        " events: l.events.map((e) => [e.shown, e.from, e.to, e.text]),"
        " kinds: l.events.map((e) => e.kind), times: l.events.map((e) => e.time),"
        " odd: l.events.map((e) => e.anomalies.map((a) => a.code)) }; })"
    )


def captured(name: str, **options: Any) -> list[Conversation]:
    return list(socks5sniff.read(str(CAPTURES / f"{name}.pcapng"), **options))


def test_a_handshake_in_order(scripts: Tab) -> None:
    found = ladder(scripts, captured("connect-domain"))
    assert [name for name, _ in found["lines"]] == ["198.18.0.1:32768", "192.0.2.1:1080", "www.example.test:80"]
    texts = [text for _, _, _, text in found["events"]]
    assert texts[:2] == ["SYN", "SYN, ACK"]
    assert texts[-1].startswith("FIN, closed by the ")
    assert "http · www.example.test · GET / HTTP/1.1: 200 OK" in texts
    numbers = [frame for frame, *_ in found["events"] if frame is not None]
    assert numbers == sorted(numbers)


def test_the_far_leg_is_dashed_where_only_the_proxy_s_word_is_known(scripts: Tab) -> None:
    ends = {"address": "203.0.113.9", "port": 40000}, {"address": "198.51.100.1", "port": 443}
    upstream = {"source": ends[0], "destination": ends[1], "matched_by": "bound-address", "outcome": "established"}
    assert ladder(scripts, [sample()])["lines"][2] == ["example.com:443", True]
    found = ladder(scripts, [sample(upstream=upstream)])
    assert found["lines"][2] == ["example.com:443", False]
    told = [event for event in found["events"] if event[1:3] == [1, 2]]
    assert told == [[None, 1, 2, "TCP 203.0.113.9:40000 → 198.51.100.1:443: established"]]
    texts = [text for *_, text in found["events"]]
    assert texts.index(told[0][3]) == texts.index("connect example.com:443") + 1
    refused = ladder(scripts, [sample(upstream={**upstream, "outcome": "refused"})])
    assert "failed" in refused["kinds"]


def test_the_proxy_s_own_handshake_has_its_time(scripts: Tab) -> None:
    upstream = {"source": None, "destination": None, "matched_by": "octets", "outcome": "established"}
    record = {**sample(upstream=upstream).as_dict()}
    record["timing"]["upstream_handshake"] = 0.0105
    record["proxy_header"] = {
        "version": 2,
        "source": {"address": "10.0.0.9", "port": 7},
        "destination": None,
        "length": 28,
    }
    record["network"] = "vlan 10"
    made = Conversations()
    empty = base64.b64encode(gzip.compress(container(made.columns.values(), made.dictionary, {"rows": 0}))).decode()
    texts, network = scripts.evaluate(
        f"Columns.read({json.dumps(empty)}).then(({{ store }}) => {{ store.push({json.dumps(record)});"
        " return [Sequence.of(store, 0).events.map((e) => e.text), store.value('network', 0)]; })"
    )
    assert "TCP ? → ?: established, 10.5 ms" in texts
    assert texts[2] == "PROXY 2: 10.0.0.9:7 → ?"
    assert network == "vlan 10"


def test_whoever_opened_the_connection_sends_the_syn(scripts: Tab) -> None:
    found = ladder(scripts, captured("reversed-roles"))
    assert found["events"][0][1:] == [1, 0, "SYN"]
    assert found["events"][2][1:3] == [0, 1]


def test_datagrams_in_a_row_are_one_line(scripts: Tab) -> None:
    found = ladder(scripts, captured("udp-destinations", udp_frames=True))
    texts = [text for *_, text in found["events"]]
    assert "14 datagrams, 3 destinations" in texts
    assert found["kinds"][texts.index("14 datagrams, 3 destinations")] == "both"
    assert found["lines"][2] == ["3 destinations", True]


def test_datagrams_that_are_only_counted_are_one_line_too(scripts: Tab) -> None:
    found = ladder(scripts, captured("udp-destinations"))
    assert "7 datagrams sent, 7 received, 3 destinations" in [text for *_, text in found["events"]]


def test_anomalies_between_datagrams_stay_with_them(scripts: Tab) -> None:
    frames = [FrameEntry(n, START + n, "client", "udp", 30, f"UDP to 192.0.2.9:53, {n} octets") for n in (10, 11, 12)]
    record = sample(
        frames=[*sample().frames, *frames],
        udp=UdpTraffic(3, 0, 90, 0, 1, [UdpDestination("192.0.2.9", 53, 3, 0)]),
        anomalies=[AnomalyEntry("udp-fragmented", "note", 11, "a fragment")],
    )
    found = ladder(scripts, [record])
    place = [text for *_, text in found["events"]].index("3 datagrams, 1 destinations")
    assert found["odd"][place] == ["udp-fragmented"]
    assert found["lines"][2] == ["192.0.2.9:53", True]


def test_anomalies_stand_on_their_frame_or_on_a_line_of_their_own(scripts: Tab) -> None:
    odd = [
        AnomalyEntry("auth-failed", "note", 7, "refused"),
        AnomalyEntry("handshake-gap", "error", 5, "lost"),
        AnomalyEntry("midstream", "note", 15, "elsewhere"),
    ]
    found = ladder(scripts, [sample(anomalies=odd)])
    by_frame = {event[0]: codes for event, codes in zip(found["events"], found["odd"], strict=True) if codes}
    assert by_frame == {7: ["auth-failed"], 5: ["handshake-gap"], 15: ["midstream"]}
    assert [15, 0, 1, "midstream"] in found["events"]


def test_conversations_inside_the_tunnel_have_further_lifelines(scripts: Tab) -> None:
    found = ladder(scripts, captured("chain-of-three"))
    assert [name for name, _ in found["lines"]] == [
        "198.18.8.1:45568", "192.0.2.1:1080", "198.51.100.2:1081", "198.51.100.3:1082", "www.example.test:80",
    ]  # fmt: skip
    requests = [event[1:] for event in found["events"] if event[3].startswith("Request: ")]
    assert requests == [
        [0, 1, "Request: CONNECT 198.51.100.2:1081"],
        [0, 2, "Request: CONNECT 198.51.100.3:1082"],
        [0, 3, "Request: CONNECT www.example.test:80"],
    ]
    numbers = [frame for frame, *_ in found["events"] if frame is not None]
    assert numbers == sorted(numbers)
    assert [text for *_, text in found["events"]][-4:] == [
        "83 octets sent, 123 received", "109 octets sent, 135 received", "122 octets sent, 147 received",
        "FIN, closed by the proxy",
    ]  # fmt: skip


def test_one_inside_begins_at_the_proxy_that_the_tunnel_leads_to(scripts: Tab) -> None:
    records = captured("chain-of-three")
    inner = next(row for row, c in enumerate(records) if c.parent == 1)
    assert [name for name, _ in ladder(scripts, records, inner)["lines"]][:3] == [
        "198.18.8.1:45568", "198.51.100.2:1081", "198.51.100.3:1082",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcapng")), ids=lambda path: path.stem)
def test_every_capture_has_its_ladders(scripts: Tab, path: Path) -> None:
    """Each SOCKS frame once, in order, and each anomaly on a line."""
    records = list(socks5sniff.read(str(path)))
    for row, c in enumerate(records):
        if c.parent is not None or any(other.parent == c.id for other in records):
            continue
        found = ladder(scripts, records, row)
        numbers = [frame for frame, *_ in found["events"] if frame is not None]
        assert numbers == sorted(numbers)
        texts = [text for *_, text in found["events"]]
        assert [text for text in texts if text in {frame.summary for frame in c.frames}] == [
            frame.summary for frame in sorted(c.frames, key=lambda frame: frame.frame)
        ]
        shown = [code for codes in found["odd"] for code in codes]
        assert sorted(shown) == sorted(anomaly.code for anomaly in c.anomalies)
        break
