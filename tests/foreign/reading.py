"""Reading a capture back and holding the record against what was done, and against what tshark counts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import socks5sniff
from socks5sniff.record import Conversation


def conversations(path: Path, port: int) -> list[Conversation]:
    """The records of a capture whose proxy has this port, each checked against tshark's view of the connection."""
    records = [record for record in socks5sniff.read(str(path)) if record.proxy.port == port]
    for record in records:
        if record.parent is None:
            _check_counts(record, path)
    return records


def conversation(path: Path, port: int) -> Conversation:
    """The only such record, those inside its tunnel left aside."""
    records = [record for record in conversations(path, port) if record.parent is None]
    assert len(records) == 1, f"{len(records)} conversations with a proxy at port {port}"
    return records[0]


def check(record: Conversation, **expected: object) -> None:
    """The record's attributes have these values; a difference shows all that were asked for."""
    assert {name: getattr(record, name) for name in expected} == expected


def codes(record: Conversation) -> set[str]:
    """Codes of the record's anomalies."""
    return {anomaly.code for anomaly in record.anomalies}


def _check_counts(record: Conversation, path: Path) -> None:
    fields = ("frame.number", "frame.time_epoch", "tcp.stream", "communityid")
    listed = [argument for field in fields for argument in ("-e", field)]
    ends = f"tcp.port == {record.client.port} && tcp.port == {record.proxy.port}"
    command = ["tshark", "-n", "--enable-protocol", "communityid", "-r", str(path), "-Y", ends, "-T", "fields", *listed]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    check(
        record,
        first_frame=int(rows[0][0]),
        last_frame=int(rows[-1][0]),
        start_ns=_nanoseconds(rows[0][1]),
        end_ns=_nanoseconds(rows[-1][1]),
        packets=len(rows),
        tcp_stream=int(rows[0][2]),
        community_id=rows[0][3],
    )


def _nanoseconds(epoch: str) -> int:
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
