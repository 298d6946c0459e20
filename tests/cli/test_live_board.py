"""The table of running conversations: what it holds, in what order, and what keys do."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from socks5sniff.cli.keyboard import split
from socks5sniff.cli.live_board import ENDED, OPEN, ORDERS, Board
from socks5sniff.cli.live_table import Screen, TableView, size
from socks5sniff.record import Conversation, Endpoint, ReplyCode, Target, Traffic
from socks5sniff.sinks.clock import Clock
from socks5sniff.sinks.layout import display_width
from tests.sinks.samples import START, sample

SECOND = 1_000_000_000


def numbered(number: int, **changes: Any) -> Conversation:
    """Conversation `number`, a second after the one before."""
    port = Endpoint("192.0.2.1", 40_000 + number)
    values = {"tcp_stream": number, "first_frame": number, "client": port, "start_ns": START + number * SECOND}
    return sample(id=number, **{**values, "end_ns": START + (number + 1) * SECOND, **changes})


def streams(board: Board) -> list[int]:
    return [entry.conversation.tcp_stream for entry in board.entries()]


def drawn(screen: Screen, width: int = 100, height: int = 20) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(screen.draw(width, height, "status", keys=True))
    return [line.rstrip() for line in out.getvalue().splitlines()]


class TestBoard:
    def test_a_conversation_is_open_until_it_has_ended(self) -> None:
        board = Board()
        board.found(numbered(1, outcome="incomplete", phase="authentication", reply=None))
        assert [entry.result for entry in board.entries()] == ["open: authentication"]
        board.found(numbered(1))
        assert [entry.result for entry in board.entries()] == ["open"]
        board.ended(numbered(1))
        assert [entry.result for entry in board.entries()] == ["succeeded"]
        assert (board.open, board.outcomes) == (0, {"succeeded": 1})

    def test_the_newest_comes_first_unless_another_order_is_asked_for(self) -> None:
        board = Board()
        board.found(numbered(1, bytes=Traffic(5, 5), proxy=Endpoint("10.0.0.2", 1)))
        board.found(numbered(2, bytes=Traffic(500, 5), proxy=Endpoint("10.0.0.3", 1)))
        board.ended(numbered(3, bytes=Traffic(50, 5), proxy=Endpoint("10.0.0.1", 1)))
        assert streams(board) == [3, 2, 1]
        board.order = "octets"
        assert streams(board) == [2, 3, 1]
        board.backwards = True
        assert streams(board) == [1, 3, 2]
        board.order, board.backwards = "proxy", False
        assert streams(board) == [3, 1, 2]

    @pytest.mark.parametrize("order", ORDERS)
    def test_every_order_works_with_what_is_not_there(self, order: str) -> None:
        board = Board()
        board.found(numbered(1, destination=None, bytes=None, reply=None, outcome="incomplete"))
        board.ended(numbered(2))
        board.order = order
        assert sorted(streams(board)) == [1, 2]

    def test_rates_of_open_conversations(self) -> None:
        board = Board()
        board.found(numbered(1, bytes=Traffic(100, 0), process={"pid": 1, "name": "curl"}))
        board.update([numbered(1, bytes=Traffic(100, 3000))], 2.0)
        (entry,) = board.entries()
        assert (entry.rate, entry.received, entry.conversation.process) == (1500.0, 3000, {"pid": 1, "name": "curl"})
        board.update([numbered(9)], 1.0)  # has ended meanwhile
        assert board.open == 1

    def test_the_filter_looks_at_all_that_is_shown(self) -> None:
        board = Board()
        board.ended(numbered(1, outcome="rejected", reply=ReplyCode(5, "connection refused")))
        board.ended(numbered(2, username="Bob"))
        for words, expected in (("refused", [1]), ("bob", [2]), (":1080 example", [2, 1]), ("refused bob", [])):
            board.filter = words
            assert streams(board) == expected

    def test_a_pause_keeps_what_is_shown_and_not_what_is_known(self) -> None:
        board = Board()
        board.found(numbered(1))
        board.pause(True)
        board.ended(numbered(1))
        board.found(numbered(2))
        assert [(entry.conversation.tcp_stream, entry.open) for entry in board.entries()] == [(1, True)]
        board.pause(False)
        assert streams(board) == [2, 1]

    def test_it_is_bounded(self) -> None:
        board = Board()
        for number in range(OPEN + 10):
            board.found(numbered(number))
        assert (board.open, len(board.entries())) == (OPEN + 10, OPEN)
        for number in range(ENDED + 10):
            board.ended(numbered(number))
        assert board.open == OPEN - ENDED
        assert len(board.entries()) == OPEN + ENDED - (ENDED + 10)


class TestScreen:
    def screen(self, count: int = 30) -> tuple[Screen, Board]:
        board = Board()
        for number in range(1, count + 1):
            board.ended(numbered(number))
        return Screen(board, Clock()), board

    @pytest.mark.parametrize("width", [20, 60, 80, 100, 200])
    def test_it_fits(self, width: int) -> None:
        screen, _ = self.screen()
        lines = drawn(screen, width, 20)
        assert len(lines) == 20
        assert all(display_width(line) <= width for line in lines)

    def test_80_columns_show_what_matters_most(self) -> None:
        screen, _ = self.screen(1)
        assert {"proxy", "destination", "result", "sent", "received"} <= set(drawn(screen, 80)[1].split())

    def test_the_chosen_one_stays_in_sight_and_tells_its_frames(self) -> None:
        screen, _ = self.screen()
        drawn(screen)
        for _ in range(29):
            screen.press("down")
        screen.press("enter")
        text = "\n".join(drawn(screen, height=30))
        assert "192.0.2.1:40002" in text
        assert "       8  00:00:00.128Z     +1.000 ms  client  connect example.com:443" in text
        assert "negotiation 0.20 ms" in text
        assert "warning: cleartext-credentials: the password crossed in clear" in text
        screen.press("escape")
        assert "negotiation" not in "\n".join(drawn(screen, height=30))

    def test_keys(self) -> None:
        screen, board = self.screen(3)
        assert all(map(screen.press, ["s", "r", "p", "unknown"]))
        assert (board.order, board.backwards, board.paused) == ("octets", True, True)
        for key in ("/", "q", "x", "backspace", "enter"):
            assert screen.press(key)
        assert board.filter == "q"
        assert "filter 'q': 0, paused" in drawn(screen)[-1]
        screen.press("escape")
        assert board.filter == ""
        assert not screen.press("q")

    def test_what_the_wire_says_is_escaped(self) -> None:
        board = Board()
        board.ended(numbered(1, destination=Target("domain", "\x1b]0;owned\x07", 1), username="\u202e"))
        screen = Screen(board, Clock())
        screen.press("down")
        screen.press("enter")
        text = "\n".join(drawn(screen, 160))
        assert "\x1b]0;" not in text
        assert text.count(r"\x1b]0;owned\x07") == 2


def test_a_stopped_table_has_asked_for_octets_of_the_newest_open_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []

    def current(streams: Collection[int]) -> list[Conversation]:
        asked.append(set(streams))
        return [replace(numbered(1), bytes=Traffic(0, 12_345))]

    now = iter([0.0, 1.0])
    monkeypatch.setattr("socks5sniff.cli.live_table.time.monotonic", lambda: next(now))
    out = io.StringIO()
    view = TableView(out, list, False, Clock(), current)
    view.news(numbered(1, bytes=Traffic(0, 0)))
    view.refresh(10)
    assert asked == [{1}]
    assert view._board.entries()[0].received == 12_345


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (5_000_000_000, "5.0G"),
        (10**18, "1000000T"),
    ],
)
def test_sizes_have_three_figures(octets: int, text: str) -> None:
    assert size(octets) == text


def test_keys_are_told_from_sequences() -> None:
    assert split("a\x1b[A\x1b[5~é\x1b\r\x7f\x1b[200~\x01") == [
        "a",
        "up",
        "page up",
        "é",
        "escape",
        "enter",
        "backspace",
    ]
