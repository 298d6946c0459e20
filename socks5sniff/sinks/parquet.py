"""`parquet`: the record in columns, for DuckDB, polars, pandas and whatever else reads Parquet.

One file, or a dataset: a folder for each day on which conversations began (`date=2026-11-28`, UTC), and in it files of
at most a million records, which any number of programs may add to at the same time. Every file appears under its name
when it is whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import date, timedelta
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from socks5sniff.errors import MissingError, OutputError
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch
from socks5sniff.record.batch import written as written_out
from socks5sniff.record.form import Form

from .arrow_arrays import numbers
from .arrow_columns import of_forms, of_written
from .arrow_schema import SCHEMA, pa
from .sink import Files, Options, Totals

ROW_GROUP = 50_000
"""Records that are compressed together."""

PART = 20 * ROW_GROUP
"""Records of a dataset's file."""

_WRITTEN = 4_096
"""Conversations that are turned into columns together."""

_ENTRIES = 2_000_000
"""Frames and anomalies with which a row group is ended early: a conversation may list any number of datagrams."""

_OPEN = 4
"""Days whose files are open at the same time; of a capture in the order of its conversations one would do."""

_DAY = 86_400 * 1_000_000_000


class ParquetSink:
    """One file; it takes the place of one that is there."""

    def __init__(self, out: Files, options: Options) -> None:
        self._out = out
        self._file: _File | None = None

    def records(self, batch: Batch) -> None:
        self._begun().add(batch)

    def conversation(self, conversation: Conversation) -> None:
        self.records(written_out([conversation]))

    def close(self, totals: Totals) -> None:
        self._begun().commit()

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()

    def _begun(self) -> _File:
        if self._file is None:
            self._file = _File(self._out(""))
        return self._file


class DatasetSink:
    """Files of a dataset; see the module's docstring."""

    def __init__(self, out: Files, options: Options) -> None:
        self._out = out
        self._writer = options.writer or secrets.token_hex(8)  # whoever else writes there has another one
        self._number = 0
        self._files: dict[int, _File] = {}

    def records(self, batch: Batch) -> None:
        days = _days(batch)
        for day in np.unique(days).tolist():
            self._add(day, batch.take(np.flatnonzero(days == day)))

    def conversation(self, conversation: Conversation) -> None:
        self.records(written_out([conversation]))

    def commit(self) -> None:
        for day in list(self._files):
            self._files.pop(day).commit()

    def close(self, totals: Totals) -> None:
        self.commit()

    def discard(self) -> None:
        for day in list(self._files):
            self._files.pop(day).discard()

    def _add(self, day: int, batch: Batch) -> None:
        file = self._files.pop(day, None)
        if file is None:
            if len(self._files) == _OPEN:
                self._files.pop(next(iter(self._files))).commit()
            self._number += 1
            file = _File(self._out(_name(day, f"{self._writer}-{self._number:05}")))
        self._files[day] = file  # behind those that were not wanted for longer
        file.add(batch)
        if file.records >= PART:
            self._files.pop(day).commit()


def write_part(out: Files, name: str, batch: Batch, least: int) -> tuple[list[str], Batch]:
    """Write records into files of their own, one for each day that has at least so many.

    Args:
        out: begins the files.
        name: what only their names have.

    Returns:
        The names of the files; the records of other days, and those of files that could not be written.
    """
    names, days = [], _days(batch)
    left = np.ones(len(batch), np.bool_)
    found, count = np.unique(days, return_counts=True)
    for day in found[count >= least].tolist():
        rows = days == day
        try:
            _write_whole(out(_name(day, name)), batch.take(np.flatnonzero(rows)))
        except (OutputError, MissingError):
            continue  # whoever gets them says why, if it cannot write them either
        names.append(_name(day, name))
        left &= ~rows
    return names, batch.take(np.flatnonzero(left))


def _write_whole(context: AbstractContextManager[IO[bytes]], batch: Batch) -> None:
    file = _File(context)
    try:
        file.add(batch)
        file.commit()
    finally:
        file.discard()


def _name(day: int, part: str) -> str:
    return f"date={date(1970, 1, 1) + timedelta(day)}/part-{part}.parquet"


def _days(batch: Batch) -> NDArray[np.int64]:
    return batch.times("start") // _DAY


class _AbandonedError(Exception):
    """Ends the context of a file that is not wanted."""


class _File:
    """Records on their way into a file: a row group's wait until they are enough.

    Attributes:
        records: how many it was given.
    """

    def __init__(self, file: AbstractContextManager[IO[bytes]]) -> None:
        self.records = 0
        self._context = ExitStack()
        self._writer: Any = None
        self._forms: dict[Form, dict[str, Any]] = {}
        self._tables: list[pa.Table] = []
        self._order: list[NDArray[np.int64]] = []
        self._written: list[Conversation] = []
        self._places: list[int] = []
        self._waiting = 0
        self._entries = 0
        stream = self._context.enter_context(file)
        with self._failing():
            self._writer = _writer(stream)

    def add(self, batch: Batch) -> None:
        """Raises OutputError."""
        for begin in range(0, len(batch), ROW_GROUP):
            self._take(batch.slice(begin, begin + ROW_GROUP))
            if self._waiting >= ROW_GROUP or self._entries >= _ENTRIES:
                self._write_out()

    def commit(self) -> None:
        """All is in it. Raises OutputError."""
        self._write_out()
        with self._failing():
            self._writer.close()
        self._context.close()

    def discard(self) -> None:
        """Leave nothing behind; without effect on what was committed."""
        self._end(_AbandonedError())

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise

    def _end(self, error: BaseException) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # else it tries once more to write its end when it is forgotten
        self._context.__exit__(type(error), error, error.__traceback__)

    def _take(self, batch: Batch) -> None:
        rows, table = of_forms(batch, self._forms)
        if table is not None:
            self._put(table, self.records + rows)
        for row, conversation in enumerate(batch.written):
            if conversation is not None:
                self._written.append(conversation)
                self._places.append(self.records + row)
                self._entries += len(conversation.frames) + len(conversation.anomalies)
                if len(self._written) == _WRITTEN:
                    self._turn()
        self.records += len(batch)
        self._waiting += len(batch)

    def _turn(self) -> None:
        """What waits as conversations becomes columns."""
        if self._written:
            self._put(of_written(self._written), np.array(self._places))
            self._written, self._places = [], []

    def _put(self, table: pa.Table, places: NDArray[np.int64]) -> None:
        self._tables.append(table)
        self._order.append(places)

    def _write_out(self) -> None:
        """A row group, in the order in which its records came."""
        self._turn()
        if self._tables:
            table = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
            order = np.concatenate(self._order)
            if (np.diff(order) < 0).any():
                table = table.take(numbers(np.argsort(order)))
            with self._failing():
                self._writer.write_table(table, ROW_GROUP)
        self._tables, self._order, self._waiting, self._entries = [], [], 0, 0


def _writer(stream: IO[bytes]) -> Any:
    from pyarrow import parquet

    def texts(path: str, type_: pa.DataType) -> list[str]:
        """Columns of the file that hold text, as it calls them."""
        if pa.types.is_list(type_):
            return texts(f"{path}.list.element", type_.value_type)
        if pa.types.is_struct(type_):
            return [name for field in type_ for name in texts(f"{path}.{field.name}", field.type)]
        return [path] if pa.types.is_string(type_) or pa.types.is_dictionary(type_) else []

    return parquet.ParquetWriter(
        stream,
        SCHEMA,
        version="2.6",
        compression="zstd",
        use_dictionary=[name for field in SCHEMA for name in texts(field.name, field.type)],
    )
