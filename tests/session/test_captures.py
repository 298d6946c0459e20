"""Real conversations, recorded by others: their TCP payloads, put in order, through a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5sniff.session import Session, Verdict

from .scripts import codes, summaries

dpkt = pytest.importorskip("dpkt")

SOCKS_CAPTURES = {
    "zeek/socks.pcap": [("socks5", "CONNECT www.osnews.com:80", "192.168.0.31:2688")],
    "zeek/socks-auth.pcap": [("socks5", "CONNECT 192.168.0.2:22", "192.168.0.1:55951")],
    "zeek/socks-auth-10080.pcap": [("socks5", "CONNECT 192.168.0.2:22", "192.168.0.1:55951")],
    "zeek/socks-with-ssl.pcap": [("socks5", "CONNECT www.google.com:443", "0.0.0.0:443")],
    "zeek/socks4-null.pcap": [("socks4", "CONNECT 192.150.187.12:80", "0.0.0.0:0")],
    "ndpi/socks.pcap": [
        ("socks5", "CONNECT www.google.com:80", "10.0.0.2:80"),
        ("socks4", "CONNECT 93.184.216.119:80", "10.180.156.249:57266"),
        ("socks4a", "CONNECT www.example.com:80", "10.180.156.249:57267"),
        ("socks5", "CONNECT 93.184.216.119:80", "10.180.156.249:57268"),
    ],
    "ndpi/shadowsocks.pcap": [("socks5", "CONNECT 128.95.155.198:80", "0.0.0.0:4112")],
    "ndpi/tls_heur__shadowsocks-tcp.pcapng": [("socks5", "CONNECT [2a00:1450:4002:416::200e]:443", "127.0.0.1:1080")],
    "ndpi/tls_heur__trojan-tcp-tls.pcapng": [("socks5", "CONNECT 142.250.180.142:443", "127.0.0.1:1080")],
    "ndpi/tls_heur__vmess-tcp-tls.pcapng": [("socks5", "CONNECT 216.58.204.142:443", "127.0.0.1:1080")],
    "ndpi/tls_heur__vmess-tcp.pcapng": [("socks5", "CONNECT [2a00:1450:4006:80d::200e]:443", "127.0.0.1:1080")],
    "ndpi/tls_heur__vmess-websocket.pcapng": [("socks5", "CONNECT 142.250.180.142:443", "127.0.0.1:1080")],
}

OTHERS = ("dnp3.pcap", "cassandra.pcap", "kerberos.pcap", "mssql_tds.pcap", "viber.pcap", "ssh.pcap", "ftp.pcap")
"""Those in which a side starts with 04 or 05, and some that talk little at first."""


def tcp_segments(path: Path) -> Iterator[tuple[int, int, tuple[bytes, int], tuple[bytes, int], object]]:
    """Frame number, time in ns, source, destination and TCP header of each frame."""
    with path.open("rb") as file:
        reader = dpkt.pcap.UniversalReader(file)
        layers = {
            dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback,
            dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
            dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
        }
        layer = layers[reader.datalink()]
        for number, (time, octets) in enumerate(reader, 1):
            ip = layer(octets).data
            if isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6) and isinstance(ip.data, dpkt.tcp.TCP):
                tcp = ip.data
                yield number, int(time * 1_000_000_000), (ip.src, tcp.sport), (ip.dst, tcp.dport), tcp


def sessions(path: Path, trusted: bool = False) -> list[Session]:
    """A session for each TCP connection: payloads in order of sequence numbers, what is missing as a gap."""
    found: list[Session] = []
    open_ones: dict[frozenset[tuple[bytes, int]], tuple[tuple[bytes, int], Session, dict[int, int]]] = {}
    for number, time, source, destination, tcp in tcp_segments(path):
        key = frozenset((source, destination))
        syn, ack = tcp.flags & dpkt.tcp.TH_SYN, tcp.flags & dpkt.tcp.TH_ACK  # type: ignore[attr-defined]
        if key not in open_ones:
            opener = destination if syn and ack else source
            open_ones[key] = (opener, Session(trusted), {})
            found.append(open_ones[key][1])
        opener, session, due = open_ones[key]
        side = 0 if source == opener else 1
        octets = bytes(tcp.data)  # type: ignore[attr-defined]
        sequence = tcp.seq + (1 if syn else 0)  # type: ignore[attr-defined]
        ahead = (sequence - due.setdefault(side, sequence) + 2**31) % 2**32 - 2**31
        if ahead > 0:
            session.gap(side, ahead, number, time)
        octets = octets[max(-ahead, 0) :]
        session.feed(side, octets, number, time)
        due[side] = (due[side] + max(ahead, 0) + len(octets)) % 2**32
    for session in found:
        session.finish()
    return found


@pytest.mark.parametrize("name", SOCKS_CAPTURES)
@pytest.mark.parametrize("trusted", [False, True])
def test_every_socks_conversation_is_found_and_read(shared_captures: Path, name: str, trusted: bool) -> None:
    spoken = [session for session in sessions(shared_captures / name, trusted) if session.verdict is Verdict.SOCKS]
    assert [session.outcome() for session in spoken] == ["succeeded"] * len(SOCKS_CAPTURES[name])
    assert [
        (session.protocol, session.frames[-2].summary.removeprefix("Request: "), str(session.bound))
        for session in spoken
    ] == SOCKS_CAPTURES[name]


def test_user_name_and_password(shared_captures: Path) -> None:
    (session,) = (s for s in sessions(shared_captures / "zeek/socks-auth.pcap") if s.verdict is Verdict.SOCKS)
    assert summaries(session)[:4] == [
        "Greeting: no-authentication, chap, username-password",
        "Method selection: username-password",
        "Username/password: bob",
        "Authentication succeeded",
    ]
    assert codes(session) == [("cleartext-credentials", 8)]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("trusted", [False, True])
def test_other_protocols_are_foreign_on_any_port(shared_captures: Path, name: str, trusted: bool) -> None:
    path = shared_captures / "ndpi" / name
    if not path.exists():
        pytest.skip(f"{name} is not in the folder")
    observed = sessions(path, trusted)
    assert observed
    assert Verdict.SOCKS not in {session.verdict for session in observed}
