"""`extract`, as a whole command."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

import socks5sniff
from socks5sniff.cli import main
from socks5sniff.errors import ExitCode
from socks5sniff.payload import files
from tests.payload.looking import CAPTURES, written
from tests.traffic import CLIENT, PLAIN, SERVER, Packet, connection

ROOT = Path(__file__).resolve().parents[2]
DOMAIN, LOST, UDP, INSIDE = (
    str(ROOT / "captures" / f"{name}.pcapng")
    for name in ("connect-domain", "tcp-lost-tunnel", "udp-associate", "fwd-udp")
)
HANDSHAKE = PLAIN[:4]


def extracted(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """The manifest, after what it says of each file was found to be so, and no other file was found."""
    assert main(["extract", *arguments, "-o", str(folder)]) == 0
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    manifest = [json.loads(line) for line in lines]
    for entry in manifest:
        octets = (folder / entry["file"]).read_bytes()
        assert (len(octets), hashlib.sha256(octets).hexdigest()) == (entry["octets"], entry["sha256"])
        assert os.sep not in entry["file"]
        assert entry["direction"] in ("client", "destination")
    assert {path.name for path in folder.iterdir()} == {entry["file"] for entry in manifest} | {"manifest.jsonl"}
    assert len({entry["file"] for entry in manifest}) == len(manifest)
    return manifest


def test_both_streams_of_every_tunnel_and_every_datagram(tmp_path: Path) -> None:
    """Octets are what the records count, less what the capture lacks."""
    manifest = extracted(tmp_path / "out", *map(str, CAPTURES))
    records = {record.id: record for record in socks5sniff.read([str(path) for path in CAPTURES])}
    by_id: dict[int, dict[str, int]] = {}
    for entry in manifest:
        if entry["kind"] == "stream":
            missing = sum(length for _, length in entry["missing"])
            by_id.setdefault(entry["id"], {})[entry["direction"]] = entry["octets"] + missing
    assert len(by_id) > 90
    for number, record in records.items():
        if record.bytes is not None:
            assert by_id[number] == {"client": record.bytes.sent, "destination": record.bytes.received}
    datagrams = [entry for entry in manifest if entry["kind"] == "datagram"]
    udp = [record.udp for record in records.values() if record.udp is not None]
    assert len(datagrams) == sum(one.datagrams_sent + one.datagrams_received for one in udp)


def test_chosen_conversations_only(tmp_path: Path) -> None:
    manifest = extracted(tmp_path / "out", DOMAIN, LOST, UDP, "--where", "tunnel.protocol == http and id > 1")
    records = socks5sniff.read([DOMAIN, LOST, UDP])
    chosen = {c.id for c in records if c.tunnel is not None and c.tunnel.protocol == "http" and c.id > 1}
    assert {entry["id"] for entry in manifest} == chosen
    assert len(manifest) == 2


def test_a_hole_is_left_out_unless_it_is_filled(tmp_path: Path) -> None:
    for filled in (False, True):
        folder = tmp_path / str(filled)
        manifest = extracted(folder, LOST, *["--fill-holes"] * filled)
        entry = next(entry for entry in manifest if entry["direction"] == "destination")
        assert entry["missing"] == [[40, 40]]
        assert entry["octets"] == 83 + 40 * filled
        octets = (folder / entry["file"]).read_bytes()
        assert octets[:40] == b"HTTP/1.1 200 OK\r\nContent-Type: text/plai"
        assert octets[40:80] == bytes(40) if filled else octets[40:].startswith(b"\r\n\r\nA page")


def test_datagrams_are_files_with_their_places(tmp_path: Path) -> None:
    for name in (UDP, INSIDE):
        manifest = [entry for entry in extracted(tmp_path / Path(name).stem, name) if entry["kind"] == "datagram"]
        assert [(entry["direction"], entry["host"], entry["port"]) for entry in manifest] == [
            ("client", "198.51.100.53", 53),
            ("destination", "198.51.100.53", 53),
        ]
        assert [entry["octets"] for entry in manifest] == [34, 50]


def test_nothing_to_write_is_a_manifest_without_a_line(tmp_path: Path) -> None:
    assert extracted(tmp_path / "refused", str(ROOT / "captures" / "reply-connection-refused.pcapng")) == []
    assert extracted(tmp_path / "none", DOMAIN, "--where", "id == 7") == []


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(LOST, "rb") as file:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(file))
        assert [entry["octets"] for entry in extracted(tmp_path / "out", "-")] == [83, 83]


def test_sizes_and_number_are_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = extracted(tmp_path / "small", DOMAIN, "--max-size", "50")
    assert [(entry["octets"], entry["omitted"]) for entry in manifest] == [(50, 33), (50, 73)]
    capsys.readouterr()
    manifest = extracted(tmp_path / "few", DOMAIN, UDP, "--max-files", "3")
    assert len(manifest) == 3
    assert "1 files were not written" in capsys.readouterr().err


def test_a_hole_is_not_filled_beyond_the_largest_size(tmp_path: Path) -> None:
    """Who says that a gigabyte is missing does not get a gigabyte of zeros."""
    packets = connection([*HANDSHAKE, (SERVER, b"a" * 10)], closing=False)
    packets.append(
        Packet(CLIENT, 16, packets[-1].acknowledgment, packets[-1].sequence + 10 + (1 << 29), b"", packets[-1].time)
    )
    manifest = extracted(tmp_path / "out", written(tmp_path, packets), "--fill-holes", "--max-size", "100k")
    entry = next(entry for entry in manifest if entry["direction"] == "destination")
    assert entry["missing"] == [[10, 1 << 29]]
    assert (entry["octets"], entry["omitted"]) == (100_000, (1 << 29) + 10 - 100_000)


def test_many_files_grow_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BUFFERED", 2000)
    said = [(number % 2, bytes([number]) * 100) for number in range(40)]
    packets = [
        packet
        for client in range(30)
        for packet in connection(
            [*HANDSHAKE, *said], client=("10.0.0.1", 20_000 + client), begin=1_700_000_000_000_000_000 + client
        )
    ]
    packets.sort(key=lambda packet: packet.time)
    manifest = extracted(tmp_path / "out", written(tmp_path, packets))
    assert len(manifest) == 60
    assert len({entry["sha256"] for entry in manifest}) == 2


class TestObjects:
    def bodies(self, tmp_path: Path, said: list[tuple[int, bytes]]) -> list[tuple[dict[str, Any], bytes]]:
        manifest = extracted(tmp_path / "out", written(tmp_path, connection([*HANDSHAKE, *said])), "--objects")
        return [(e, (tmp_path / "out" / e["file"]).read_bytes()) for e in manifest if e["kind"] == "object"]

    def test_bodies_by_length_in_chunks_and_to_the_end(self, tmp_path: Path) -> None:
        said = [
            (CLIENT, b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nContent-Length: 5\r\n\r\n1,2"),
            (CLIENT, b",3"),
            (SERVER, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n3\r\nabc\r\n"),
            (SERVER, b"4\r\ndefg\r\n0\r\n\r\n"),
            (CLIENT, b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n"),
            (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            (CLIENT, b"GET /end HTTP/1.1\r\nHost: a\r\n\r\n"),
            (SERVER, b"HTTP/1.1 404 Gone\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nto the"),
            (SERVER, b" end"),
        ]
        found = self.bodies(tmp_path, said)
        assert [octets for _, octets in found] == [b"1,2,3", b"abcdefg", b"to the end"]
        keys = ("direction", "method", "target", "content_type", "content_encoding", "whole")
        assert [tuple(entry[key] for key in keys) for entry, _ in found] == [
            ("client", "POST", "/up", "text/csv", None, True),
            ("destination", "POST", "/up", "text/html", None, True),
            ("destination", "GET", "/end", None, "gzip", True),
        ]
        assert [entry.get("status") for entry, _ in found] == [None, 200, 404]

    def test_requests_may_be_sent_ahead(self, tmp_path: Path) -> None:
        asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3))
        answers = b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(3))
        found = self.bodies(tmp_path, [(CLIENT, asked), (SERVER, answers)])
        assert [(entry["target"], octets) for entry, octets in found] == [("/0", b"0"), ("/1", b"1"), ("/2", b"2")]

    def test_what_is_cut_off_is_not_whole(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = [
            (CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
        ]
        found = self.bodies(tmp_path, said)
        assert [(octets, entry["whole"]) for entry, octets in found] == [(b"half", False)]
        assert "1 conversation could not be read to its end" in capsys.readouterr().err

    def test_what_is_no_http_is_left_alone(self, tmp_path: Path) -> None:
        asked = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for number, said in enumerate(
            (
                [(CLIENT, asked), (SERVER, b"\x00" * 100)],
                [(CLIENT, asked), (CLIENT, b"\xff" * 4000)],
                [
                    (CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n"),
                    (SERVER, b"HTTP/1.1 101 x\r\n\r\n"),
                    (SERVER, b"y"),
                ],
            )
        ):
            (tmp_path / str(number)).mkdir()
            assert self.bodies(tmp_path / str(number), said) == []


class TestTheFolder:
    def test_it_is_left_alone_unless_extract_wrote_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tmp_path / "out"
        arguments = ["extract", DOMAIN, "-o", str(folder)]
        folder.mkdir()
        assert main(arguments) == 0  # an empty one is as good as none
        assert main(arguments) == ExitCode.OUTPUT
        assert "--force" in capsys.readouterr().err
        (folder / "old").write_text("")
        assert main([*arguments, "--force"]) == 0
        assert {path.name for path in folder.iterdir()} == {"1.client", "1.destination", "manifest.jsonl"}
        (folder / "manifest.jsonl").rename(folder / "mine")
        assert main([*arguments, "--force"]) == ExitCode.OUTPUT
        assert "extract did not write it" in capsys.readouterr().err
        assert (folder / "mine").exists()
        assert [*tmp_path.iterdir()] == [folder]

    def test_a_file_of_that_name_stays(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "out").write_text("old")
        assert main(["extract", DOMAIN, "-o", str(tmp_path / "out"), "--force"]) == ExitCode.OUTPUT
        assert "is no folder" in capsys.readouterr().err
        assert (tmp_path / "out").read_text() == "old"

    @pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_nothing_is_left_where_something_goes_wrong(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(self: files.Growing) -> int:
            raise fault

        monkeypatch.setattr(files.Growing, "write", fail)
        status = main(["extract", DOMAIN, "-o", str(tmp_path / "out")])
        assert status == (ExitCode.OUTPUT if isinstance(fault, OSError) else ExitCode.INTERRUPTED)
        assert capsys.readouterr().err.count("\n") == isinstance(fault, OSError)
        assert [*tmp_path.iterdir()] == []

    def test_a_missing_capture_leaves_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["extract", str(tmp_path / "none.pcap"), "-o", str(tmp_path / "out")]) == ExitCode.INPUT
        assert [*tmp_path.iterdir()] == []

    def test_standard_output_is_no_folder(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["extract", DOMAIN, "-o", "-"]) == ExitCode.USAGE
        assert "name a folder" in capsys.readouterr().err

    def test_a_damaged_capture_gives_what_there_is(self, tmp_path: Path) -> None:
        path = tmp_path / "short.pcapng"
        path.write_bytes(Path(DOMAIN).read_bytes()[:-400])
        assert main(["extract", str(path), "-o", str(tmp_path / "out")]) == ExitCode.DAMAGED
        assert (tmp_path / "out" / "1.client").stat().st_size == 83
