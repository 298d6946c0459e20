"""From packets to records: what the analyser says of connections, whatever happened to their segments."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5sniff.analysis import Analyser, handshakes
from socks5sniff.analysis.watch import IGNORED
from socks5sniff.record import Conversation
from socks5sniff.sinks import Options, Totals, open_sink
from tests.traffic import (
    ANSWER,
    CHOICE,
    CLIENT,
    FIN,
    GREETING,
    HTTP,
    PLAIN,
    REPLY,
    REQUEST,
    RST,
    SECOND,
    SERVER,
    START,
    Packet,
    analyse,
    batches,
    connection,
    cut,
    datagram,
    six,
)

from .dialogues import BIND, DIALOGUES, PASSWORD, REFUSED

SEGMENTATION = {"split-frame", "pipelined-frames", "early-data"}
"""Anomalies that say how frames lay in segments."""


def facts(record: Conversation) -> dict[str, Any]:
    """What must not depend on how the octets lay in packets."""
    plain = record.as_dict()
    for key in ("start", "end", "duration", "timing", "packets", "first_frame", "last_frame", "close", "closed_by"):
        del plain[key]
    for frame in plain["frames"]:
        del frame["frame"], frame["time"]
    plain["anomalies"] = sorted(a["code"] for a in plain["anomalies"] if a["code"] not in SEGMENTATION)
    return plain


def only(records: list[Conversation]) -> Conversation:
    assert len(records) == 1, records
    return records[0]


def test_a_plain_conversation():
    record = only(analyse(connection(PLAIN)))
    assert record.protocol == "socks5"
    assert str(record.client) == "10.0.0.1:40000"
    assert str(record.proxy) == "10.0.0.9:1080"
    assert not record.reversed
    assert (record.phase, record.outcome) == ("relay", "succeeded")
    assert (record.methods, record.method) == (["no-authentication"], "no-authentication")
    assert (record.command, str(record.destination), record.name_resolution) == ("connect", "example.com:443", "remote")
    assert record.reply is not None
    assert record.reply.name == "succeeded"
    assert str(record.bound) == "10.0.0.2:4660"
    assert record.bytes == (len(HTTP), len(ANSWER))
    assert record.tunnel is not None
    assert (record.tunnel.protocol, record.tunnel.server_name) == ("http", "example.com")
    assert record.timing == (0.001, 0.001, None, 0.001, 0.002, None)
    assert (record.close, record.closed_by) == ("fin", "client")
    assert (record.packets, record.first_frame, record.last_frame, record.tcp_stream) == (12, 1, 12, 0)
    assert record.duration == 0.011
    assert [(f.frame, f.sender, f.type, f.length) for f in record.frames] == [
        (4, "client", "greeting", 3),
        (5, "proxy", "method-selection", 2),
        (6, "client", "request", len(REQUEST)),
        (7, "proxy", "reply", 10),
    ]
    assert record.anomalies == []


def test_passwords_are_masked_unless_asked_for():
    record = only(analyse(connection(PASSWORD)))
    assert (record.username, record.password, record.authenticated) == ("alice", "********", True)
    assert record.timing.authentication == 0.001
    assert only(analyse(connection(PASSWORD), show_passwords=True)).password == "secret"
    assert "secret" not in str(record.as_dict())


def test_a_failure_says_so_and_has_no_tunnel():
    record = only(analyse(connection(REFUSED)))
    assert (record.outcome, record.reply) == ("rejected", (5, "connection refused"))
    assert record.tunnel is None
    assert record.bytes is None


def test_bind_has_two_replies():
    record = only(analyse(connection(BIND)))
    assert (str(record.bound), str(record.peer)) == ("10.0.0.9:8193", "10.0.0.7:20")
    assert record.bytes == (0, 14)


# -- segments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIALOGUES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_cut_repeated_and_shuffled_segments_give_the_same_record(name: str, data: st.DataObject):
    """Any split into segments, any repetition, any order after the SYN, any batches."""
    said = DIALOGUES[name]
    whole = connection(said, starts=((1 << 32) - 20, (1 << 32) - 5))
    expected = facts(only(analyse(whole)))
    sizes = data.draw(st.lists(st.integers(1, 9), max_size=40))
    opening, talk, closing = whole[:3], list(cut(whole[3 : 3 + len(said)], sizes)), whole[3 + len(said) :]
    talk += data.draw(st.lists(st.sampled_from(talk), max_size=4))
    seed = data.draw(st.integers(0, 1000))
    if data.draw(st.booleans()):
        random.Random(seed).shuffle(talk)
    parts = data.draw(st.lists(st.integers(1, 5), max_size=10))
    assert facts(only(analyse(opening + talk + closing, parts))) == expected


@pytest.mark.parametrize("name", DIALOGUES)
def test_sequence_numbers_may_wrap_with_the_fin(name: str) -> None:
    """However far the dialogue came."""
    for length in range(2, len(DIALOGUES[name]) + 1):
        said = DIALOGUES[name][:length]
        client, proxy = (sum(len(octets) for side, octets in said if side == each) + 2 for each in (CLIENT, SERVER))
        wrapped = only(analyse(connection(said, starts=((1 << 32) - client, (1 << 32) - proxy))))
        assert facts(wrapped) == facts(only(analyse(connection(said))))


@pytest.mark.parametrize("name", DIALOGUES)
def test_one_octet_in_each_segment(name: str):
    whole = connection(DIALOGUES[name])
    record = only(analyse(list(cut(whole, iter(lambda: 1, 0)))))
    assert facts(record) == facts(only(analyse(whole)))
    assert "split-frame" in {a.code for a in record.anomalies}


def said_in_socks4(draw: Any) -> list[tuple[int, bytes]]:
    """A SOCKS4 conversation, with or without a user id and a host name."""
    end = draw(st.sampled_from([b"\x0a\0\0\7%s\0", b"\0\0\0\1%s\0example.org\0", b"\0\0\0\1%s\0-\0"]))
    command = draw(st.sampled_from([1, 1, 2]))
    request = bytes([4, command]) + b"\0\x50" + end % draw(st.sampled_from([b"", b"bob", b"-", b"-b", b"\xff", b"a,b"]))
    said = [(CLIENT, request), (SERVER, b"\0" + draw(st.sampled_from([b"\x5a", b"\x5b", b"\x63"])) + bytes(6))]
    if command == 2:
        said += draw(st.sampled_from([[], [(SERVER, b"\0\x5a\0\x14\x0a\0\0\7")], [(SERVER, b"\0\x5b" + bytes(6))]]))
    return said + draw(st.sampled_from([[], [(CLIENT, HTTP), (SERVER, ANSWER)]]))


def said_by(draw: Any) -> list[tuple[int, bytes]]:
    """A conversation near the regular one: every field may be what it should be, or something else."""
    addresses = [
        b"\1\x7f\0\0\1", b"\1\0\0\0\0", b"\3\x0bexample.com", b"\3\x0710.0.0.", b"\3\x081.2.3.4", b"\3\0", b"\3\1-",
        b"\3\4-x.y", b"\3\5ab\0cd", b"\3\3\xc3\xa9z", b"\4" + bytes(15) + b"\1", b"\4\x20\1" + bytes(14), b"\2ab",
    ]  # fmt: skip
    address = draw(st.sampled_from(addresses))
    bound = draw(st.sampled_from([b"\1\0\0\0\0\0\0", b"\1\x0a\0\0\2\x12\x34", b"\4" + bytes(18), b"\3\2ab\0\1"]))
    version = draw(st.sampled_from([5, 5, 5, 5, 5, 1]))
    request = bytes([version, draw(st.sampled_from([1, 1, 1, 1, 2, 3, 0xF0]))])
    request += bytes([draw(st.sampled_from([0, 0, 0, 1]))]) + address + draw(st.sampled_from([b"\0\x50", b"\0\0"]))
    reply = bytes([5, draw(st.sampled_from([0, 0, 0, 1, 5, 99])), draw(st.sampled_from([0, 0, 0, 1]))]) + bound
    said = [(CLIENT, draw(st.sampled_from([GREETING, b"\5\2\0\2", b"\5\1\2", b"\5\2\0\0", b"\5\3\0\2\x80"])))]
    method = draw(st.sampled_from([0, 0, 2, 2, 255]))
    said.append((SERVER, bytes([5, method])))
    if method == 2:
        login = draw(
            st.sampled_from(
                [b"\1\5alice\6secret", b"\1\3bob\0", b"\1\1\xff\1x", b"\5\1a\1b", b"\1\1-\1x", b"\1\2-a\1x", b"\1\0\0"]
            )
        )
        said += [(CLIENT, login), (SERVER, draw(st.sampled_from([b"\1\0", b"\1\0", b"\5\0", b"\1\1"])))]
    said += [(CLIENT, request), (SERVER, reply)]
    if request[1] == 2:
        said += draw(st.sampled_from([[], [(SERVER, b"\5\0\0\1\x0a\0\0\7\0\x14")], [(SERVER, b"\5\1\0" + bound)]]))
    tunnels = [[], [(CLIENT, HTTP)], [(CLIENT, HTTP), (SERVER, ANSWER)], [(SERVER, b"SSH-2.0-x\r\n")]]
    said += draw(st.sampled_from(tunnels))
    where = draw(st.integers(0, len(said)))
    said[where:where] = draw(st.sampled_from([[], [], [], [(CLIENT, b"x")], [(SERVER, b"\5")]]))
    return said


FORMATS: dict[str, tuple[str, Options]] = {
    name: (name, Options()) for name in ("json", "jsonl", "csv", "zeek", "accesslog", "table")
} | {
    "csv for spreadsheets": ("csv", Options(excel=True)),
    "table as it comes": ("table", Options(prompt=True, width=100)),
    "table of chosen columns": ("table", Options(columns=("destination", "community_id", "sent"))),
}


def printed_of(packets: list[Packet], sizes: Iterable[int], show: bool = False) -> dict[str, str]:
    """What each format prints of packets."""
    outs = {name: StringIO() for name in FORMATS}
    sinks = [open_sink(*(FORMATS[name][0], out, FORMATS[name][1])) for name, out in outs.items()]
    analyser = Analyser(show_passwords=show)
    given = [records for batch in batches([(packet.time, packet.frame()) for packet in packets], sizes)
             for records in analyser.take(batch)] + list(analyser.finish())  # fmt: skip
    for records in given:
        for sink in sinks:
            # A record that is written out once stays so: each sink gets a batch of its own.
            sink.records(records.slice(0, len(records)))
    for sink in sinks:
        sink.close(Totals())
    return {name: out.getvalue() for name, out in outs.items()}


def written_of(conversations: list[Conversation]) -> dict[str, str]:
    """What each format prints of conversations, one by one."""
    printed = {}
    for name, (format_, options) in FORMATS.items():
        out = StringIO()
        sink = open_sink(format_, out, options)
        for conversation in conversations:
            sink.conversation(conversation)
        sink.close(Totals())
        printed[name] = out.getvalue()
    return printed


@settings(deadline=None, max_examples=300 if "EVERY_CAPTURE" in os.environ else 70)
@given(data=st.data())
def test_forms_give_what_each_dialogue_by_itself_gives(data: st.DataObject):
    """Forms, columns and the lines made of them must agree with the session on every record, order included."""
    talks = [said_by(data.draw) for _ in range(data.draw(st.integers(1, 3)))]
    talks += [said_in_socks4(data.draw) for _ in range(data.draw(st.integers(0, 1)))]
    proxy = data.draw(st.sampled_from([("10.0.9.9", 1080), ("10.0.9.9", 3128)]))
    packets: list[Packet] = []
    for number, said in enumerate(talks * 4):  # the same forms again, so that they are learned
        begin = START + number * data.draw(st.sampled_from([1_000_000, 40_000_000]))
        packets += connection(said, client=(f"10.0.1.{number}", 40000), proxy=proxy, begin=begin)
    if data.draw(st.booleans()):
        packets = six(packets)
    if data.draw(st.booleans()):
        packets.sort(key=lambda packet: packet.time)
    parts = data.draw(st.lists(st.integers(1, 60), max_size=10))
    show = data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshakes, "FEW", 0)
        printed = printed_of(packets, parts, show)
        fast = [record.as_dict() for record in analyse(packets, parts, show_passwords=show)]
        patch.setattr(handshakes, "FEW", 1 << 30)
        conversations = analyse(packets, parts, show_passwords=show)
    slow = [record.as_dict() for record in conversations]
    assert fast == slow
    assert printed["jsonl"].splitlines() == [json.dumps(record, separators=(",", ":")) for record in slow]
    written = written_of(conversations)
    for name in FORMATS:
        if slow or name != "zeek":  # which asks the clock where there is no traffic
            assert printed[name] == written[name], name


def all_by_forms(packets: list[Packet], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records of dialogues which all have forms: those that each dialogue by itself gives, and left in columns."""
    monkeypatch.setattr(handshakes, "FEW", 0)
    analyser = Analyser()
    frames = [(packet.time, packet.frame()) for packet in packets]
    found = [part for batch in batches(frames) for part in analyser.take(batch)] + analyser.finish()
    assert sum(record is not None for part in found for record in part.written) == 0
    fast = [record.as_dict() for part in found for record in part]
    monkeypatch.setattr(handshakes, "FEW", 1 << 30)
    assert fast == [record.as_dict() for record in analyse(packets)]
    return fast


def test_a_login_without_a_name_or_a_password_has_a_form_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an anomaly, which the others are not."""
    logins = [b"\1\5alice\6secret", b"\1\3bob\2pw", b"\1\0\6secret", b"\1\5alice\0", b"\1\0\0"] * 3
    packets: list[Packet] = []
    for number, login in enumerate(logins):
        said = [*PASSWORD[:2], (CLIENT, login), *PASSWORD[3:]]
        packets += connection(said, client=(f"10.0.1.{number}", 40_000), begin=START + number * 50_000_000)
    fast = all_by_forms(packets, monkeypatch)
    odd = ["empty-credential" in [entry["code"] for entry in record["anomalies"]] for record in fast]
    assert odd == [False, False, True, True, True] * 3


@pytest.mark.parametrize("early", [400_000, 600_000])
def test_no_step_is_timed_where_something_was_heard_before_it_was_said(early: int) -> None:
    """Two clocks made such a capture; half a millisecond is their jitter."""
    packets = connection(PLAIN)
    choice, request = packets[4], packets[5]
    packets[5] = replace(request, time=choice.time - early)
    timing = only(analyse(packets)).timing
    assert (timing.negotiation is None) == (timing.request is None) == (early > 500_000)


def test_what_is_sent_again_was_said_before_what_follows_it() -> None:
    """Of the greeting only the copy is in the capture, which acknowledges all that the proxy has said by then."""
    (_, greeting), (_, choice), (_, login), (_, welcome), (_, request), (_, reply), *rest = PASSWORD
    eager = [(CLIENT, greeting), (CLIENT, login), (CLIENT, request), (SERVER, choice), (SERVER, welcome)]
    packets = connection([*eager, (SERVER, reply), *rest])
    again = replace(packets[3], acknowledgment=packets[9].acknowledgment, time=packets[8].time + 1)
    assert again.acknowledgment > packets[3].acknowledgment + len(greeting)
    record = only(analyse([*packets[:3], *packets[4:9], again, *packets[9:]]))
    expected = only(analyse(packets))
    assert [frame.type for frame in record.frames] == [frame.type for frame in expected.frames]
    assert (record.outcome, record.bytes, record.username) == (expected.outcome, expected.bytes, expected.username)
    assert "handshake-gap" not in {entry.code for entry in record.anomalies}


def test_a_form_is_learned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the first one, which has the number 0."""
    monkeypatch.setattr(handshakes, "FEW", 0)
    talks = [connection(PLAIN, client=(f"10.0.1.{number}", 40_000)) for number in range(6)]
    analyser = Analyser()
    for batch in batches([(packet.time, packet.frame()) for talk in talks for packet in talk], [24, 24, 24]):
        analyser.take(batch)
        known = analyser.connections
        analyser.finish_flows(np.flatnonzero(known.watch.kind[: known.flows.used] != IGNORED))
    assert len(known.handshakes.forms.forms) == 1


def test_bind_has_forms_one_for_each_second_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes second, and wherever from; the rows stay columns."""
    socks4 = [(CLIENT, b"\4\2\0\x15\x0a\0\0\7bob\0"), (SERVER, b"\0\x5a\x20\1\x0a\0\0\x09")]
    first = BIND[:4]
    granted = b"\5\0\0\1\x0a\0\0\7\0\x14"
    six = b"\5\0\0\4" + bytes(15) + b"\1\0\x14"
    talks = [
        *(first, [*first, (SERVER, granted)], [*first, (SERVER, six)], [*first, (SERVER, b"\5\1\0\1" + bytes(6))]),
        *([*first, (SERVER, granted), (SERVER, b"220 ftp data\r\n")], socks4),
        *([*socks4, (SERVER, b"\0\x5a\0\x14\x0a\0\0\7")], [*socks4, (SERVER, b"\0\x5b" + bytes(6))]),
    ]
    packets = [
        packet
        for number, said in enumerate(talks * 3)
        for packet in connection(said, client=(f"10.0.1.{number}", 40_000), begin=START + number * 50_000_000)
    ]
    fast = all_by_forms(packets, monkeypatch)
    peers = [record["peer"] and record["peer"]["host"] for record in fast[:8]]
    assert peers == [None, "10.0.0.7", "::1", "0.0.0.0", "10.0.0.7", None, "10.0.0.7", "0.0.0.0"]


def test_lost_handshake_octets_are_an_error_and_not_invented():
    packets = connection(PLAIN)
    del packets[5]  # the request
    record = only(analyse(packets))
    assert record.destination is None
    assert "handshake-gap" in {a.code for a in record.anomalies}


def test_a_snap_length_that_cuts_payload_leaves_gaps():
    record = only(analyse(connection(PLAIN), captured=14 + 20 + 20 + 12))
    assert record.methods == ["no-authentication"]
    assert "handshake-gap" in {a.code for a in record.anomalies}


def test_octets_in_the_tunnel_count_once():
    packets = connection([*PLAIN, (SERVER, b"x" * 1000)])
    again = replace(packets[-4], time=packets[-4].time + 1)
    assert only(analyse([*packets[:-3], again, *packets[-3:]])).bytes == (len(HTTP), len(ANSWER) + 1000)


def test_frames_seen_twice_change_nothing_but_the_packet_count():
    """As on an `any` interface, where a packet shows at each hop."""
    packets = connection(PASSWORD)
    twice = [packet for packet in packets for _ in range(2)]
    once, double = only(analyse(packets)), only(analyse(twice))
    assert facts(double) == facts(once)
    assert double.packets == 2 * once.packets


def test_a_retransmission_that_differs_is_noted_and_the_first_copy_stands():
    packets = connection(PLAIN)
    forged = replace(packets[5], octets=REQUEST.replace(b"example.com", b"example.net"))
    record = only(analyse([*packets[:6], forged, *packets[6:]]))
    assert str(record.destination) == "example.com:443"
    assert [(a.code, a.frame) for a in record.anomalies] == [("conflicting-retransmission", 7)]


@pytest.mark.parametrize("pieces", [(), (3,), (1, 1, 1), (3, 2, 100)])
def test_the_first_copy_stands_however_it_was_cut(pieces: tuple[int, ...]) -> None:
    """Also where one segment that comes later has other octets for several of them."""
    packets = connection(PLAIN)
    forged = replace(packets[5], octets=bytes(octet ^ 1 for octet in REQUEST))
    record = only(analyse([*packets[:5], *cut([packets[5]], pieces), packets[6], forged, *packets[7:]]))
    assert str(record.destination) == "example.com:443"
    assert [a.code for a in record.anomalies if a.code != "split-frame"] == ["conflicting-retransmission"]


def test_a_segment_that_begins_before_the_first_octet_is_no_other_dialogues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many dialogues that are judged at once."""
    monkeypatch.setattr(handshakes, "FEW", 0)
    before = connection(PLAIN, client=("10.0.0.2", 40_000))
    early = connection(PLAIN)
    early[3] = replace(early[3], sequence=early[3].sequence - 1, octets=b"\0" + early[3].octets)
    records = analyse([*before, *early])
    assert [record.outcome for record in records] == ["succeeded", "succeeded"]
    assert [str(record.destination) for record in records] == ["example.com:443"] * 2


@pytest.mark.parametrize("few", [0, 1 << 30])
def test_a_reply_before_its_request_is_whole_took_no_time(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not less than none, whether the dialogue is judged by itself or by its form."""
    monkeypatch.setattr(handshakes, "FEW", few)
    said = [*PLAIN[:2], (CLIENT, REQUEST[:5]), (SERVER, REPLY), (CLIENT, REQUEST[5:])]
    talks = [connection(said, client=(f"10.0.1.{number}", 40_000)) for number in range(6)]
    records = analyse([packet for talk in talks for packet in talk], ports=[1080])
    assert [record.timing.request for record in records] == [None] * 6
    assert [record.timing.negotiation for record in records] == [0.001] * 6


def test_octets_of_the_tunnel_that_were_lost_count() -> None:
    """The next segment, an acknowledgment or the FIN proves them."""
    packets = connection(PLAIN)
    for lost in (7, 8):
        record = only(analyse([*packets[:lost], *packets[lost + 1 :]]))
        assert record.bytes == (len(HTTP), len(ANSWER))


def test_probes_of_a_closed_window_are_no_conflict() -> None:
    """The first octet comes again and again, at last with the others (RFC 9293 s3.8.6.1)."""
    packets = connection(PLAIN)
    for place in (5, 7):
        probe = replace(packets[place], octets=packets[place].octets[:1])
        record = only(analyse([*packets[:place], probe, probe, probe, *packets[place:]]))
        assert record.bytes == (len(HTTP), len(ANSWER))
        assert record.tunnel is not None
        assert record.tunnel.server_name == "example.com"
        assert "conflicting-retransmission" not in {a.code for a in record.anomalies}


def test_a_conflict_in_the_first_octets_of_a_tunnel_is_noted() -> None:
    packets = connection([*PLAIN[:4], (CLIENT, b"GET /a HTTP/1.1\r\n"), (CLIENT, b"Host: example.com\r\n\r\n")])
    forged = replace(packets[7], octets=b"GET /b HTTP/1.1\r\n")
    record = only(analyse([*packets[:8], forged, *packets[8:]]))
    assert [(a.code, a.frame) for a in record.anomalies] == [("conflicting-retransmission", 9)]


def test_keep_alives_are_no_octets():
    packets = connection([*PLAIN, (CLIENT, b"more")])
    probe = replace(packets[9], sequence=packets[9].sequence - 1, octets=b"\0")
    assert only(analyse([*packets[:9], probe, *packets[9:]])).bytes == (len(HTTP) + 4, len(ANSWER))


def test_data_on_the_syn():
    """TCP Fast Open (RFC 7413): the greeting rides on the SYN."""
    packets = connection(PLAIN)
    syn = replace(packets[0], octets=GREETING)
    ack = replace(packets[1], acknowledgment=packets[0].sequence + 4)
    record = only(analyse([syn, ack, *packets[4:]]))
    assert facts(record) == facts(only(analyse(packets)))


# -- connections ----------------------------------------------------------------------------------------------------


def test_ports_used_again_are_another_conversation():
    first = connection(PLAIN)
    second = connection(REFUSED, starts=(777_000, 888_000), begin=START + SECOND)
    for sizes in ([], [5], [len(first)], [len(first) + 1]):
        one, two = analyse(first + second, sizes)
        assert (one.outcome, one.tcp_stream, one.packets) == ("succeeded", 0, len(first))
        assert (two.outcome, two.tcp_stream, two.packets) == ("rejected", 1, len(second))
        assert (one.last_frame, two.first_frame) == (len(first), len(first) + 1)


def test_a_start_that_is_not_in_the_capture():
    record = only(analyse(connection(PLAIN, opening=False)))
    assert str(record.destination) == "example.com:443"
    assert [a.code for a in record.anomalies] == ["midstream"]
    assert record.timing.tcp_handshake is None
    assert not record.reversed


@pytest.mark.parametrize("port", [1080, 9999])
@pytest.mark.parametrize(
    ("first", "frames"), [(4, ["method-selection", "request", "reply"]), (5, ["request", "reply"])]
)
def test_a_capture_that_begins_after_the_greeting(port: int, first: int, frames: list[str]) -> None:
    """Choice, request and reply are proof enough, on any port."""
    record = only(analyse(connection(PLAIN, proxy=("10.0.0.9", port))[first:]))
    assert (record.outcome, str(record.client), str(record.destination)) == (
        "succeeded",
        "10.0.0.1:40000",
        "example.com:443",
    )
    assert record.methods is None
    assert record.bytes == (len(HTTP), len(ANSWER))
    assert [frame.type for frame in record.frames] == frames
    assert [a.code for a in record.anomalies] == ["midstream"]


def test_a_capture_that_begins_with_the_choice_of_a_password() -> None:
    record = only(analyse(connection(PASSWORD)[4:]))
    assert (record.outcome, record.username, record.authenticated) == ("succeeded", "alice", True)


@pytest.mark.parametrize("said", [[(CLIENT, HTTP), (SERVER, ANSWER)], [(SERVER, REPLY), (CLIENT, HTTP)]])
def test_within_a_tunnel_no_foreign_protocol_is_named(said: list[tuple[int, bytes]]) -> None:
    """On a proxy port what a capture begins with may be a tunnel's."""
    assert analyse(connection(said, opening=False)) == []


def test_a_greeting_that_was_lost() -> None:
    packets = connection(PLAIN)
    record = only(analyse([*packets[:3], *packets[4:]]))
    assert (record.outcome, str(record.destination), record.bytes) == (
        "succeeded",
        "example.com:443",
        (len(HTTP), len(ANSWER)),
    )
    assert [a.code for a in record.anomalies] == ["handshake-gap"]


def test_a_capture_of_one_side_only() -> None:
    """The client's side tells where to; the proxy's side alone is not taken for a client's."""
    packets = connection(PLAIN)
    record = only(analyse([packet for packet in packets if packet.side == CLIENT]))
    assert (record.outcome, record.phase, str(record.destination)) == ("incomplete", "request", "example.com:443")
    assert analyse([packet for packet in packets if packet.side == SERVER]) == []


def test_the_socks_client_may_be_the_tcp_server():
    said = [(1 - side, octets) for side, octets in PLAIN]
    record = only(analyse(connection(said, proxy=("10.0.0.9", 7777))))
    assert record.reversed
    assert (str(record.client), str(record.proxy)) == ("10.0.0.9:7777", "10.0.0.1:40000")
    assert record.bytes == (len(HTTP), len(ANSWER))
    assert record.closed_by == "proxy"


@pytest.mark.parametrize("sizes", [[], [4], [5]])
def test_a_few_foreign_octets_may_precede_a_reversed_greeting(sizes: list[int]):
    said = [(CLIENT, b"hello\n"), *((1 - side, octets) for side, octets in PLAIN)]
    record = only(analyse(connection(said, proxy=("10.0.0.9", 7777)), sizes))
    assert record.reversed
    assert str(record.destination) == "example.com:443"
    assert record.bytes == (len(HTTP), len(ANSWER))


@pytest.mark.parametrize("sizes", [[], [4], [5]])
def test_they_may_share_a_segment_with_the_greeting(sizes: list[int]):
    said = [(SERVER, b"hello\n" + GREETING), *((1 - side, octets) for side, octets in PLAIN[1:])]
    record = only(analyse(connection(said, proxy=("10.0.0.9", 7777)), sizes))
    assert record.reversed
    assert str(record.destination) == "example.com:443"


@pytest.mark.parametrize(
    ("ending", "close", "closed_by"),
    [([], "open", None), ([Packet(SERVER, FIN)], "fin", "proxy"), ([Packet(CLIENT, RST)], "reset", "client")],
)
def test_how_it_ended(ending: list[Packet], close: str, closed_by: str | None):
    packets = connection(PLAIN, closing=False)
    last = [replace(p, sequence=99_999, time=packets[-1].time + 1) for p in ending]
    record = only(analyse(packets + last))
    assert (record.close, record.closed_by) == (close, closed_by)


def test_open_long_after_a_failure():
    packets = connection(REFUSED)
    late = [replace(p, time=p.time + 20 * SECOND) for p in packets[-3:]]
    assert [a.code for a in only(analyse(packets[:-3] + late)).anomalies] == ["late-close"]


def test_ids_follow_the_first_packets_whatever_ends_first():
    slow = connection(PLAIN, client=("10.0.0.1", 1))
    quick = connection(PLAIN, client=("10.0.0.1", 2), begin=START + 500_000)
    order = [*slow[:1], *quick, *slow[1:], *connection(PLAIN, client=("10.0.0.1", 3), begin=START + 9 * SECOND)]
    for sizes in ([], [1] * len(order), [20]):
        assert [(r.id, r.client.port) for r in analyse(order, sizes)] == [(1, 1), (2, 2), (3, 3)]


# -- what is not SOCKS ----------------------------------------------------------------------------------------------


def test_a_greeting_alone_counts_only_on_a_proxy_port():
    said = [(CLIENT, GREETING)]
    record = only(analyse(connection(said)))
    assert (record.outcome, record.phase) == ("incomplete", "greeting")
    assert analyse(connection(said, proxy=("10.0.0.9", 8081))) == []
    assert only(analyse(connection(said, proxy=("10.0.0.9", 8081)), ports=[8081])).outcome == "incomplete"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ([(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")], "HTTP"),
        ([(CLIENT, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300))], "TLS"),
        ([(CLIENT, b"SSH-2.0-OpenSSH_9\r\n")], "SSH"),
    ],
)
def test_another_protocol_on_a_proxy_port_is_named(said: list[tuple[int, bytes]], name: str):
    record = only(analyse(connection(said)))
    assert (record.protocol, record.outcome) == (None, "malformed")
    found = [a for a in record.anomalies if a.code == "not-socks-on-socks-port"]
    assert len(found) == 1
    assert name in found[0].message


def test_unknown_octets_are_reported_only_on_a_port_the_user_named():
    said = [(CLIENT, b'{"id":1,"method":"mining.subscribe"}\n')]
    assert analyse(connection(said)) == []
    assert analyse(connection(said, client=("10.0.0.1", 1080), proxy=("10.0.0.9", 80))) == []
    assert only(analyse(connection(said), ports=[1080])).protocol is None


@pytest.mark.parametrize("opening", [GREETING, b"\5\2\0\1", b"PROXY", b"EHLO mail.example.com\r\n"], ids=repr)
def test_a_flow_whose_place_in_the_table_is_used_again_is_found(opening: bytes, monkeypatch: pytest.MonkeyPatch):
    """Flows that looked like SOCKS from one side only leave nothing behind."""
    monkeypatch.setattr("socks5sniff.analysis.bounds.MAX_FLOWS", 8)
    packets: list[Packet] = []
    for number in range(200):
        said = PLAIN if number % 10 == 9 else [(CLIENT, opening), (SERVER, b"220 mail.example.com ESMTP" + bytes(80))]
        end = ("10.0.0.1", 1024 + number)
        packets += connection(said, client=end, proxy=("10.0.0.9", 4000), begin=START + number * 100 * SECOND)
    found = analyse(packets, [7] * (len(packets) // 7))
    assert len(found) == 20
    assert all(record.outcome == "succeeded" and not record.anomalies for record in found)


def test_which_connections_are_decided_together_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch):
    """Not on when one of them was ruled out, either: here behind its end, by what the server had said before."""
    monkeypatch.setattr("socks5sniff.analysis.analyser.AT_ONCE", 3)
    ended = []
    for number, late in enumerate((600, 100, 200, 0, 700, 800)):
        said = PLAIN if number != 3 else [(CLIENT, b"x" * 20), (SERVER, b"y" * 100)]
        ends = {"client": ("10.0.0.1", 40000 + number), "proxy": ("10.0.0.9", 34567)}
        some = connection(said, begin=START + number * SECOND, **ends)
        some[-3:] = [replace(packet, time=packet.time + late * SECOND) for packet in some[-3:]]
        if number == 3:
            some = [replace(packet, time=packet.time + 300 * SECOND) for packet in some]
            some.append(replace(some.pop(4), time=some[-1].time + 1))
        ended.append(some)
    packets = sorted((packet for some in ended for packet in some), key=lambda packet: packet.time)
    frames = [(packet.time, packet.frame()) for packet in packets]

    def order(sizes: list[int]) -> list[int]:
        analyser = Analyser()
        found = [part for batch in batches(frames, sizes) for part in analyser.take(batch)]
        return [record.id for part in found + analyser.finish() for record in part]

    assert order([1] * len(frames)) == order([]) == order([7] * len(frames)) == [2, 3, 1, 4, 5]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=80)), max_size=12), st.booleans())
def test_any_octets_any_port_no_exception(said: list[tuple[int, bytes]], opening: bool):
    for proxy in (("10.0.0.9", 1080), ("10.0.0.9", 9999)):
        for record in analyse(connection(said, proxy=proxy, opening=opening), [3, 2]):
            record.as_dict()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, SECOND), st.binary(max_size=120)), max_size=20))
def test_any_frames_no_exception(frames: list[tuple[int, bytes]]):
    analyse(frames)


# -- UDP ------------------------------------------------------------------------------------------------------------

CLIENT_UDP, RELAY = ("10.0.0.1", 50_000), ("10.0.0.9", 3000)
TO_DNS = b"\0\0\0\1\x08\x08\x08\x08\0\x35"


def associated(bound: bytes = b"\x0a\0\0\x09", declared: bytes = bytes(6)) -> list[tuple[int, bytes]]:
    talk = [
        (CLIENT, GREETING),
        (SERVER, CHOICE),
        (CLIENT, b"\5\3\0\1" + declared),
        (SERVER, b"\5\0\0\1" + bound + b"\x0b\xb8"),
    ]
    return [(p.time, p.frame()) for p in connection(talk)]


def with_udp(frames: list[tuple[int, bytes]], datagrams: list[bytes], after: int = 7) -> list[tuple[int, bytes]]:
    time = frames[6][0]
    return [*frames[:after], *((time + n, octets) for n, octets in enumerate(datagrams, 1)), *frames[after:]]


QUERY = datagram(CLIENT_UDP, RELAY, TO_DNS + b"query")
RESPONSE = datagram(RELAY, CLIENT_UDP, TO_DNS + b"the answer")


@pytest.mark.parametrize("bound", [b"\x0a\0\0\x09", bytes(4)])
@pytest.mark.parametrize("after", [7, 4, 0])
def test_datagrams_of_an_association(bound: bytes, after: int):
    """Also when BND.ADDR is unspecified, and when the datagrams lie before the reply in the file."""
    record = only(analyse(with_udp(associated(bound), [QUERY, RESPONSE], after)))
    assert record.command == "udp-associate"
    assert record.udp == (1, 1, 5, 10, 0, [("8.8.8.8", 53, 1, 1, None, None, None)])
    assert record.bytes is None
    codes = {a.code for a in record.anomalies}
    assert ("bound-unspecified" in codes) == (bound == bytes(4))


def test_any_port_of_the_client_but_no_other_address():
    other_port = datagram(("10.0.0.1", 50_001), RELAY, TO_DNS + b"abc")
    stranger = datagram(("10.0.0.66", 50_000), RELAY, TO_DNS + b"xyz")
    record = only(analyse(with_udp(associated(), [QUERY, other_port, stranger])))
    assert record.udp is not None
    assert (record.udp.datagrams_sent, record.udp.bytes_sent) == (2, 8)
    assert [(a.code, a.frame) for a in record.anomalies] == [("udp-one-way", 9), ("udp-unassociated", 10)]


def test_the_leg_between_proxy_and_destination_is_not_the_clients():
    out = datagram(RELAY, ("8.8.8.8", 53), b"query")
    back = datagram(("8.8.8.8", 53), RELAY, b"\0\0\0\1 answer of the server")
    record = only(analyse(with_udp(associated(), [QUERY, out, back, RESPONSE])))
    assert record.udp is not None
    assert record.udp[:4] == (1, 1, 5, 10)
    assert record.anomalies == []


def test_each_fragment_is_a_datagram():
    def fragment(number: int, data: bytes) -> bytes:
        return datagram(CLIENT_UDP, RELAY, b"\0\0" + bytes([number]) + TO_DNS[3:] + data)

    record = only(analyse(with_udp(associated(), [fragment(1, b"ab"), fragment(2, b"cd"), fragment(0x83, b"e")])))
    assert record.udp == (3, 0, 5, 0, 3, [("8.8.8.8", 53, 3, 0, None, None, None)])
    assert [a.code for a in record.anomalies] == ["udp-fragmented", "udp-one-way"]
    broken = only(analyse(with_udp(associated(), [fragment(1, b"ab"), fragment(3, b"cd"), fragment(0x84, b"e")])))
    assert broken.udp is not None
    assert broken.udp.datagrams_sent == 3
    assert "udp-fragments-incomplete" in {a.code for a in broken.anomalies}


def test_datagrams_after_the_end_of_the_association_are_told():
    frames = with_udp(associated(), [QUERY])
    late = (frames[-1][0] + 5 * SECOND, QUERY)
    record = only(analyse([*frames, late]))
    assert record.udp is not None
    assert record.udp.datagrams_sent == 2
    assert "udp-after-close" in {a.code for a in record.anomalies}


def test_udp_frames_are_listed_on_request():
    frames = with_udp(associated(), [QUERY, RESPONSE])
    record = only(analyse(frames, udp_frames=True))
    assert [(f.frame, f.sender, f.type) for f in record.frames if f.type == "udp"] == [
        (8, "client", "udp"),
        (9, "proxy", "udp"),
    ]
    assert all(f.type != "udp" for f in only(analyse(frames)).frames)
