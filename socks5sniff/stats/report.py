"""The figures as text, for the eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from socks5sniff.codec.text import escape_text

SHOWN = 10
"""Names and destinations of a list that are shown unless more are asked for."""
_BAR = 40
"""Columns of the longest bar over time."""
_ROWS = 24
"""Lines over time; intervals are joined until there are no more."""

_TITLES = {
    "outcomes": "Outcomes",
    "replies": "Replies",
    "methods": "Methods",
    "commands": "Commands",
    "tunnels": "In the tunnel",
    "anomalies": "Anomalies",
    "clients": "Clients",
    "users": "Users",
}


def report(figures: dict[str, Any], top: int = SHOWN) -> str:
    """The text of `Statistics.as_dict()`.

    Args:
        figures: all figures.
        top: names and destinations of each list to show.
    """
    sections = [_summary(figures)]
    for name, title in _TITLES.items():
        if figures[name]:
            sections.append([title, *_indented(_counts(figures[name], figures["conversations"], top))])
    if figures["destinations"]:
        sections.append(["Destinations", *_indented(_destinations(figures["destinations"], top))])
    for proxy, of_proxy in list(figures["proxies"].items())[:top]:
        sections.append(_proxy(proxy, of_proxy))
    if len(figures["over_time"]) > 1:
        sections.append(["Over time", *_indented(_over_time(figures["over_time"]))])
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _summary(figures: dict[str, Any]) -> list[str]:
    lines = [f"{_conversations(figures['conversations'])} in {figures['packets']:,} packets"]
    if figures["start"]:
        lines.append(f"{figures['start']} to {figures['end']}, at most {figures['open_at_once']:,} open at once")
        octets = figures["bytes"]
        rate = figures["rates"]
        each = f" ({rate['sent']:,.0f} and {rate['received']:,.0f} a second)" if rate["sent"] is not None else ""
        lines.append(f"{octets['sent']:,} octets sent, {octets['received']:,} received{each}")
    if figures["quantile_error"]:
        lines.append(f"times are within {figures['quantile_error']:.1%}: there are too many to keep each")
    return lines


def _counts(counts: dict[str, int], whole: int, top: int) -> list[str]:
    """Counts and their share of all conversations."""
    rows = [[f"{count:,}", f"{count / whole:.1%}", name] for name, count in list(counts.items())[:top]]
    return _table(rows, left={2}) + _more(len(counts) - top)


def _destinations(found: list[dict[str, Any]], top: int) -> list[str]:
    rows = [["conversations", "sent", "received", "destination"]]
    for entry in found[:top]:
        host = f"[{entry['host']}]" if ":" in entry["host"] else entry["host"]
        rows.append(
            [*(f"{entry[name]:,}" for name in ("conversations", "sent", "received")), f"{host}:{entry['port']}"]
        )
    return _table(rows, left={3}) + _more(len(found) - top)


def _proxy(name: str, figures: dict[str, Any]) -> list[str]:
    attempts = [f"{count:,} {outcome}" for outcome, count in figures["attempts"].items()]
    first = f"Proxy {escape_text(name)}: {_conversations(figures['conversations'])}"
    if attempts:
        first += f"; connections that came to none: {', '.join(attempts)}"
    rows = [["seconds", "count", *("p50", "p90", "p95", "p99", "max")]]
    for step, of_step in figures["timing"].items():
        if of_step["count"]:
            times = [f"{of_step[name]:.6f}" for name in ("p50", "p90", "p95", "p99", "max")]
            rows.append([step, f"{of_step['count']:,}", *times])
    return [first, *_indented(_table(rows, left={0}))] if len(rows) > 1 else [first]


def _conversations(count: int) -> str:
    return f"{count:,} conversation{'' if count == 1 else 's'}"


def _over_time(intervals: list[dict[str, Any]]) -> Iterator[str]:
    joined = _joined(intervals)
    most = max(entry["conversations"] for entry in joined) or 1
    rows = [["time (UTC)", "conversations", "open", "sent", "received", ""]]
    for entry in joined:
        bar = "#" * round(_BAR * entry["conversations"] / most)
        numbers = [f"{entry[name]:,}" for name in ("conversations", "open", "sent", "received")]
        rows.append([entry["start"][:19].replace("T", " "), *numbers, bar])
    yield from _table(rows, left={0, 5})


def _joined(intervals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size = -(-len(intervals) // _ROWS)
    joined = []
    for at in range(0, len(intervals), size):
        part = intervals[at : at + size]
        sums = {name: sum(entry[name] for entry in part) for name in ("conversations", "sent", "received")}
        joined.append({**part[0], **sums, "open": max(entry["open"] for entry in part)})
    return joined


def _table(rows: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    """Rows in columns, those of `left` aligned to the left, the others to the right."""
    cells = [[escape_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _more(count: int) -> list[str]:
    return [f"… and {count:,} more"] if count > 0 else []


def _indented(lines: Sequence[str] | Iterator[str]) -> list[str]:
    return [f"  {line}" for line in lines]
