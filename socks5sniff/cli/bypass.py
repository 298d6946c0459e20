"""`socks5sniff bypass`: what a proxy's clients sent past it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import DamagedInputError, ExitCode

from .messages import complain, own_fault
from .options import port_option
from .output import Output, open_output, refuse_terminal
from .pages import Command, Example, grouped
from .progress import ProgressBar
from .values import Words
from .working import Working, open_reading, working_options

if TYPE_CHECKING:
    from socks5sniff.analysis import Bypass

EXAMPLES = (
    Example("socks5sniff bypass x.pcapng", "Of every host that used a proxy in the capture."),
    Example("socks5sniff bypass x.pcapng --client 10.0.0.7 --format jsonl", "Of one host, for a program."),
)
_HEADING = ("start", "client", "destination", "transport", "server name", "sent", "received", "packets")
_COLUMNS = (
    *("start", "end", "client.address", "client.port", "destination.address", "destination.port", "transport"),
    *("server_name", "bytes.sent", "bytes.received", "packets", "process"),
)
"""Of csv."""
_RIGHT = 5
"""Columns from here on are numbers."""


def _addresses(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    found = [part for value in values for part in value.split(",")]
    for part in found:
        try:
            ip_address(part)
        except ValueError:
            raise click.BadParameter(f"{part!r} is not an IP address.", context, option) from None
    return tuple(found)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@port_option
@grouped(
    "Which traffic",
    click.option(
        "--client",
        multiple=True,
        callback=_addresses,
        metavar="ADDRESS,…",
        help="Hosts whose traffic is listed. Default: all that use a proxy in the capture. Repeatable.",
    ),
    click.option(
        "--all", "everything", is_flag=True, help="Also local traffic (mDNS, DHCP, loopback…) and the proxy's own."
    ),
)
@grouped(
    "Output",
    click.option(
        "--format",
        "format_",
        type=Words("a format", lambda: ("table", "jsonl", "csv")),
        default="table",
        metavar="NAME",
        help="table, jsonl, csv. Default: table.",
    ),
    click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, not to standard output."),
)
@working_options
def bypass(
    files: tuple[str, ...],
    port: tuple[int, ...],
    working: Working,
    client: tuple[str, ...],
    everything: bool,
    format_: str,
    output: str | None,
) -> int:
    """List connections and datagrams of a proxy's clients that went past the proxy.

    A proxy is whoever speaks SOCKS in the capture. Its own connections and what does not leave the network are left
    out. Several files are read as one capture, in time order.
    """
    refuse_terminal(files)
    from socks5sniff.analysis import Past
    from socks5sniff.capture.inputs import expand

    files = tuple(expand(files))
    bar = ProgressBar()
    fault: DamagedInputError | None = None
    with open_output(output, files, private=False) as out:
        out.before = bar.stop
        past = Past(client, everything)

        def between_batches(done: int, total: int) -> None:
            bar.update(done, total, workers=reading.workers)

        reading = open_reading(files, working, bypasses=past, ports=port, progress=between_batches)
        try:
            for _ in reading.batches():
                pass  # records tell who uses a proxy
        except DamagedInputError as error:
            fault = error
        finally:
            bar.stop()
        rows = past.rows()
        if format_ == "jsonl":
            for row in rows:
                out.write(json.dumps(row.as_dict()) + "\n")
        elif format_ == "csv":
            _write_csv(rows, out)
        else:
            out.write("".join(f"{line}\n" for line in _table(rows, len(past.clients), reading.packets)))
        out.flush()
    for note in reading.notes:
        complain(note)
    if past.left_out:
        complain(f"{past.left_out:,} more are not listed: there were too many.")
    if reading.faults:
        complain(own_fault(len(reading.faults), reading.faults.first))
    if fault is not None:
        raise fault
    return ExitCode.FAILED if reading.faults else ExitCode.OK


def _write_csv(rows: Sequence[Bypass], out: Output) -> None:
    from socks5sniff.codec.text import escape_text

    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for row in rows:
        plain = _flat(row.as_dict())
        lines.writerow([escape_text(str(plain[name])) if plain[name] is not None else "" for name in _COLUMNS])


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in value.items():
        found |= _flat(part, f"{prefix}{key}.") if isinstance(part, dict) else {prefix + key: part}
    return found


def _table(rows: Sequence[Bypass], clients: int, packets: int) -> Iterator[str]:
    from socks5sniff.codec.text import escape_text
    from socks5sniff.sinks.clock import Clock

    clock = Clock()
    cells = [_HEADING] + [
        (
            *(clock.full(row.start_ns)[:23].replace("T", " "), str(row.client), str(row.destination), row.transport),
            *(escape_text(row.server_name or ""), f"{row.sent:,}", f"{row.received:,}", f"{row.packets:,}"),
        )
        for row in rows
    ]
    if rows:
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (
                cell.rjust(width) if place >= _RIGHT else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            yield "  ".join(padded).rstrip()
        yield ""
    hosts = f"{clients:,} client" + "s" * (clients != 1)
    yield f"{len(rows):,} past the proxy, of {hosts}, in {packets:,} packets"
