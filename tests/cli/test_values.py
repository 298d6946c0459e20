"""What options take: lists, durations, sizes, and the habits of tcpdump's users."""

from __future__ import annotations

import pytest

from .test_help import parsed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parsed(f"socks5sniff live --duration {text}").params["duration"] == seconds


def test_lists() -> None:
    found = parsed("socks5sniff read x --port 1080,9050 --port 7 --outcome rejected,incomplete --anomaly any").params
    assert found["port"] == (1080, 9050, 7)
    assert found["outcome"] == ("rejected", "incomplete")
    assert found["anomaly"] == ("any",)


def test_tcpdumps_options() -> None:
    found = parsed("socks5sniff live -n -i lo -i eth0 -f 'tcp port 1080' -c 3 -w x.pcapng").params
    assert (found["iface"], found["filter_"], found["count"], found["write"]) == (
        ("lo", "eth0"),
        "tcp port 1080",
        3,
        "x.pcapng",
    )
    assert parsed("socks5sniff read -n -r x.pcapng").params["more"] == ("x.pcapng",)
    assert parsed("socks5sniff x.pcapng --format csv").info_name == "read"


def test_sizes() -> None:
    assert parsed("socks5sniff live -w x --rotate-size 1.5M").params["rotate_size"] == 1_500_000
