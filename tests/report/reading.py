"""A second reader of the report's data, after the description in `socks5sniff.report.columns`."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

HOLES = {"\ue000": "destination", "\ue001": "bound", "\ue002": "username"}


def data_of(page: str) -> bytes:
    """The container inside a page."""
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return gzip.decompress(base64.b64decode(found[1]))


def read(data: bytes) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The header, and the values of each column."""
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    columns: dict[str, list[Any]] = {}
    at = 4 + length
    for name, kind, count, width, base in header["columns"]:
        planes = [data[at + plane * count : at + (plane + 1) * count] for plane in range(width)]
        numbers = [sum(plane[row] << (8 * place) for place, plane in enumerate(planes)) for row in range(count)]
        at += count * width
        columns[name] = _values(kind, numbers, header["words"], columns.get(base))
    assert at == len(data)
    return header, columns


def _values(kind: str, numbers: list[int], words: list[str], base: list[Any] | None) -> list[Any]:
    if kind == "word":
        return [words[number - 1] if number else None for number in numbers]
    if kind in ("list", "object"):
        return [json.loads(words[number - 1]) if number else None for number in numbers]
    values: list[Any] = [number - 1 if number else None for number in numbers]
    if kind == "bool":
        return [None if value is None else bool(value) for value in values]
    if kind == "seconds":
        return [None if value is None else value / 1e9 for value in values]
    if kind == "step":
        total, found = 0, []
        for value in values:
            total += _signed(value)
            found.append(total)
        return found
    if kind == "offset":
        distances = [_signed(value) for value in values]
        return distances if base is None else [one + two for one, two in zip(distances, base, strict=True)]
    return values


def _signed(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def entries(columns: dict[str, list[Any]], name: str, row: int) -> list[dict[str, Any]]:
    """Entries of a list in one row."""
    begin = sum(columns[name][:row])
    parts = [column for column in columns if column.startswith(name + ".")]
    return [
        {part.removeprefix(name + "."): columns[part][at] for part in parts}
        for at in range(begin, begin + columns[name][row])
    ]
