"""`verify`: two readings of one capture lined up, and every difference named."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.dissector import verify as verifying
from socks5sniff.dissector.layers import Layer, socks_layers, tunnel_octets
from socks5sniff.dissector.verify import Difference, verify
from socks5sniff.errors import ExitCode, InputError, Socks5sniffError
from tests.conftest import ROOT

CAPTURES = ROOT / "captures"
BIND = str(CAPTURES / "bind.pcapng")


@pytest.fixture(autouse=True)
def _tshark() -> None:
    if shutil.which("tshark") is None:
        if os.environ.get("CI"):
            pytest.fail("tshark is not installed in CI")
        pytest.skip("tshark is not installed")


def changed(layers: list[Layer], frame: int, **fields: str) -> list[Layer]:
    return [
        layer._replace(fields={**layer.fields, **{f"socks5.{n.replace('__', '.')}": [v] for n, v in fields.items()}})
        if layer.frame == frame
        else layer
        for layer in layers
    ]


def test_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    found = verify(BIND)
    assert (found.conversations, found.frames, found.differences) == (1, 5, [])
    assert main(["verify", BIND]) == ExitCode.OK
    assert "all agree" in capsys.readouterr().out


def test_each_difference_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = socks_layers(BIND)

    def theirs(layers: list[Layer]) -> list[Difference]:
        monkeypatch.setattr(verifying, "socks_layers", lambda *_, **__: layers)
        return verify(BIND).differences

    assert theirs(changed(seen, 8, destination__port="99")) == [
        Difference(0, 0, 8, "request", "destination.port", "0", "99")
    ]
    assert theirs(changed(seen, 15, peer__host="192.0.2.66")) == [
        Difference(0, 0, 15, "reply", "peer.host", "198.51.100.21", "192.0.2.66")
    ]
    assert theirs([layer for layer in seen if layer.frame != 6]) == [
        Difference(0, 0, 6, "method-selection", "frame", "seen", None)
    ]
    assert theirs(changed(seen, 10, anomaly="unknown-reply")) == [
        Difference(0, 0, 15, "", "anomaly", None, "unknown-reply")
    ]
    assert [difference.field for difference in theirs([layer._replace(stream=7) for layer in seen])] == ["frame"] * 10


def test_a_difference_ends_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", BIND, "--against", "builtin", "--format", "json"]) == ExitCode.DIFFERENCE
    found = json.loads(capsys.readouterr().out)
    assert found["against"] == "builtin"
    # The built-in takes what is relayed after BIND's second reply for another reply.
    assert [(row["type"], row["field"], row["ours"], row["theirs"]) for row in found["differences"]] == [
        ("reply", "frame", None, "seen")
    ]
    assert main(["verify", BIND, "--against", "builtin"]) == ExitCode.DIFFERENCE
    assert "1 differences" in capsys.readouterr().out


def test_the_builtin_agrees_on_the_usual_case() -> None:
    assert verify(str(CAPTURES / "connect-domain.pcapng"), "builtin").differences == []


def test_inside_a_running_event_loop() -> None:
    async def inside() -> int:
        return len(socks_layers(BIND))

    assert asyncio.run(inside()) == len(socks_layers(BIND))


def test_no_process_is_left_behind() -> None:
    socks_layers(BIND)
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True, check=False
    )
    assert "tshark" not in children.stdout


def test_the_users_settings_are_as_before() -> None:
    before = dict(os.environ)
    socks_layers(BIND)
    assert dict(os.environ) == before


def test_unreadable_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        socks_layers(str(tmp_path / "nothing.pcap"))
    text = tmp_path / "text.pcap"
    text.write_text("this is no capture at all, but long enough to be looked at as one")
    with pytest.raises(Socks5sniffError, match="tshark cannot read"):
        socks_layers(str(text))


def test_further_ports(tmp_path: Path) -> None:
    """A greeting without an answer is SOCKS only on a proxy's port."""
    from tests.wireshark.scenario import GREETING, Capture, Tcp

    capture = Capture()
    Tcp(capture, 34565).play([(0, GREETING)]).close()
    path = str(capture.write(tmp_path / "greeting.pcap"))
    assert verify(path, ports=[34565]).frames == 1
    assert verify(path, ports=[34565]).differences == []
    assert verify(path).frames == 0


def test_inside_gssapi_tokens(tmp_path: Path) -> None:
    """One conversation for each way in which request, replies and tunnel can lie in tokens."""
    from tests.session.scripts import BIND as BIND_SCRIPT
    from tests.session.scripts import after_choice, segments
    from tests.session.test_enclosed import OPENED, REFUSAL, REPLY, REQUEST, said, sealed
    from tests.wireshark.scenario import CLIENT_PORT, Capture, Tcp

    bind, first, second = (octets for _, octets in segments(after_choice(BIND_SCRIPT)))
    asked = said(0, REQUEST)
    dialogues = [
        [asked, said(1, REPLY), *(said(number % 2, bytes(500)) for number in range(100))],
        [asked, said(1, REFUSAL)],
        [said(0, REQUEST[:3]), said(0, REQUEST[3:]), said(1, REPLY[:2]), said(1, REPLY[2:] + b"SSH-2.0-x\r\n")],
        [said(0, bind), said(1, first), said(1, second), said(1, b"220 hello\r\n")],
        [said(0, bind), said(1, first, second), said(1, b"220 hello\r\n")],
        [said(0, bind), said(1, first + second + b"220 hello\r\n")],
        [asked, sealed(1, REPLY), sealed(0, b"GET /")],
        [asked, said(1, REPLY), sealed(0, b"GET /"), said(1, b"HTTP/1.1")],
        [asked, (1, b"\1\xff")],
    ]
    capture = Capture()
    for number, dialogue in enumerate(dialogues):
        Tcp(capture, client_port=CLIENT_PORT + number).play([*OPENED, *dialogue]).close()
    found = verify(str(capture.write(tmp_path / "enclosed.pcap")))
    assert (found.conversations, found.differences) == (len(dialogues), [])


def test_a_tshark_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Socks5sniffError, match=r"did not end within 0\.01 s"):
        socks_layers(BIND, timeout=0.01)
    with pytest.raises(Socks5sniffError, match=r"did not end within 0\.01 s"):
        tunnel_octets(BIND, timeout=0.01)
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True, check=False
    )
    assert "tshark" not in children.stdout


def test_large_segments(tmp_path: Path) -> None:
    """64 KB in a packet, as loopback interfaces have them, of a body that HTTP puts together."""
    from tests.wireshark.payloads import HTTP
    from tests.wireshark.scenario import Capture, Tcp, opened

    body = b"HTTP/1.1 200 OK\r\nContent-Length: 640000\r\n\r\n" + bytes(60_000)
    capture = Capture()
    Tcp(capture).play([*opened(), HTTP[0], (1, body), *[(1, bytes(64_000))] * 3]).close()
    found = verify(str(capture.write(tmp_path / "large.pcap")))
    assert (found.conversations, found.frames, found.differences) == (1, 4, [])


def test_octets_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(CAPTURES / "connect-domain.pcapng")
    seen = tunnel_octets(path)
    assert [(octets.stream, octets.depth) for octets in seen] == [(0, 0)]
    monkeypatch.setattr(verifying, "tunnel_octets", lambda *_, **__: [seen[0]._replace(sent=1)])
    assert [(found.field, found.theirs) for found in verify(path).differences] == [("bytes.sent", "1")]
