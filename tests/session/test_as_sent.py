"""What programs send that no specification has, and what is made of it on any port."""

from __future__ import annotations

import pytest

from socks5sniff.codec import Address
from socks5sniff.session import Verdict

from .scripts import codes, play, segments, summaries

HTTP = 'C "GET / HTTP/1.1" 0d0a 0d0a'


def found(script: str, client: int = 0, trusted: bool = False) -> tuple[str | None, str | None, set[str]]:
    """Protocol, outcome, and the codes."""
    session = play(script, client=client, trusted=trusted)
    outcome = session.outcome()
    return session.protocol, outcome, {code for code, _ in codes(session)}


def bit_by_bit(script: str) -> str:
    """The same octets, one a segment."""
    return "\n".join(f"{'CP'[role]} {octet:02x}" for role, octets in segments(script) for octet in octets)


SOCKS4 = "C 04 01 0050 c6336407 {user} 00\n"
SOCKS4A = 'C 04 01 0050 00000001 {user} 00 "www.example.test" 00\n'
GRANTED, REFUSED = "P {vn} 5a 0050 c6336407\n", "P {vn} 5b 0000 00000000\n"


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("client", [0, 1])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("answer", "outcome"), [(GRANTED, "succeeded"), (REFUSED, "rejected")])
@pytest.mark.parametrize(
    ("request4", "protocol"), [(SOCKS4.format(user=""), "socks4"), (SOCKS4A.format(user='"bob"'), "socks4a")]
)
def test_socks4_answered_with_version_4(
    request4: str, protocol: str, answer: str, outcome: str, cut: bool, client: int, trusted: bool
) -> None:
    script = request4 + answer.format(vn="04")
    named, ended, said = found(bit_by_bit(script) if cut else script, client, trusted)
    assert (named, ended, said - {"split-frame"}) == (protocol, outcome, {"bad-version"})


def test_version_4_with_more_behind_it_proves_nothing_on_an_unknown_port() -> None:
    script = SOCKS4.format(user="") + "P 04 5a 11 30 4f6e8dac cbea0928"
    session = play(script)
    session.finish()
    assert session.verdict is Verdict.FOREIGN
    assert found(script, trusted=True)[:2] == ("socks4", "succeeded")


@pytest.mark.parametrize("trusted", [False, True])
def test_an_echo_of_socks4_is_no_answer(trusted: bool) -> None:
    request4 = SOCKS4.format(user="")
    session = play(request4 + request4.replace("C", "P"), trusted=trusted)
    session.finish()
    assert session.reply != 90
    assert trusted or session.verdict is Verdict.FOREIGN


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("vn", ["00", "04"])
@pytest.mark.parametrize("user", ["", '"bob"'])
def test_a_second_nul_before_socks4a_s_name(user: str, vn: str, trusted: bool) -> None:
    script = f'C 04 01 0050 00000001 {user} 00 00 "www.example.test" 00\n' + GRANTED.format(vn=vn) + HTTP
    protocol, outcome, said = found(script, trusted=trusted)
    assert (protocol, outcome) == ("socks4a", "succeeded")
    assert {"empty-domain", "early-data"} <= said


class TestSocks4WithoutItsEnd:
    """The proxy answers a request that lacks its NUL, or 4A's name."""

    @pytest.mark.parametrize("trusted", [False, True])
    @pytest.mark.parametrize("client", [0, 1])
    @pytest.mark.parametrize("vn", ["00", "04"])
    @pytest.mark.parametrize("user", ["", '"bob"'])
    def test_no_nul(self, user: str, vn: str, client: int, trusted: bool) -> None:
        script = f"C 04 01 0050 c6336407 {user}\n" + GRANTED.format(vn=vn) + HTTP
        session = play(script, client=client, trusted=trusted)
        assert (session.verdict, session.protocol, session.outcome()) == (Verdict.SOCKS, "socks4", "succeeded")
        assert session.destination == Address.ipv4("198.51.100.7", 80)
        assert session.username == (b"bob" if user else None)
        assert ("reply-before-request", 2) in codes(session)
        length = 11 if user else 8
        assert session.tunnel_start == ([length, 8] if client == 0 else [8, length])

    @pytest.mark.parametrize("trusted", [False, True])
    @pytest.mark.parametrize("user", ["00", '"bob" 00', "", '"bob"'])
    def test_no_name(self, user: str, trusted: bool) -> None:
        session = play(f"C 04 01 0050 00000001 {user}\n" + REFUSED.format(vn="00"), trusted=trusted)
        assert (session.verdict, session.protocol, session.outcome()) == (Verdict.SOCKS, "socks4a", "rejected")
        assert (session.command, session.destination, session.reply) == (1, None, 91)
        assert ("reply-before-request", 2) in codes(session)

    def test_a_name_without_its_nul(self) -> None:
        session = play('C 04 01 0050 00000001 00 "www.example.test"\n' + GRANTED.format(vn="00"))
        assert (session.verdict, session.outcome()) == (Verdict.SOCKS, "succeeded")
        assert session.destination == Address.domain("www.example.test", 80)

    def test_the_answer_in_pieces(self) -> None:
        session = play("C 04 01 0050 c6336407\n" + bit_by_bit(GRANTED.format(vn="00")))
        assert (session.verdict, session.outcome()) == (Verdict.SOCKS, "succeeded")

    @pytest.mark.parametrize("answer", ["P 00 5e 0050 c6336407", "P 05 5a 0050 c6336407", "P 00 00", "P 04 01 0050 c6"])
    def test_another_answer_proves_nothing(self, answer: str) -> None:
        session = play("C 04 01 0050 c6336407\n" + answer)
        session.finish()
        assert session.verdict is Verdict.FOREIGN

    @pytest.mark.parametrize("octets", ["04 07 0050 c6336407", "04 01 0050 c6336407 01 02", "04 01 0050"])
    def test_what_is_no_request_is_none_whatever_the_answer(self, octets: str) -> None:
        session = play(f"C {octets}\n" + GRANTED.format(vn="00"))
        session.finish()
        assert session.verdict is Verdict.FOREIGN

    @pytest.mark.parametrize("rest", [HTTP, f'C "{"x" * 700}"'])
    @pytest.mark.parametrize("head", ["04 01 0050 c6336407", '04 01 0050 c6336407 "bob"', "04 01 0050 00000001 00"])
    def test_other_octets_instead_of_the_end(self, head: str, rest: str) -> None:
        """Where SOCKS is expected there is a record; elsewhere nothing proves it."""
        protocol, outcome, _ = found(f"C {head}\n{rest}", trusted=True)
        assert protocol == ("socks4a" if "00000001" in head and len(rest) < 600 else "socks4")
        assert outcome in ("incomplete", "malformed")
        session = play(f"C {head}\n{rest}")
        session.finish()
        assert session.verdict is Verdict.FOREIGN


class TestCredentialsNobodyAskedFor:
    BEGIN = "C 05 02 00 02\nP 05 00\n"
    LOGIN = 'C 01 05 "alice" 06 "secret"\n'
    REQUEST = "C 05 01 00 01 c6336407 0050\n"
    REPLY = "P 05 00 00 01 00000000 0000\n"

    @pytest.mark.parametrize("trusted", [False, True])
    @pytest.mark.parametrize("client", [0, 1])
    def test_answered_nonetheless(self, client: int, trusted: bool) -> None:
        script = self.BEGIN + self.LOGIN + "P 01 00\n" + self.REQUEST + self.REPLY
        session = play(script, client=client, trusted=trusted)
        assert (session.outcome(), session.username, session.authenticated) == ("succeeded", b"alice", True)
        assert codes(session) == [("auth-unasked", 3), ("cleartext-credentials", 3)]

    def test_not_answered_and_passed_over(self) -> None:
        session = play(self.BEGIN + self.LOGIN + self.REQUEST + self.REPLY)
        assert (session.outcome(), session.username, session.authenticated) == ("succeeded", b"alice", None)
        assert {code for code, _ in codes(session)} == {"auth-unasked", "cleartext-credentials"}

    def test_taken_for_a_request_and_refused(self) -> None:
        session = play(self.BEGIN + self.LOGIN + "P 05 01 00 01 00000000 0000")
        assert (session.outcome(), session.reply, session.command) == ("rejected", 1, None)

    @pytest.mark.parametrize("answer", ["P 05 00 00 01 00000000 0000", "P 01 01", ""])
    def test_no_success(self, answer: str) -> None:
        session = play(self.BEGIN + self.LOGIN + answer)
        assert session.outcome() == ("auth-failed" if answer == "P 01 01" else "incomplete")
        assert not session.relay
        assert session.phase == ("request" if answer.startswith("P 05") else "authentication")

    @pytest.mark.parametrize("cut", [1, 2, 5])
    def test_in_pieces_and_pipelined(self, cut: int) -> None:
        pieces = self.BEGIN + self.LOGIN + "P 01 00\n" + self.REQUEST + self.REPLY
        session = play(bit_by_bit(pieces))
        assert (session.outcome(), session.username, session.password) == ("succeeded", b"alice", b"secret")
        joined = 'C 05 02 00 02 01 05 "alice" 06 "secret" 05 01 00 01 c6336407 0050\nP 05 00\n'
        for answers in ("P 01 00\n" + self.REPLY, self.REPLY):
            session = play(joined + answers)
            assert (session.outcome(), session.username) == ("succeeded", b"alice")
            assert "auth-unasked" in {code for code, _ in codes(session)}

    def test_on_one_machine_no_password_crosses_a_network(self) -> None:
        session = play(self.BEGIN + self.LOGIN, loopback=True)
        assert codes(session) == [("auth-unasked", 3)]

    def test_octets_that_are_no_credentials(self) -> None:
        session = play(self.BEGIN + "C 01 00 00 00")
        assert (session.outcome(), codes(session)) == ("malformed", [("bad-version", 3)])


class TestAnImpossibleAddressType:
    BEGIN = "C 05 01 00\nP 05 00\n"

    @pytest.mark.parametrize("client", [0, 1])
    @pytest.mark.parametrize("kind", ["00", "02", "05", "7f", "ff"])
    @pytest.mark.parametrize("rest", ["", "c6336407 0050", '10 "www.example.test" 0050'])
    @pytest.mark.parametrize("code", [1, 7, 8])
    def test_refused(self, code: int, rest: str, kind: str, client: int) -> None:
        session = play(self.BEGIN + f"C 05 01 00 {kind} {rest}\nP 05 {code:02x} 00 01 00000000 0000", client=client)
        assert (session.outcome(), session.command, session.destination, session.reply) == ("rejected", 1, None, code)
        assert [entry for entry, _ in codes(session)] == ["unknown-address-type"]
        assert summaries(session)[2:] == [
            f"Request: CONNECT, address type 0x{kind}",
            session.frames[-1].summary,
        ]

    def test_of_a_request_that_has_no_end_only_what_can_be_read_counts(self) -> None:
        """However many octets of the address have come by then."""
        script = self.BEGIN + "C 05 01 00 05 c6336407 0050\nP 05 08 00 01 00000000 0000"
        for session in (play(script), play(bit_by_bit(script)), play(script.replace(" c6336407", "\nC c6336407"))):
            assert [frame.length for frame in session.frames] == [3, 2, 4, 10]
            assert (session.outcome(), session.reply) == ("rejected", 8)

    def test_a_request_in_pieces_is_no_optimistic_data(self) -> None:
        session = play(self.BEGIN + bit_by_bit("C 05 03 00 09 00000000 0000\nP 05 08 00 01 00000000 0000"))
        assert (session.outcome(), session.command) == ("rejected", 3)
        assert "early-data" not in {entry for entry, _ in codes(session)}

    @pytest.mark.parametrize("answer", ["", "P 05 00 00 01 00000000 0000", "P 16 03 01 00"])
    def test_without_a_readable_refusal(self, answer: str) -> None:
        session = play(self.BEGIN + "C 05 01 00 09 c6336407 0050\n" + answer)
        assert (session.outcome(), session.relay, session.phase) == ("malformed", False, "request")

    def test_a_refusal_that_ends_early(self) -> None:
        session = play(self.BEGIN + "C 05 01 00 09 c6336407 0050\nP 05 08")
        assert (session.outcome(), session.reply) == ("rejected", 8)


class TestNothingOffered:
    @pytest.mark.parametrize("trusted", [False, True])
    def test_refused(self, trusted: bool) -> None:
        for script in ("C 05 00\nP 05 ff", "C 05\nC 00\nP 05\nP ff"):
            session = play(script, trusted=trusted)
            assert (session.outcome(), session.methods) == ("no-acceptable-method", b"")
            assert {"no-methods-offered", "no-acceptable-method"} <= {code for code, _ in codes(session)}

    @pytest.mark.parametrize("script", ["C 05 00\nP 05 00", "C 05 00\nP 05 ff ff", "C 05 00 00\nP 05 ff", "C 05 00"])
    def test_less_proves_nothing(self, script: str) -> None:
        session = play(script)
        session.finish()
        assert session.verdict is Verdict.FOREIGN


class TestHalfFrames:
    """What there is of a frame when all ends; who closed is the connection's to say."""

    @pytest.mark.parametrize(
        ("script", "expected"),
        [
            ("C 05 02 00", ("client", "greeting", 3, 1)),
            ("C 05 01 00\nP 05", ("proxy", "method-selection", 1, 2)),
            ('C 05 01 02\nP 05 02\nC 01 05 "ali"', ("client", "auth-request", 5, 3)),
            ("C 05 01 00\nP 05 00\nC 05 01 00\nC 01", ("client", "request", 4, 4)),
            ("C 05 01 00\nP 05 00\nC 05 01 00 01 c6336407 0050\nP 05 00 00 01", ("proxy", "reply", 4, 4)),
            ("C 05 01 00\nP 05 00\nC 05 01 00 01 c6336407 0050\nP 05 05", ("proxy", "reply", 2, 4)),
            ("C 05 01 01\nP 05 01\nC 01 01 0010 00", ("client", "gssapi", 5, 3)),
            ("C 04 01 0050", ("client", "request", 4, 1)),
            ("C 04 01 0050 c6336407 00\nP 00 5a", ("proxy", "reply", 2, 2)),
        ],
    )
    def test_kept(self, script: str, expected: tuple[str, str, int, int]) -> None:
        session = play(script, trusted=True)
        session.finish()
        assert session.half_frame is not None
        assert session.half_frame[:4] == expected

    @pytest.mark.parametrize(
        "script",
        [
            "C 05 01 00\nP 05 00",
            "C 05 01 00\nP 05 00\nC 05 01 00 01 c6336407 0050\nP 05 05 00 00 0000",
            "C 05 01 00\nP 05 00\nC 05 01 00 01 c6336407 0050\nC 00",
            "C 05 01 00\nP 05 ff ff",
        ],
    )
    def test_none(self, script: str) -> None:
        session = play(script, trusted=True)
        session.finish()
        assert session.half_frame is None

    def test_not_where_octets_are_missing_from_the_capture(self) -> None:
        session = play("C 05 01 00\nP 05 00\nC 05 01", trusted=True)
        session.gap(0, 200, 4, 4000)
        session.finish()
        assert session.half_frame is None
