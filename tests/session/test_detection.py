"""What is SOCKS on a port nobody named, what is on a named one, and what is neither."""

from __future__ import annotations

import pytest

from socks5sniff.session import Session, Verdict
from socks5sniff.session.detection import UNDECIDED_OCTETS

from .scripts import DIALOGUES, SOCKS4, codes, play, segments

UNDECIDED, SOCKS, FOREIGN = Verdict.UNDECIDED, Verdict.SOCKS, Verdict.FOREIGN

ASK = "C 05 01 00 01 c0000209 0050\n"
REPLY = "P 05 00 00 01 00000000 0000\n"


def verdicts(script: str, trusted: bool = False) -> list[Verdict]:
    """The verdict after each segment."""
    session = Session(trusted)
    found = []
    for number, (side, octets) in enumerate(segments(script), 1):
        session.feed(side, octets, number, number)
        found.append(session.verdict)
    return found


def test_what_may_be_an_answer_is_given_up_once_it_is_longer_than_any() -> None:
    """Of a proxy whose client is not in the capture: before the connection ends."""
    session = Session()
    session.feed(1, b"\1\5" + b"A" * (UNDECIDED_OCTETS - 3), 1, 1)
    assert session.verdict is UNDECIDED
    session.feed(1, b"AA", 2, 2)
    assert session.verdict is FOREIGN


class TestBothSidesMustFit:
    """On any port: a sound opening, and an answer to it."""

    @pytest.mark.parametrize("name", DIALOGUES)
    def test_a_regular_dialogue_is_socks_with_the_first_answer(self, name: str) -> None:
        assert verdicts(DIALOGUES[name])[:2] == [UNDECIDED, SOCKS]

    @pytest.mark.parametrize("methods", ["01 00", "02 00 02", "03 00 01 02", "01 80", "04 00 01 02 fe", "02 09 02"])
    def test_sound_greetings(self, methods: str) -> None:
        chosen = methods.split()[-1]
        assert verdicts(f"C 05 {methods}\nP 05 {chosen}") == [UNDECIDED, SOCKS]
        assert verdicts(f"C 05 {methods}\nP 05 ff") == [UNDECIDED, SOCKS]

    def test_a_greeting_that_nobody_answered_is_nothing(self) -> None:
        session = play("C 05 01 00")
        assert session.verdict is UNDECIDED
        session.finish()
        assert (session.verdict, session.frames, session.anomalies) == (FOREIGN, [], [])

    @pytest.mark.parametrize(
        "answer", ["P 04 00", "P 00", '"SSH-2.0-x"', "P 16 03 03", "P 06 00", "P 05 00 00", "P 05 02 05"]
    )
    def test_an_answer_that_does_not_fit_makes_it_foreign(self, answer: str) -> None:
        script = "C 05 01 00\n" + (answer if answer[0] == "P" else "P " + answer) + '\nC "whatever"'
        assert verdicts(script)[-1] is FOREIGN

    @pytest.mark.parametrize("rest", ["00 00 05", "0b 03 10 00", "16 03 01", '"GET"', "ff"])
    def test_octets_pipelined_behind_the_greeting_have_to_fit_too(self, rest: str) -> None:
        assert verdicts(f"C 05 01 00 {rest}\nP 05 00")[-1] is FOREIGN

    def test_octets_pipelined_behind_the_choice_have_to_fit_too(self) -> None:
        assert verdicts(f"C 05 01 00\nP 05 00 00 35 12\n{ASK}")[-1] is FOREIGN

    @pytest.mark.parametrize(
        "request4",
        [
            "04 00 0050 5db8d822 00",
            "04 03 0050 5db8d822 00",
            "04 01 0050 5db8d822 0a 00",
            "04 01 0050 00000001 00 07 00",
        ],
    )
    def test_socks4_that_makes_no_sense_is_foreign_at_once(self, request4: str) -> None:
        assert verdicts(f"C {request4}") == [FOREIGN]

    @pytest.mark.parametrize(
        ("user", "verdict"),
        [("7e", Verdict.SOCKS), ("7f", Verdict.FOREIGN), ("20", Verdict.SOCKS), ("1f", Verdict.FOREIGN)],
    )
    def test_a_user_id_is_printable(self, user: str, verdict: Verdict) -> None:
        session = play(f"C 04 01 0050 c0000209 {user} 00\nP 00 5a 0000 00000000")
        session.finish()
        assert session.verdict is verdict

    @pytest.mark.parametrize(("user", "verdict"), [("7e", Verdict.SOCKS), ("7f", Verdict.FOREIGN)])
    def test_so_is_the_beginning_of_one(self, user: str, verdict: Verdict) -> None:
        """Where SOCKS is expected."""
        session = play(f"C 04 01 0050 c0000209 {user}", trusted=True)
        session.finish()
        assert session.verdict is verdict

    @pytest.mark.parametrize(("before", "verdict"), [(64, Verdict.SOCKS), (65, Verdict.FOREIGN)])
    @pytest.mark.parametrize("side", ["C", "P"])
    def test_so_many_octets_may_precede_the_greeting(self, side: str, before: int, verdict: Verdict) -> None:
        """Of the proxy, or of a client that was called."""
        talk = "C 05 01 00\nP 05 00\nC 05 01 00 01 c0000209 0050\nP 05 00 00 01 00000000 0000"
        session = play(f"{side} {'61' * before}\n{talk}", client=int(side == "C"))
        session.finish()
        assert session.verdict is verdict

    @pytest.mark.parametrize("answer", ["05 5a", "00 59", "00 5e", "04 5e", "00 00", "5a 00"])
    def test_socks4_whose_answer_does_not_fit_is_foreign(self, answer: str) -> None:
        assert verdicts(SOCKS4.strip().splitlines()[0] + f"\nP {answer} 0000 00000000") == [UNDECIDED, FOREIGN]

    def test_the_choice_is_enough_for_a_client_that_does_not_wait(self) -> None:
        assert verdicts('C 05 01 02 01 03 "bob" 01 "x" 05 01 00 01 c0000209 0050\nP 05 02') == [UNDECIDED, SOCKS]


class TestDoubtfulOpenings:
    """What a SOCKS client would hardly say has to be followed by a request and its reply, without any fault."""

    @pytest.mark.parametrize("greeting", ["05 00", "05 02 00 00", "05 02 00 42", "05 03 00 ff 02", "05 01 04"])
    def test_odd_methods(self, greeting: str) -> None:
        script = f"C {greeting}\nP 05 00\n{ASK}{REPLY}"
        assert verdicts(script) == [UNDECIDED, UNDECIDED, UNDECIDED, SOCKS]
        assert verdicts(f"C {greeting}\nP 05 00\n" + 'C "GET / HTTP/1.1"')[-1] is FOREIGN

    def test_a_choice_that_was_not_offered(self) -> None:
        assert verdicts(f"C 05 01 02\nP 05 00\n{ASK}{REPLY}") == [UNDECIDED, UNDECIDED, UNDECIDED, SOCKS]

    def test_an_authentication_and_its_answer_will_do(self) -> None:
        script = 'C 05 02 02 02\nP 05 02\nC 01 03 "bob" 01 "x"\nP 01 00'
        assert verdicts(script) == [UNDECIDED, UNDECIDED, UNDECIDED, SOCKS]
        assert codes(play(script)) == [("duplicate-methods", 1), ("cleartext-credentials", 3)]

    @pytest.mark.parametrize(
        "exchange",
        [
            "C 05 01 07 01 c0000209 0050\n" + REPLY,
            "C 05 44 00 01 c0000209 0050\n" + REPLY,
            "C 04 01 00 01 c0000209 0050\n" + REPLY,
            ASK + "P 05 77 00 01 00000000 0000",
            ASK + "P 05 00 01 01 00000000 0000",
            ASK + "P 05 00 00 02 00000000 0000",
        ],
    )
    def test_the_first_fault_makes_it_foreign(self, exchange: str) -> None:
        assert verdicts("C 05 00\nP 05 00\n" + exchange)[-1] is FOREIGN

    def test_all_oddities_are_told_when_it_was_socks_after_all(self) -> None:
        session = play(f"C 05 00\nP 05 00\n{ASK}{REPLY}")
        assert codes(session) == [("no-methods-offered", 1), ("method-not-offered", 2)]


class TestOtherProtocols:
    """Foreign by rule: none of them is known to the code by name."""

    @pytest.mark.parametrize(
        "script",
        [
            pytest.param("C 05640a4403000400 7caee6f78210004fbd\nP 056408c404000300b4b8c0d7007ace", id="DNP3"),
            pytest.param("C 0564 05c0 0100 0a00 e08e\nP 0564 05c0 0100 0a00 e08e", id="DNP3, short"),
            pytest.param("C 05000b03 10000000 48000000 02000000\nP 05000c03 10000000 3c000000", id="DCE/RPC bind"),
            pytest.param("C 05000003 10000000 18000000\nP 05000203 10000000 1a000000", id="DCE/RPC request"),
            pytest.param("C 05000000 0500000000\nP 85000000 06000000660003", id="Cassandra 5"),
            pytest.param("C 04000000 0500000000\nP 84000000 06000000340002", id="Cassandra 4"),
            pytest.param("P 04010022 00350100 fd0100f900\nC 01010044 00000100", id="TDS, server first"),
            pytest.param("C 0500 0400 0000\nP 0500 0400 0000", id="echo of 05"),
            pytest.param("C 050100\nP 050100", id="echo of a greeting"),
            pytest.param('C "SSH-2.0-a"\nP "SSH-2.0-b"', id="SSH"),
            pytest.param("C 160301 00a2 0100\nP 160303 007a", id="TLS"),
        ],
    )
    def test_foreign(self, script: str) -> None:
        assert verdicts(script)[-1] is FOREIGN

    def test_an_echo_server_is_foreign_in_the_end(self) -> None:
        """It echoes greeting and request: the choice is an offered method, but the reply comes without the request."""
        session = play("C 05 02 00 02\nP 05 02 00 02\n" + 'C 01 03 "bob" 01 "x"\nP 01 03 "bob" 01 "x"')
        session.finish()
        assert session.verdict is FOREIGN

    def test_text_in_small_pieces_is_given_up_after_the_limit(self) -> None:
        session = Session()
        for number in range(70):
            session.feed(number % 2, b"x", number, number)
            assert session.verdict is UNDECIDED
        for number in range(70, 140):
            session.feed(number % 2, b"x", number, number)
        assert session.verdict is FOREIGN

    @pytest.mark.parametrize("first", ["04", "05"])
    def test_undecided_buffers_are_tiny(self, first: str) -> None:
        session = Session()
        session.feed(0, bytes.fromhex(first), 1, 1)
        for number in range(2000):
            session.feed(0, b"\x01" * 97, number, number)
            assert session.buffered <= 2 * UNDECIDED_OCTETS

    def test_foreign_is_final_and_holds_nothing(self) -> None:
        session = play("C 05 01 00\nP 04 00\n" + "C 05 01 00\nP 05 00")
        assert (session.verdict, session.frames, session.buffered, session.done) == (FOREIGN, [], 0, True)
        assert (session.client_side, session.phase, session.protocol) == (None, None, None)


class TestTrustedPorts:
    @pytest.mark.parametrize("opening", ["05 01 00", "05 03 00 01 02", "04 01 0050 5db8d822 00"])
    def test_a_sound_opening_is_enough(self, opening: str) -> None:
        session = play(f"C {opening}", trusted=True)
        assert (session.verdict, session.outcome(), len(session.frames)) == (SOCKS, "incomplete", 1)

    @pytest.mark.parametrize("opening", ["05", "05 02", "05 02 00", "04", "04 01 00", '04 01 0050 5db8d822 "us'])
    def test_so_is_the_beginning_of_one_when_no_more_comes(self, opening: str) -> None:
        session = play(f"C {opening}", trusted=True)
        assert session.verdict is UNDECIDED
        assert (session.outcome(), session.verdict, session.frames) == ("incomplete", SOCKS, [])
        assert session.protocol == ("socks5" if opening.startswith("05") else "socks4")

    @pytest.mark.parametrize("opening", ["05 01 00 05 01 00 01 c0000209 0050", "05 02 00 02 01 03"])
    def test_an_opening_with_more_behind_it_is_judged_by_the_answer(self, opening: str) -> None:
        assert verdicts(f"C {opening}\nP 05 00", trusted=True) == [UNDECIDED, SOCKS]
        session = play(f"C {opening}", trusted=True)
        assert (session.outcome(), session.verdict) == ("incomplete", SOCKS)

    @pytest.mark.parametrize(
        "script", ["C 0402ed0303800000 00 6c9ceb1e", "C 050100 160301", 'P "hi"\nC 0402ed0303800000 00']
    )
    def test_an_opening_amid_other_octets_that_nobody_answers_is_foreign(self, script: str) -> None:
        session = play(script, trusted=True)
        session.finish()
        assert (session.verdict, session.foreign) == (FOREIGN, "unknown")

    @pytest.mark.parametrize("greeting", ["05 00", "05 02 00 00", "05 02 00 42"])
    def test_odd_methods_need_only_a_fitting_answer(self, greeting: str) -> None:
        assert verdicts(f"C {greeting}\nP 05 ff", trusted=True) == [UNDECIDED, SOCKS]

    def test_odd_methods_that_nobody_answered_are_a_greeting_too(self) -> None:
        session = play("C 05 00", trusted=True)
        assert (session.outcome(), session.verdict) == ("incomplete", SOCKS)
        assert codes(session) == [("no-methods-offered", 1)]

    @pytest.mark.parametrize(
        ("first", "name"),
        [
            ('"GET / HTTP/1.1"', "HTTP"),
            ('"CONNECT example.com:443 HTTP/1.1"', "HTTP"),
            ("16 03 01 00 a2 01", "TLS"),
            ('"SSH-2.0-OpenSSH_9.2"', "SSH"),
            ("06 00 01 00", "SOCKS6"),
        ],
    )
    @pytest.mark.parametrize("who", ["C", "P"])
    def test_another_protocol_is_named_at_once(self, first: str, name: str, who: str) -> None:
        session = play(f"{who} {first}", trusted=True)
        assert (session.verdict, session.foreign) == (FOREIGN, name)
        assert [(a.code, a.frame) for a in session.anomalies] == [("not-socks-on-socks-port", 1)]
        assert session.anomalies[0].message == f"{name} on a SOCKS port"

    @pytest.mark.parametrize(
        "first", ["C 01 02 03", "C 05000b0310000000", f"C {'aa' * 100}", "P 220d0a", "C 04 07", "P 05 00"]
    )
    def test_or_called_unknown_in_the_end(self, first: str) -> None:
        session = play(first, trusted=True)
        session.finish()
        assert (session.verdict, session.foreign) == (FOREIGN, "unknown")
        assert codes(session) == [("not-socks-on-socks-port", 1)]

    def test_dnp3_is_foreign_here_too(self) -> None:
        session = play("C 056408c404000300b4b8c0d7007ace\nP 05640a4403000400", trusted=True)
        assert (session.verdict, session.foreign) == (FOREIGN, "unknown")

    def test_a_connection_without_octets_is_nothing(self) -> None:
        session = Session(trusted=True)
        assert session.outcome() == "incomplete"
        assert (session.verdict, session.anomalies) == (UNDECIDED, [])

    def test_on_other_ports_nothing_is_named(self) -> None:
        session = play('C "GET / HTTP/1.1"')
        assert (session.verdict, session.foreign, session.anomalies) == (FOREIGN, None, [])

    def test_a_server_that_answers_before_the_greeting_is_whole(self) -> None:
        session = play(f"C 05 02 00\nP 05 00\nC 02\n{ASK}{REPLY}", trusted=True)
        assert (session.verdict, session.outcome()) == (SOCKS, "succeeded")
        assert codes(session) == [("server-spoke-first", 2), ("split-frame", 3)]
