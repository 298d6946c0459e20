"""Invariants 6 to 8: every sink's output is valid in its format, safe to show, and without passwords."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from io import StringIO

from socks5sniff.cli.live_views import comment
from socks5sniff.explain import Overview, conversation_text, overview_text
from socks5sniff.record.batch import Batch
from socks5sniff.record.fields import COLUMNS, RECORD
from socks5sniff.sinks import Options, Totals, open_sink
from socks5sniff.stats import Statistics, report
from tests.report.reading import data_of

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
ACCESS = re.compile(r'([^ ]+ ){12}"[^"]*"')
ZEEK_COLUMNS = 16
KEYS = [name for name, key in RECORD.inside.items() if not key.optional]
"""Keys that every record has."""
SHORTEST = 6
"""Octets of a password that is looked for: a shorter one is found by chance."""


def text_of(name: str, batches: Sequence[Batch], **options: bool) -> str:
    """What a sink writes of these records."""
    out = StringIO()
    sink = open_sink(name, out, Options(**options))  # type: ignore[arg-type]
    count = 0
    for batch in batches:
        sink.records(batch)
        count += len(batch)
    sink.close(Totals(packets=1, conversations=count))
    return out.getvalue()


def safe(text: str, but: str = "") -> None:
    """Every line prints as itself."""
    for line in text.split("\n"):
        shown = line.translate({ord(each): None for each in but})
        assert shown.isprintable(), f"does not print as itself: {line!r}"


def _json(text: str, count: int | None) -> None:
    assert text.isascii()
    records = json.loads(text)
    assert count in (None, len(records))
    assert all(list(record) == KEYS for record in records)


def _jsonl(text: str, count: int | None) -> None:
    _json("[" + ",".join(text.splitlines()) + "]", count)


def _csv(text: str, count: int | None) -> None:
    safe(text.removeprefix("\ufeff"), "\r" if text.startswith("\ufeff") else "")
    header, *rows = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    assert tuple(header) == tuple(COLUMNS)
    assert count in (None, len(rows))
    for row in rows:
        assert len(row) == len(COLUMNS)
        for cell in row:
            assert not cell.lstrip().startswith(FORMULA) or NUMBER.fullmatch(cell), f"a formula: {cell!r}"


def _zeek(text: str, count: int | None) -> None:
    safe(text, "\t")
    lines = text.splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    assert count in (None, len(rows))
    assert len(lines) - len(rows) == 9
    assert all(line.count("\t") == ZEEK_COLUMNS - 1 and "" not in line.split("\t") for line in rows)


def _accesslog(text: str, count: int | None) -> None:
    safe(text)
    lines = text.splitlines()
    assert count in (None, len(lines))
    for line in lines:
        assert ACCESS.fullmatch(line), line


def _table(text: str, count: int | None) -> None:
    safe(text)
    assert count is None or len(text.splitlines()) >= count


def _lines(text: str, count: int | None) -> None:
    safe(text)


def page(text: str) -> None:
    """A page holds its own scripts and no other, and its data can be read."""
    assert not {*text} & {*map(chr, range(32)), *"\u202e\u2066\u2028"} - {*"\n\t"}
    assert text.count("<script") == text.count("</script>") == EMPTY_PAGE.count("<script")
    data_of(text)


FORMATS: dict[str, Callable[[str, int | None], None]] = {
    "json": _json, "jsonl": _jsonl, "csv": _csv, "zeek": _zeek, "accesslog": _accesslog, "table": _table,
    "frames": _lines,
}  # fmt: skip
"""Whether the text of so many records (None: of any number) is valid. A page is checked apart: it is large."""

EMPTY_PAGE = text_of("html", [])


def told(batches: Sequence[Batch]) -> str:
    """Records in words, one by one (also as a saved capture's comment) and together, and figures of them."""
    figures, overview, words = Statistics(), Overview(), []
    for batch in batches:
        for conversation in batch:
            figures.add(conversation)
            overview.add(conversation)
            words += [conversation_text(conversation), comment(conversation) + "\n"]
    return "".join((*words, overview_text(overview.as_dict()), report(figures.as_dict())))


def check(batches: Sequence[Batch], passwords: Sequence[str], with_page: bool = False) -> None:
    """Every format of these records, none of which may hold one of the passwords."""
    count = sum(map(len, batches))
    texts = {name: text_of(name, batches) for name in FORMATS}
    for name, valid in FORMATS.items():
        valid(texts[name], count)
    texts["excel"] = text_of("csv", batches, excel=True)
    _csv(texts["excel"], count)
    texts["words"] = told(batches)
    safe(texts["words"])
    if with_page:
        texts["html"] = text_of("html", batches)
        page(texts["html"])
        texts["html"] += data_of(texts["html"]).decode("latin-1")
    for password in passwords:
        for name, text in texts.items():
            assert password not in text, f"{name} shows the password {password!r}"
