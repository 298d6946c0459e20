"""A session as a specification: what is said, and what is made of it."""

from __future__ import annotations

import pickle

import pytest

from socks5sniff.codec import Address
from socks5sniff.session import Session, Verdict

from . import scripts
from .scripts import codes, play, segments, summaries

GREETED = "C 05 01 00\nP 05 00\n"
ASKED = GREETED + "C 05 01 00 01 c0000209 0050\n"
OPEN = ASKED + "P 05 00 00 01 00000000 0000\n"


class TestDialogues:
    """The regular ones: one frame a segment, in turn."""

    def test_connect_by_name(self) -> None:
        session = play(scripts.CONNECT_BY_NAME)
        assert summaries(session) == [
            "Greeting: no-authentication",
            "Method selection: no-authentication",
            "Request: CONNECT example.com:443",
            "Reply: succeeded, bound 10.0.0.1:4711",
        ]
        assert (session.verdict, session.protocol, session.phase, session.outcome()) == (
            Verdict.SOCKS,
            "socks5",
            "relay",
            "succeeded",
        )
        assert (session.methods, session.method, session.command, session.reply) == (b"\x00", 0, 1, 0)
        assert session.destination == Address(3, b"example.com", 443)
        assert session.bound == Address(1, b"\x0a\x00\x00\x01", 4711)
        assert (session.username, session.password, session.authenticated) == (None, None, None)
        assert (session.peer_reply, session.peer) == (None, None)
        assert session.tunnel_start == [21, 12]
        assert session.anomalies == []

    def test_frames_tell_where_they_were(self) -> None:
        frames = play(scripts.PASSWORD).frames
        assert [(f.frame, f.time, f.sender, f.type, f.offset, f.length) for f in frames] == [
            (1, 1000, "client", "greeting", 0, 4),
            (2, 2000, "proxy", "method-selection", 0, 2),
            (3, 3000, "client", "auth-request", 4, 11),
            (4, 4000, "proxy", "auth-reply", 2, 2),
            (5, 5000, "client", "request", 15, 10),
            (6, 6000, "proxy", "reply", 4, 22),
        ]

    def test_username_and_password(self) -> None:
        session = play(scripts.PASSWORD)
        assert (session.method, session.username, session.password) == (2, b"bob", b"alice")
        assert session.authenticated is True
        assert (session.authentication_start, session.authentication_end) == (3000, 4000)
        assert session.outcome() == "succeeded"
        assert codes(session) == [("cleartext-credentials", 3)]

    def test_a_password_is_in_no_summary(self) -> None:
        assert "alice" not in " ".join(summaries(play(scripts.PASSWORD)))

    def test_a_password_on_loopback_is_no_anomaly(self) -> None:
        assert codes(play(scripts.PASSWORD, loopback=True)) == []

    def test_bind_has_two_replies_and_then_a_tunnel(self) -> None:
        session = play(segments(scripts.BIND)[:4])
        assert (session.phase, session.relay, session.outcome(ended=False)) == ("request", False, None)
        session = play(scripts.BIND)
        assert (session.phase, session.relay, session.outcome()) == ("relay", True, "succeeded")
        assert (session.reply, session.bound) == (0, Address.ipv4("198.51.100.1", 10000))
        assert (session.peer_reply, session.peer) == (0, Address.ipv4("192.0.2.9", 20))
        assert session.tunnel_start == [13, 22]

    def test_bind_whose_peer_never_comes_is_rejected_by_the_second_reply(self) -> None:
        session = play([*segments(scripts.BIND)[:4], (1, bytes.fromhex("05060001000000000000"))])
        assert (session.reply, session.peer_reply, session.outcome(), session.relay) == (0, 6, "rejected", False)

    def test_udp_associate_opens_an_association(self) -> None:
        session = play(scripts.ASSOCIATE)
        assert (session.phase, session.relay, session.command) == ("relay", True, 3)
        assert codes(session) == []

    def test_resolve_is_done_with_its_answer(self) -> None:
        session = play(scripts.RESOLVE)
        assert (session.phase, session.relay, session.done, session.outcome()) == ("request", False, True, "succeeded")
        assert summaries(session)[2:] == ["Request: RESOLVE example.com", "Reply: succeeded, bound 93.184.216.34:0"]

    def test_a_failure_reply(self) -> None:
        session = play(scripts.REFUSED_CONNECTION)
        assert (session.phase, session.outcome(), session.reply) == ("request", "rejected", 5)
        assert summaries(session)[-1] == "Reply: connection refused, bound 0.0.0.0:0"
        assert session.anomalies == []

    def test_an_unknown_command_that_succeeds_opens_a_tunnel(self) -> None:
        session = play(GREETED + "C 05 99 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000")
        assert (session.command, session.relay) == (0x99, True)
        assert codes(session) == [("unknown-command", 3)]
        assert summaries(session)[2] == "Request: command 0x99 192.0.2.9:80"

    def test_socks4(self) -> None:
        session = play(scripts.SOCKS4)
        assert (session.protocol, session.phase, session.outcome()) == ("socks4", "relay", "succeeded")
        assert (session.username, session.methods, session.method) == (b"fred", None, None)
        assert (session.reply, session.socks4) == (90, True)
        assert summaries(session) == [
            "Request: CONNECT 93.184.216.34:80, user fred",
            "Reply: request granted, bound 0.0.0.0:0",
        ]

    def test_socks4a(self) -> None:
        session = play(scripts.SOCKS4A)
        assert (session.protocol, session.destination) == ("socks4a", Address(3, b"example.com", 443))

    def test_socks4_bind_has_two_replies(self) -> None:
        session = play(scripts.SOCKS4_BIND)
        assert (session.reply, session.peer_reply, session.phase) == (90, 90, "relay")
        assert (session.username, session.peer) == (None, Address.ipv4("192.0.2.9", 20))

    def test_socks4_rejected(self) -> None:
        session = play(scripts.SOCKS4_REJECTED)
        assert (session.phase, session.outcome(), session.reply) == ("request", "rejected", 91)

    @pytest.mark.parametrize("command", ["f0", "f1"])
    def test_socks4_resolve(self, command: str) -> None:
        session = play(f'C 04 {command} 0000 00000001 00 "example.com" 00\nP 00 5a 0000 5db8d822')
        assert (session.phase, session.relay, session.done, session.outcome()) == ("request", False, True, "succeeded")


class TestGssapi:
    def test_after_the_level_negotiation_the_dialogue_is_sealed(self) -> None:
        session = play(scripts.GSSAPI_SEALED)
        assert [frame.type for frame in session.frames[2:]] == ["gssapi"] * 6
        assert (session.phase, session.outcome(), session.done) == ("request", "incomplete", True)
        assert (session.authenticated, session.destination, session.relay) == (True, None, False)
        assert (session.authentication_start, session.authentication_end) == (3000, 6000)
        assert session.anomalies == []

    def test_without_protection_the_request_follows_in_clear(self) -> None:
        session = play(scripts.GSSAPI_IN_CLEAR)
        assert (session.authenticated, session.phase, session.outcome()) == (True, "relay", "succeeded")
        assert session.destination == Address.ipv4("192.0.2.9", 80)
        assert session.anomalies == []

    def test_a_level_sent_unwrapped_is_the_nec_variant(self) -> None:
        session = play("C 050101\nP 0501\nC 01010001aa\nP 01010001bb\nC 0102000101\nP 0102000101")
        assert codes(session) == [("gssapi-level-unprotected", 5)]

    @pytest.mark.parametrize("who", ["C", "P"])
    def test_an_abort_of_either_side_ends_it(self, who: str) -> None:
        session = play(f"C 050101\nP 0501\nC 01010001aa\n{who} 01ff")
        assert (session.authenticated, session.phase, session.outcome()) == (False, "authentication", "auth-failed")
        assert codes(session) == [("auth-failed", 4)]

    def test_while_tokens_are_exchanged_there_is_no_verdict(self) -> None:
        session = play("C 050101\nP 0501\nC 01010001aa\nP 01010001bb")
        assert (session.authenticated, session.authentication_end, session.outcome()) == (None, None, "incomplete")

    def test_endless_rounds_are_given_up(self) -> None:
        session = play([*segments("C 050101\nP 0501"), *[(n % 2, b"\x01\x01\x00\x01a") for n in range(1000)]])
        assert len(session.frames) == 200
        assert session.done

    def test_endless_rounds_with_gaps_too(self) -> None:
        session = play("C 050101\nP 0501")
        for number in range(3, 1000):
            session.feed(0, b"\x01\x01\x00\x04a", number, number)
            session.gap(0, 3, number, number)
        assert (len(session.frames), session.done) == (200, True)

    def test_the_longest_token_octet_by_octet(self) -> None:
        token = b"\x01\x01\xff\xff" + bytes(0xFFFF)
        session = play([*segments("C 050101\nP 0501"), *[(0, token[n : n + 1]) for n in range(len(token))]])
        assert session.frames[-1].length == 4 + 0xFFFF


class TestMethods:
    def test_none_acceptable(self) -> None:
        session = play("C 05 01 00\nP 05 ff")
        assert (session.phase, session.outcome(), session.method) == ("greeting", "no-acceptable-method", 0xFF)
        assert codes(session) == [("no-acceptable-method", 2)]

    @pytest.mark.parametrize("split", ["P 05 ff 00 01 00000000 0000", "P 05 ff\nP 00 01 00000000 0000"])
    def test_a_refusal_with_more_behind_it(self, split: str) -> None:
        session = play("C 05 01 00\n" + split)
        assert session.outcome() == "no-acceptable-method"
        assert codes(session) == [("no-acceptable-method", 2), ("refusal-too-long", 2 + split.count("\n"))]

    def test_a_failed_password(self) -> None:
        session = play('C 05 01 02\nP 05 02\nC 01 03 "bob" 01 "x"\nP 01 07', loopback=True)
        assert (session.phase, session.outcome(), session.authenticated) == ("authentication", "auth-failed", False)
        assert codes(session) == [("auth-failed", 4)]

    def test_a_password_answered_with_version_5(self) -> None:
        session = play('C 05 01 02\nP 05 02\nC 01 03 "bob" 01 "x"\nP 05 00', loopback=True)
        assert (session.authenticated, session.phase) == (True, "request")
        assert codes(session) == [("auth-version", 4)]

    def test_empty_credentials(self) -> None:
        session = play("C 05 01 02\nP 05 02\nC 01 00 00\nP 01 00", loopback=True)
        assert (session.username, session.password) == (b"", b"")
        assert codes(session) == [("empty-credential", 3), ("empty-credential", 3)]

    def test_a_request_instead_of_the_password(self) -> None:
        session = play("C 05 01 02\nP 05 02\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000")
        assert (session.authenticated, session.relay) == (None, True)
        assert codes(session) == [("bad-version", 3)]

    @pytest.mark.parametrize("method", ["03", "05", "80", "fe"])
    def test_a_method_that_nobody_here_can_follow(self, method: str) -> None:
        session = play(f"C 05 01 {method}\nP 05 {method}\nC 16 03 01 02 00 01")
        assert (session.verdict, session.phase, session.outcome()) == (Verdict.SOCKS, "authentication", "incomplete")
        assert (session.done, session.anomalies) == (True, [])

    def test_a_private_method_without_a_dialogue_of_its_own(self) -> None:
        session = play("C 05 01 80\nP 05 80\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000")
        assert (session.phase, session.outcome(), session.authenticated) == ("relay", "succeeded", None)


class TestSegments:
    """Frames never align with segments."""

    def test_the_request_may_be_sent_ahead_of_the_choice(self) -> None:
        session = play("C 05 01 00 05 01 00 01 c0000209 0050\nP 05 00\nP 05 00 00 01 00000000 0000")
        assert [(frame.type, frame.frame) for frame in session.frames] == [
            ("greeting", 1),
            ("method-selection", 2),
            ("request", 1),
            ("reply", 3),
        ]
        assert session.outcome() == "succeeded"
        assert codes(session) == [("pipelined-frames", 1)]

    def test_everything_in_one_segment_each_way(self) -> None:
        session = play(
            'C 05 01 02 01 03 "bob" 01 "x" 05 01 00 01 c0000209 0050 "GET /"\n'
            'P 05 02 01 00 05 00 00 01 00000000 0000 "HTTP/1"',
            loopback=True,
        )
        assert len(session.frames) == 6
        assert session.tunnel_start == [20, 14]
        assert [tuple(run) for run in session.take_tunnel()] == [(0, b"GET /", 1, 1000), (1, b"HTTP/1", 2, 2000)]
        assert codes(session) == [("early-data", 1), ("pipelined-frames", 1), ("pipelined-frames", 2)]

    def test_one_octet_a_segment(self) -> None:
        octets = [(role, octets[n : n + 1]) for role, octets in segments(scripts.SOCKS4A) for n in range(len(octets))]
        session = play(octets)
        assert (session.protocol, session.outcome()) == ("socks4a", "succeeded")
        assert [(f.frame, f.time, f.started) for f in session.frames] == [(25, 25000, 1000), (33, 33000, 26000)]
        assert codes(session) == [("split-frame", 25), ("split-frame", 33)]

    def test_a_split_frame_is_told_once_where_it_is_whole(self) -> None:
        session = play("C 05\nC 01\nC 00\nP 05 00")
        assert codes(session) == [("split-frame", 3)]

    def test_optimistic_data_is_told_once_and_handed_on(self) -> None:
        session = play(ASKED + 'C "ab"\nC "cd"\nP 05 00 00 01 00000000 0000\nC "ef"')
        assert codes(session) == [("early-data", 4)]
        assert b"".join(run.octets for run in session.take_tunnel()) == b"abcdef"
        assert session.tunnel_start == [13, 12]
        assert session.take_tunnel() == []

    def test_optimistic_data_behind_the_request(self) -> None:
        session = play(GREETED + 'C 05 01 00 01 c0000209 0050 "ab"\nP 05 00 00 01 00000000 0000')
        assert codes(session) == [("early-data", 3)]
        assert [tuple(run) for run in session.take_tunnel()] == [(0, b"ab", 3, 3000)]

    def test_optimistic_data_before_a_failure_is_not_data_after_it(self) -> None:
        session = play(ASKED + 'C "ab"\nP 05 01 00 01 00000000 0000')
        assert codes(session) == [("early-data", 4)]

    def test_more_optimistic_data_than_is_kept(self) -> None:
        session = play([*segments(ASKED), *[(0, bytes(1400))] * 20, (1, bytes.fromhex("05000001000000000000"))])
        assert session.relay
        assert session.tunnel_start == [13, 12]
        assert sum(len(run.octets) for run in session.take_tunnel()) == 8192
        session.feed(0, b"later", 99, 99)
        assert session.take_tunnel() == []

    def test_tunnel_octets_behind_the_reply(self) -> None:
        session = play(ASKED + 'P 05 00 00 01 00000000 0000 "SSH-2.0"')
        assert [tuple(run) for run in session.take_tunnel()] == [(1, b"SSH-2.0", 4, 4000)]
        assert codes(session) == []

    def test_data_after_a_failure_is_told_once(self) -> None:
        session = play(ASKED + 'P 05 01 00 01 00000000 0000 "x"\nP "y"\nC "z"')
        assert codes(session) == [("data-after-failure", 4)]

    def test_segments_without_octets_change_nothing(self) -> None:
        session = Session()
        for role, octets in segments(scripts.CONNECT_BY_NAME):
            session.feed(role, b"", 1, 1)
            session.feed(role, octets, 1, 1)
        assert session.relay


class TestOrder:
    def test_a_reply_before_the_request(self) -> None:
        session = play(GREETED + "P 05 00 00 01 00000000 0000\nC 05 01 00 01 c0000209 0050")
        assert codes(session) == [("reply-before-request", 3)]
        assert session.outcome() == "succeeded"

    def test_a_reply_in_the_choice_s_segment_to_a_request_sent_ahead_is_in_order(self) -> None:
        session = play("C 05 01 00 05 01 00 01 c0000209 0050\nP 05 00 05 00 00 01 00000000 0000")
        assert "reply-before-request" not in [code for code, _ in codes(session)]

    def test_a_server_that_spoke_first(self) -> None:
        session = play('P "hello"\n' + scripts.CONNECT_BY_NAME.strip())
        assert (session.verdict, session.client_side, session.preamble) == (Verdict.SOCKS, 0, (0, 5))
        assert codes(session) == [("server-spoke-first", 1)]
        assert session.tunnel_start == [21, 17]


class TestRoles:
    """The SOCKS client is who speaks SOCKS first, not who opened the TCP connection."""

    @pytest.mark.parametrize("name", scripts.DIALOGUES)
    def test_the_client_may_be_the_tcp_server(self, name: str) -> None:
        forward, reverse = play(scripts.DIALOGUES[name]), play(scripts.DIALOGUES[name], client=1)
        assert (forward.client_side, reverse.client_side) == (0, 1)
        assert reverse.tunnel_start == forward.tunnel_start[::-1]
        assert [frame[1:] for frame in forward.frames] == [frame[1:] for frame in reverse.frames]
        assert (summaries(reverse), codes(reverse)) == (summaries(forward), codes(forward))

    @pytest.mark.parametrize(
        ("first", "preamble"),
        [
            ('P "who calls"\nC 05 01 00', (9, 0)),
            ('C "ok" 05 01 00', (0, 2)),
            ('P "who calls"\nC "ok"\nC 05 01 00', (9, 2)),
            ('C "ok"\nP "me"\nC 05 01 00', (2, 2)),
            ('P "who calls"\nC "ok" 05\nC 01\nC 00', (9, 2)),
            (f"P {'ee' * 64}\nC {'dd' * 64} 05 01 00", (64, 64)),
        ],
    )
    def test_then_foreign_octets_of_both_may_precede(self, first: str, preamble: tuple[int, int]) -> None:
        session = play(first + "\nP 05 00\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000", client=1)
        assert (session.verdict, session.client_side, session.preamble) == (Verdict.SOCKS, 1, preamble)
        assert session.tunnel_start == [preamble[0] + 12, preamble[1] + 13]
        assert session.outcome() == "succeeded"
        assert [code for code, _ in codes(session) if code != "split-frame"] == []

    def test_the_choice_may_come_octet_by_octet_then(self) -> None:
        session = play(
            'C "ok" 05 01 00\nP 05\nP 00\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000', client=1
        )
        assert (session.verdict, session.client_side) == (Verdict.SOCKS, 1)

    @pytest.mark.parametrize(
        "first", [f"P {'ee' * 65}\nC 05 01 00", f"C {'dd' * 65} 05 01 00", f"P {'ee' * 30}\nP {'ee' * 35}\nC 050100"]
    )
    def test_but_not_more_than_the_limit(self, first: str) -> None:
        session = play(first + "\nP 05 00\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000", client=1)
        assert session.verdict is Verdict.FOREIGN


class TestAssociate:
    @pytest.mark.parametrize(
        ("destination", "address", "expected"),
        [
            ("01 00000000 0000", "192.0.2.1", []),
            ("04 00000000000000000000000000000000 0035", "2001:db8::1", []),
            ("01 c0000201 1388", "192.0.2.1", []),
            ("01 c0000201 1388", "::ffff:192.0.2.1", []),
            ("01 08080808 0035", "192.0.2.1", [("associate-names-target", 3)]),
            ("01 08080808 0035", None, []),
            ('03 03 "dns" 0035', "192.0.2.1", [("associate-names-target", 3)]),
            ('03 03 "dns" 0035', None, [("associate-names-target", 3)]),
        ],
    )
    def test_dst_is_the_client_s_own_address(
        self, destination: str, address: str | None, expected: list[tuple[str, int]]
    ) -> None:
        assert codes(play(GREETED + f"C 05 03 00 {destination}", address=address)) == expected

    @pytest.mark.parametrize("bound", ["01 00000000 1388", "04 00000000000000000000000000000000 1388"])
    def test_an_unspecified_relay_address_is_noted(self, bound: str) -> None:
        session = play(GREETED + f"C 05 03 00 01 00000000 0000\nP 05 00 00 {bound}")
        assert codes(session) == [("bound-unspecified", 4)]

    def test_an_unspecified_address_of_connect_is_usual(self) -> None:
        assert codes(play(OPEN)) == []


class TestFaults:
    @pytest.mark.parametrize(
        ("last", "code"),
        [
            ('C "GET / HTTP/1.1"', "bad-version"),
            ("C 16 03 01 00 c8", "bad-version"),
            ("C 04 01 00 50 c0000209 00", "bad-version"),
        ],
    )
    def test_a_request_that_cannot_be_read(self, last: str, code: str) -> None:
        session = play(GREETED + last)
        assert (session.outcome(), session.phase, session.done) == ("malformed", "request", True)
        assert codes(session) == [(code, 3)]

    @pytest.mark.parametrize("answer", ['P "HTTP/1.1 400 Bad Request"', "P 00 5b 0000 00000000", "P 15 03"])
    def test_a_choice_that_is_another_protocol(self, answer: str) -> None:
        session = play("C 05 01 00\n" + answer, trusted=True)
        assert (session.verdict, session.outcome(), session.method) == (Verdict.SOCKS, "malformed", None)
        assert codes(session) == [("bad-version", 2)]

    @pytest.mark.parametrize("answer", ["P 04 00", "P 00 00", "P 01 00"])
    def test_a_choice_of_another_version_whose_method_was_offered(self, answer: str) -> None:
        """It is the choice all the same: some servers get the first octet wrong."""
        rest = "\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000"
        session = play("C 05 01 00\n" + answer + rest, trusted=True)
        assert (session.method, session.outcome()) == (0, "succeeded")
        assert codes(session) == [("bad-version", 2)]

    def test_a_method_that_was_not_offered(self) -> None:
        session = play('C 05 01 00\nP 05 02\nC 01 03 "bob" 01 "x"\nP 01 00', trusted=True, loopback=True)
        assert (session.authenticated, session.method) == (True, 2)
        assert codes(session) == [("method-not-offered", 2)]

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            ("P 04 00 00 01 00000000 0000", [("bad-version", 4)]),
            ("P 05 00 07 01 00000000 0000", [("reserved-nonzero", 4)]),
            ("P 05 00 00 03 00 0000", [("empty-domain", 4)]),
        ],
    )
    def test_a_reply_with_a_fault_is_still_the_reply(self, reply: str, expected: list[tuple[str, int]]) -> None:
        session = play(ASKED + reply)
        assert (session.reply, session.relay) == (0, True)
        assert codes(session) == expected

    def test_an_unknown_reply_code_is_a_failure(self) -> None:
        session = play(ASKED + "P 05 33 00 01 00000000 0000")
        assert (session.reply, session.outcome()) == (0x33, "rejected")
        assert codes(session) == [("unknown-reply", 4)]

    @pytest.mark.parametrize("end", ["close", "finish"])
    def test_a_failure_reply_cut_short_is_a_failure_all_the_same(self, end: str) -> None:
        session = play(ASKED + "P 05 02")
        assert session.outcome(ended=False) is None
        session.close(1, 5, 5000) if end == "close" else session.finish()
        assert (session.outcome(), session.reply, session.bound) == ("rejected", 2, None)
        assert (session.frames[-1].damaged, session.frames[-1].length) == (True, 2)

    def test_a_success_cut_short_is_none(self) -> None:
        session = play(ASKED + "P 05 00 00")
        assert (session.outcome(), session.reply) == ("incomplete", None)

    @pytest.mark.parametrize("count", range(1, 6))
    def test_ends_before_a_verdict_are_incomplete(self, count: int) -> None:
        session = play(segments(scripts.PASSWORD)[:count], trusted=True)
        assert session.outcome() == "incomplete"
        assert session.phase == ["greeting", "authentication", "authentication", "request", "request"][count - 1]


class TestGaps:
    def test_the_end_of_a_frame_whose_length_is_known(self) -> None:
        session = play(GREETED + 'C 05 01 00 03 0b "exam"')
        session.gap(0, 7, 4, 4000)
        session.feed(0, bytes.fromhex("01bb"), 5, 5000)
        session.feed(1, bytes.fromhex("05000001000000000000"), 6, 6000)
        assert (session.command, session.destination, session.outcome()) == (1, None, "succeeded")
        assert session.frames[2].damaged
        assert session.frames[2].summary == "Request: octets are missing"
        assert codes(session) == [("handshake-gap", 4), ("split-frame", 5)]
        assert session.tunnel_start == [21, 12]

    def test_the_method_list(self) -> None:
        session = play("C 05 03 00", trusted=True)
        session.gap(0, 2, 2, 2000)
        session.feed(1, b"\x05\x00", 3, 3000)
        assert (session.verdict, session.methods, session.method) == (Verdict.SOCKS, None, 0)
        assert codes(session) == [("handshake-gap", 2), ("split-frame", 2)]

    @pytest.mark.parametrize(("side", "length"), [(0, 10), (0, 1), (1, 2)])
    def test_a_lost_frame_is_no_verdict(self, side: int, length: int) -> None:
        session = play(GREETED)
        session.gap(side, length, 3, 3000)
        assert (session.verdict, session.outcome()) == (Verdict.SOCKS, "incomplete")
        assert (session.phase, codes(session)) == ("request", [("handshake-gap", 3)])

    def test_a_lost_reply_ends_the_reading(self) -> None:
        session = play(ASKED)
        session.gap(1, 10, 3, 3000)
        assert (session.outcome(), session.done, session.command) == ("incomplete", True, 1)

    @pytest.mark.parametrize("code", [0, 5])
    def test_the_reply_to_a_lost_request_is_the_outcome(self, code: int) -> None:
        session = play(GREETED)
        session.gap(0, 10, 3, 3000)
        session.feed(1, bytes((5, code, 0, 1, 10, 0, 0, 1, 0, 80)), 4, 4000)
        assert (session.outcome(), session.reply) == ("rejected" if code else "succeeded", code)
        assert (session.command, session.destination, session.relay) == (None, None, False)

    def test_lost_optimistic_data_is_the_tunnel_s_matter(self) -> None:
        session = play(ASKED)
        session.gap(0, 100, 4, 4000)
        session.feed(0, b"more", 5, 5000)
        session.feed(1, bytes.fromhex("05000001000000000000"), 6, 6000)
        assert (session.relay, session.tunnel_start) == (True, [13, 12])
        assert codes(session) == []
        assert session.take_tunnel() == []

    def test_lost_tunnel_octets_are_nothing_to_a_session(self) -> None:
        session = play(OPEN)
        session.gap(0, 100, 5, 5000)
        assert codes(session) == []

    def test_an_undecided_connection_with_a_gap_is_foreign_but_not_named(self) -> None:
        session = Session(trusted=True)
        session.gap(0, 3, 1, 1000)
        session.feed(1, b"\x05\x00", 2, 2000)
        session.finish()
        assert (session.verdict, session.anomalies, session.foreign) == (Verdict.FOREIGN, [], None)


def test_every_kind_of_anomaly_a_session_tells_is_in_the_registry() -> None:
    from socks5sniff.codec import ANOMALIES

    told = {
        anomaly.code
        for script in (*scripts.DIALOGUES.values(), ASKED + 'P 05 01 00 01 00000000 0000 "x"')
        for anomaly in play(script).anomalies
    }
    assert told
    assert told <= set(ANOMALIES)


@pytest.mark.parametrize("client", [0, 1])
def test_a_refusal_whose_address_type_is_unknown_still_says_why(client: int) -> None:
    """Tor answers a failed RESOLVE so: ATYP 0, four octets of address and two of port, or nothing behind."""
    for refusal in (b"\5\4\0\0", b"\5\4\0\0\0\0", b"\5\4\0\0\0\0\0\0\0\0"):
        session = Session()
        for role, octets in ((0, b"\5\1\0"), (1, b"\5\0"), (0, b"\5\xf0\0\3\7example\0\0"), (1, refusal)):
            session.feed(role ^ client, octets, 1, 1)
        assert (session.outcome(), session.reply, session.bound) == ("rejected", 4, None)
        assert [anomaly.code for anomaly in session.anomalies] == ["unknown-address-type"]


def test_a_selection_before_the_greeting_is_the_answer_all_the_same() -> None:
    session = Session(trusted=True)
    said = ((1, b"\5\0"), (0, b"\5\1\0"), (0, b"\5\1\0\1\x0a\0\0\1\0\x50"), (1, b"\5\0\0\1\0\0\0\0\0\0"))
    for frame, (side, octets) in enumerate(said, 1):
        session.feed(side, octets, frame, frame)
    assert (session.outcome(), session.method) == ("succeeded", 0)
    assert [(anomaly.code, anomaly.frame) for anomaly in session.anomalies] == [("server-spoke-first", 1)]


def test_a_frame_is_completed_by_the_latest_of_its_segments() -> None:
    """In a capture out of order the octets come in the order of the stream, each with its own frame number."""
    session = Session()
    session.feed(0, b"\5\1", 9, 90)
    session.feed(0, b"\0", 4, 40)
    session.feed(1, b"\5\0", 10, 100)
    assert [(frame.type, frame.frame, frame.time) for frame in session.frames] == [
        ("greeting", 9, 90),
        ("method-selection", 10, 100),
    ]


@pytest.mark.parametrize("name", scripts.DIALOGUES)
def test_a_session_is_plain_values(name: str) -> None:
    """Pickled between any two segments, each cut in two so that buffers are in use as well, it goes on as before."""
    pieces = [
        (role, part)
        for role, octets in segments(scripts.DIALOGUES[name])
        for part in (octets[: len(octets) // 2], octets[len(octets) // 2 :])
    ]
    plain, pickled = Session(trusted=True), Session(trusted=True)
    for number, (role, octets) in enumerate(pieces, 1):
        for session in (plain, pickled):
            session.feed(role, octets, number, number * 1000)
        pickled = pickle.loads(pickle.dumps(pickled))
    assert scripts.facts(pickled) == scripts.facts(plain)
    assert codes(pickled) == codes(plain)
    assert pickled.take_tunnel() == plain.take_tunnel()


FAULTY = {
    "a request of another version": "C 05 01 00\nP 05 00\nC 04 01 00 50 c0000209 00",
    "an unknown address type": "C 05 01 00\nP 05 00\nC 05 01 00 05 c0000209 0050\nP 05 08 00 01 00000000 0000",
    "a choice of another version": "C 05 01 00\nP 04 00\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000",
    "a method that was not offered": 'C 05 01 00\nP 05 02\nC 01 03 "bob" 01 "x"\nP 01 00',
    "an answer ahead of its request": "C 05 01 00\nP 05 00 05 00 00 01 00000000 0000\nC 05 01 00 01 c0000209 0050",
    "octets after a refusal": 'C 05 01 00\nP 05 ff 00\nC "x"',
    "octets after a failure": 'C 05 01 00\nP 05 00\nC 05 01 00 01 c0000209 0050\nP 05 05 00 01 00000000 0000 "x"',
    "a refusal without an address": "C 05 01 00\nP 05 00\nC 05 01 00 01 c0000209 0050\nP 05 05",
    "socks4 without an end": 'C 04 01 0050 c0000209 "bob"\nP 00 5a 0000 00000000',
}


@pytest.mark.parametrize("name", [*scripts.DIALOGUES, *FAULTY])
def test_who_opened_the_connection_changes_nothing(name: str) -> None:
    """The proxy may have: "reverse" proxies call back to whoever uses them."""
    script = scripts.DIALOGUES.get(name) or FAULTY[name]
    usual, reverse = play(script, trusted=True), play(script, client=1, trusted=True)
    for session in (usual, reverse):
        session.finish()
    assert scripts.facts(reverse) == scripts.facts(usual) | {"tunnel_start": reverse.tunnel_start}
    assert reverse.tunnel_start == usual.tunnel_start[::-1]
    assert reverse.anomalies == usual.anomalies
    assert (usual.client_side, reverse.client_side) == (0, 1)


HEADER = bytes.fromhex("0d0a0d0a000d0a515549540a 2111000c cb007105 c0000201 c738 0438")
"""A binary PROXY protocol header; after 16 octets its length is known."""


@pytest.mark.parametrize(("captured", "known"), [(12, False), (15, False), (16, True), (20, True), (28, True)])
def test_a_proxy_header_that_was_captured_in_part(captured: int, known: bool) -> None:
    session = Session()
    session.feed(0, HEADER[:captured], 1, 1)
    session.gap(0, len(HEADER) - captured, 2, 2)
    for frame, (side, octets) in enumerate(scripts.segments(scripts.CONNECT_BY_NAME), 3):
        session.feed(side, octets, frame, frame)
    session.finish()
    assert (session.outcome() == "succeeded") is known
    header = session.proxy_header
    assert (header is not None) is known
    if header is not None:
        stated = str(header.frame.source) if captured == len(HEADER) else "None"
        assert (header.frame.version, header.length, str(header.frame.source)) == (2, len(HEADER), stated)
        assert ("203.0.113.5" in stated) is (captured == len(HEADER))
