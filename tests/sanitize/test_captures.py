"""Captures of known truth and of others, with everything overwritten that can be: what they say otherwise stays."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import socks5sniff
from socks5sniff.sanitize import Options, sanitize
from socks5sniff.sanitize.addresses import AddressMap
from socks5sniff.sanitize.run import LeftError

from . import wire

KEY = bytes(range(32))
CAPTURES = Path(__file__).resolve().parents[2] / "captures"
ALL = Options(users=True, destinations=True, addresses=True, key=KEY)
WORDS = (
    "auth-b auth-l auth-p auth-u chain gssapi-i gssapi-c proxy-header-i proxy-header-v1 proxy-header-v2-i ip-fragments "
    "tcp-c tcp-o tcp-r tcp-w tcp-m split-o resolve udp-a udp-i udp-f udp-n udp-over udp-r socks4-b socks4a local-dns"
)
CHOSEN = [path for path in sorted(CAPTURES.glob("*.pcapng")) if path.name.startswith(tuple(WORDS.split()))]
ODD = {"conflicting-retransmission", "domain-not-ascii", "odd-destination"}
"""What is gone with what was overwritten."""


def said(path: Path) -> list[tuple[object, ...]]:
    """What a capture says but for who, where to, and what."""
    return [
        (
            c.phase, c.outcome, c.protocol, c.command, c.reply, c.bytes, c.tunnel and c.tunnel.protocol, c.parent,
            c.packets, c.close, c.closed_by, c.name_resolution, {a.code for a in c.anomalies} - ODD, c.start_ns,
            bool(c.upstream), bool(c.proxy_header), [(frame.frame, frame.type) for frame in c.frames],
        )
        for c in socks5sniff.read(path)
    ]  # fmt: skip


def secrets_of(path: Path) -> Iterator[bytes]:
    """Names and users of a capture's truth, those that cannot be there by chance."""
    truth = json.loads(path.with_suffix(".json").read_text())
    for record in truth if isinstance(truth, list) else truth["conversations"]:
        destination = record.get("destination") or {}
        for value in (record.get("username"), destination.get("host") if destination.get("type") == "domain" else None):
            if value and value.isascii() and value.isalnum() and len(set(value)) > 3:
                yield value.encode()
    yield b"correct horse"


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem)
def test_who_and_where_to_are_gone_and_the_rest_stays(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    sanitize(str(path), str(out), ALL)
    assert said(out) == said(path)
    before, after = wire.read(path), wire.read(out)
    assert [frame[:2] for frame in before] == [frame[:2] for frame in after]
    assert [wire.residues(frame.octets) for frame in before] == [wire.residues(frame.octets) for frame in after]
    octets = out.read_bytes()
    assert [secret for secret in secrets_of(path) if secret in octets] == []
    replaced = AddressMap(KEY)
    for frame in before:
        packet = frame.octets[14:]
        if frame.octets[12:14] == b"\x08\x00" and replaced.ip(packet[12:16]) != packet[12:16]:
            assert packet[12:16] + packet[16:20] not in octets


@pytest.mark.parametrize("payload", ["blank", "cut"])
def test_what_tunnels_carry(payload: str, tmp_path: Path) -> None:
    for name in ("connect-domain", "chain-of-three", "udp-associate", "gssapi-integrity", "udp-fragments"):
        path, out = CAPTURES / f"{name}.pcapng", tmp_path / f"{name}.pcapng"
        sanitize(str(path), str(out), Options(payload=payload, key=KEY))
        before, after = wire.read(path), wire.read(out)
        assert [frame[:2] for frame in before] == [frame[:2] for frame in after]
        shorter = [len(new.octets) < len(old.octets) for old, new in zip(before, after, strict=True)]
        assert any(shorter) is (payload == "cut")
        assert b"HTTP" not in out.read_bytes()
        if payload == "blank":
            assert [wire.residues(frame.octets) for frame in before] == [
                wire.residues(frame.octets) for frame in after
            ]
        # The proxy's own connection to the next proxy carries the tunnel, and is no conversation any more.
        assert next(socks5sniff.read(out)).destination == next(socks5sniff.read(path)).destination


FIELDS = (
    "frame.time_epoch frame.len frame.cap_len ip.checksum.status tcp.checksum.status udp.checksum.status "
    "icmp.checksum.status tcp.stream tcp.seq_raw tcp.ack_raw tcp.flags ip.id ip.ttl frame.protocols _ws.malformed"
)


def fields(path: Path) -> str:
    options = [f"-o{protocol}.check_checksum:TRUE" for protocol in ("ip", "tcp", "udp")]
    names = [f"-e{name}" for name in FIELDS.split()]
    command = ["tshark", "-r", str(path), *options, "-Tfields", *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark not installed")
@pytest.mark.parametrize("name", ["chain-of-three", "ip-fragments", "udp-associate"])
def test_tshark_reads_the_same(name: str, tmp_path: Path) -> None:
    path, out = CAPTURES / f"{name}.pcapng", tmp_path / "out.pcapng"
    sanitize(str(path), str(out), ALL)
    assert fields(out) == fields(path)


def test_the_second_look_finds_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks5sniff.sanitize.ranges.Ranges.overlapping", lambda *_: [])
    monkeypatch.setattr("socks5sniff.sanitize.frames.Frames._write_found", lambda *_: None)
    with pytest.raises(LeftError):
        sanitize(str(CAPTURES / "auth-password.pcapng"), str(tmp_path / "out.pcapng"), Options())
    assert [*tmp_path.iterdir()] == []


def test_comments_and_names_are_left_out(tmp_path: Path) -> None:
    frames = [(frame.time, frame.octets) for frame in wire.read(CAPTURES / "auth-password.pcapng")]
    source = wire.write(tmp_path / "in.pcapng", frames, comment="the password is correct horse")
    assert b"correct horse" in source.read_bytes()
    sanitize(str(source), str(tmp_path / "out.pcapng"), Options())
    assert b"password is" not in (tmp_path / "out.pcapng").read_bytes()
