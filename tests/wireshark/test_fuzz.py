"""Mutated packets: whatever the octets, Lua dissection survives."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .payloads import HTTP, RDP, SMB, SMTP, SSH, client_hello, dns_query
from .run import rows, tshark
from .scenario import (
    CLIENT_ADDRESS,
    PROXY_ADDRESS,
    Capture,
    Step,
    Tcp,
    datagram,
    opened,
    request,
    udp_header,
)
from .test_handshakes import SCENARIOS

PACKETS = 20_000 if "EVERY_CAPTURE" in os.environ else 6_000
LIVE = "alive.example.test"


def _mutated(octets: bytes, chance: random.Random) -> bytes:
    """Random octets changed, cut out, put in, or the end cut off."""
    changed = bytearray(octets)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        if not changed:
            break
        at = chance.randrange(len(changed))
        kind = chance.randrange(5)
        if kind <= 1:
            changed[at] = chance.choice((0, 1, 3, 4, 5, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del changed[at : at + chance.randrange(1, 9)]
        elif kind == 3:
            changed[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            del changed[at:]
    return bytes(changed) or b"\0"


def _dialogues() -> list[list[Step]]:
    tunnels = [
        [*opened(port=443), (0, client_hello())],
        opened() + HTTP,
        opened(port=22) + SSH,
        opened(port=25) + SMTP,
        opened(port=3389) + RDP,
        opened(port=445) + SMB,
        opened("next.test", 1080) + opened("last.test") + HTTP,
        [*opened(port=53), (0, len(dns_query()).to_bytes(2, "big") + dns_query())],
        [*opened(port=1935), (0, bytes(range(64)))],
        [*opened(port=135), (0, bytes.fromhex("05000b0310000000480000"))],
    ]
    return [scenario.steps for scenario in SCENARIOS.values()] + tunnels * 4


@pytest.mark.timeout(300)  # four readings: 20 s of CPU with Wireshark 4.6
def test_lua_outlives_mutated_packets(tmp_path: Path) -> None:
    chance = random.Random(5)
    capture = Capture()
    dialogues = _dialogues()
    mutated = 0
    connection = 0
    while mutated < PACKETS:
        port = chance.choice((1080, 1080, 9050, 34565))
        client = f"192.0.2.{10 + connection // 10000}"
        tcp = Tcp(capture, port, client=client, client_port=50000 + connection % 10000)
        connection += 1
        for side, octets in chance.choice(dialogues):
            kept = chance.random() < 0.6
            tcp.send(side, octets if kept else _mutated(octets, chance))
            mutated += not kept
        if connection % 4 == 0:
            relay = 41000 + connection % 500
            association = [
                (0, b"\x05\x01\x00"),
                (1, b"\x05\x00"),
                (0, request("0.0.0.0", 0, 3)),
                (1, b"\x05\x00\x00" + request(PROXY_ADDRESS, relay)[3:]),
            ]
            Tcp(capture, client_port=30000 + connection % 10000).play(association)
            for fragment in (0, 0, 1, 2, 0x83, 0):
                octets = _mutated(udp_header("198.51.100.53", 53, fragment) + dns_query(), chance)
                ends = (CLIENT_ADDRESS, 49000), (PROXY_ADDRESS, relay)
                capture.add(datagram(*ends, octets) if chance.random() < 0.6 else datagram(*reversed(ends), octets))
                mutated += 1
    Tcp(capture, 34565, client_port=49811).play(opened(LIVE)).close()
    Tcp(capture, 1080, client_port=49811).play(opened(LIVE)).close()
    path = capture.write(tmp_path / "mutated.pcap")

    # Request and reply of both connections.
    assert len(rows(path, f'socks5.destination.host == "{LIVE}"', "frame.number")) == 4
    # With the whole tree, and in two passes: every field is shown, and every record replayed.
    for options in (("-V",), ("-2", "-V"), ("-2", "-o", "tcp.reassemble_out_of_order:TRUE")):
        output = tshark(path, *options)
        assert LIVE in output
        assert "C stack overflow" not in output
