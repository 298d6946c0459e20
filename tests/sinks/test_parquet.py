"""Parquet: every fact of a record, as other programs read it, in files that are whole or not there."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import socks5sniff
from socks5sniff.capture.places import Place
from socks5sniff.errors import OutputError, Socks5sniffError
from socks5sniff.record import Conversation, FrameEntry
from socks5sniff.record.batch import Batch, written
from socks5sniff.record.fields import RECORD, names
from socks5sniff.sinks import Options, Sink, Totals, open_sink, parquet
from socks5sniff.sinks.parquet import DatasetSink, ParquetSink
from tests.benchmarks import captures

from .parquet_reading import records
from .samples import START, conversations, maybe, sample

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = sorted((ROOT / "captures").glob("*.pcap*"))
REPORTED = sorted((ROOT.parent / "shared" / "reports").glob("*.pcap"))
ENDPOINT = st.fixed_dictionaries({"address": st.text(max_size=9), "port": st.integers(0, 65535)})
UPSTREAM = st.fixed_dictionaries(
    {"source": ENDPOINT, "destination": ENDPOINT, "matched_by": st.text(max_size=9), "outcome": st.text(max_size=9)}
)
PROCESS = st.fixed_dictionaries(
    {"pid": st.integers(1, 2**22), "name": st.text(max_size=9)}, optional={"container": st.text(min_size=1, max_size=9)}
)
ANY = st.builds(
    lambda conversation, upstream, process: replace(conversation, upstream=upstream, process=process),
    *(conversations, maybe(UPSTREAM), maybe(PROCESS)),
)


def fill(sink: Sink, batches: Sequence[Batch]) -> None:
    for batch in batches:
        sink.records(batch)
    sink.close(Totals())


def file_of(folder: Path, batches: Sequence[Batch]) -> Path:
    path = folder / "records.parquet"
    fill(ParquetSink(Place(str(path)), Options()), batches)
    return path


def jsonl(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    out = io.StringIO()
    fill(open_sink("jsonl", out, Options()), batches)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Batch]:
    """Records of several forms, every third of them written out, and the clients of some known."""
    path = tmp_path_factory.mktemp("capture") / "churn.pcap"
    captures.write("churn", path, 300)
    batches = list(socks5sniff.read(path).batches())
    for batch in batches:
        assert batch.written.count(None) > 200
        for row in range(0, len(batch), 3):
            batch.write_out(row)
        batch.name([{"pid": row, "name": f"client {row % 3}"} if row % 5 < 2 else None for row in range(len(batch))])
    return batches


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> pq.ParquetFile:
    return pq.ParquetFile(file_of(tmp_path_factory.mktemp("schema"), [written([sample(), sample(id=2)])]))


@pytest.fixture(scope="module")
def path(mixed: list[Batch], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return file_of(tmp_path_factory.mktemp("readers"), mixed)


@pytest.fixture(scope="module")
def wanted(mixed: list[Batch]) -> list[tuple[Any, ...]]:
    def nanoseconds(time: str) -> int:
        whole = datetime.strptime(time[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
        return int(whole.timestamp()) * 10**9 + int(time[20:29])

    return [
        (
            *(
                record["id"],
                nanoseconds(record["start"]),
                record["outcome"],
                (record["destination"] or {}).get("host"),
            ),
            *(record["methods"], len(record["frames"]), record["frames"][-1]["summary"]),
        )
        for record in jsonl(mixed)
    ]


class TestRoundTrip:
    """Out of Parquet comes what jsonl has."""

    @pytest.mark.parametrize("paths", [CAPTURES, REPORTED], ids=["captures", "reports"])
    def test_of_captures(self, paths: list[Path], tmp_path: Path) -> None:
        batches: list[Batch] = []
        for path in paths:
            with suppress(Socks5sniffError):  # after what could be read
                batches.extend(socks5sniff.read(path, udp_frames=True).batches())
        for found, wanted in zip(records(file_of(tmp_path, batches)), jsonl(batches), strict=True):
            assert found == wanted

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(ANY, max_size=3))
    def test_of_anything(self, tmp_path_factory: pytest.TempPathFactory, found: list[Conversation]) -> None:
        folder = tmp_path_factory.mktemp("anything")
        assert list(records(file_of(folder, [written(found)]))) == [one.as_dict() for one in found]

    def test_of_forms_and_what_is_written_out_in_their_order(self, mixed: list[Batch], tmp_path: Path) -> None:
        assert list(records(file_of(tmp_path, mixed))) == jsonl(mixed)

    def test_of_a_selection(self, mixed: list[Batch], tmp_path: Path) -> None:
        some = [batch.select([row % 7 < 2 for row in range(len(batch))]) for batch in mixed]
        assert list(records(file_of(tmp_path, some))) == jsonl(some)

    def test_however_it_is_cut(self, mixed: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet, "ROW_GROUP", 70)
        monkeypatch.setattr(parquet, "_WRITTEN", 9)
        cut = [batch.slice(begin, begin + 31) for batch in mixed for begin in range(0, len(batch), 31)]
        path = file_of(tmp_path, cut)
        assert list(records(path)) == jsonl(mixed)
        assert pq.ParquetFile(path).metadata.num_row_groups > 3

    def test_of_nothing(self, tmp_path: Path) -> None:
        path = file_of(tmp_path, [])
        assert pq.read_table(path).num_rows == 0
        assert pq.read_schema(path).names == pq.read_schema(file_of(tmp_path, [written([sample()])])).names

    def test_what_is_no_unicode_is_written_as_ascii(self, tmp_path: Path) -> None:
        (found,) = records(file_of(tmp_path, [written([sample(capture="a\udcff", username="\ud800b")])]))
        assert (found["capture"], found["username"]) == (r"a\udcff", r"\ud800b")


class TestSchema:
    """What the columns are."""

    def test_every_key_has_its_column(self, file: pq.ParquetFile) -> None:
        def inside(name: str, type_: pa.DataType) -> Iterator[str]:
            yield name
            if pa.types.is_list(type_) and pa.types.is_struct(type_.value_type):
                for field in type_.value_type:
                    yield from inside(f"{name}.{field.name}", field.type)

        found = {name for field in file.schema_arrow for name in inside(field.name, field.type)}
        lists = {name for name, key in RECORD.inside.items() if key.many} | {"udp.destinations"}
        wanted = {name for name in names(RECORD) if name not in ("udp", "timing") or name in lists}
        for name in wanted:
            outer = next((one for one in lists if name == one or name.startswith(f"{one}.")), name)
            column = outer.replace(".", "_") + name[len(outer) :]
            key_is_object = any(other.startswith(f"{name}.") for other in wanted) and name not in lists
            assert key_is_object or column in found, name

    def test_types(self, file: pq.ParquetFile) -> None:
        schema = file.schema_arrow
        words = pa.dictionary(pa.int32(), pa.string())
        assert schema.field("start").type == pa.timestamp("ns", "UTC")
        assert schema.field("outcome").type == words
        assert schema.field("methods").type.value_type == words
        assert schema.field("duration").type == pa.float64()
        assert schema.field("destination_port").type == pa.int64()
        assert schema.field("reversed").type == pa.bool_()
        frame = schema.field("frames").type.value_type
        assert [field.name for field in frame] == ["frame", "time", "sender", "type", "length", "summary"]
        assert frame.field("time").type == pa.timestamp("ns", "UTC")
        assert frame.field("type").type == words

    def test_the_version_is_in_the_metadata(self, file: pq.ParquetFile) -> None:
        assert file.schema_arrow.metadata[b"socks5sniff.schema"] == b"1"

    def test_it_is_compressed_in_row_groups(self, file: pq.ParquetFile) -> None:
        group = file.metadata.row_group(0)
        assert {group.column(number).compression for number in range(group.num_columns)} == {"ZSTD"}
        assert parquet.ROW_GROUP == 50_000


class TestReaders:
    """Other programs read the same."""

    def test_duckdb(self, path: Path, wanted: list[tuple[Any, ...]]) -> None:
        query = (
            "SELECT id, epoch_ns(start), outcome, destination_host, methods, len(frames), frames[-1].summary "
            f"FROM '{path}' ORDER BY id"
        )
        assert duckdb.connect().execute(query).fetchall() == wanted

    def test_polars(self, path: Path, wanted: list[tuple[Any, ...]]) -> None:
        frames = polars.col("frames")
        found = polars.read_parquet(path).select(
            "id",
            polars.col("start").dt.epoch("ns"),
            polars.col("outcome").cast(polars.String),
            "destination_host",
            polars.col("methods").cast(polars.List(polars.String)),
            frames.list.len(),
            frames.list.last().struct.field("summary"),
        )
        assert found.rows() == wanted

    def test_pandas(self, path: Path, wanted: list[tuple[Any, ...]]) -> None:
        found = pandas.read_parquet(path)
        assert str(found.start.dtype) == "datetime64[ns, UTC]"
        assert found.start.astype("int64").tolist() == [row[1] for row in wanted]
        assert found.id.tolist() == [row[0] for row in wanted]
        assert found.outcome.tolist() == [row[2] for row in wanted]
        assert [frames[-1]["summary"] for frames in found.frames] == [row[6] for row in wanted]


DAY = 86_400 * 10**9


def days(folder: Path) -> dict[str, list[int]]:
    """Ids of a dataset by its folders."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*/*.parquet")):
        found.setdefault(path.parent.name, []).extend(record["id"] for record in records(path))
    return found


class TestDataset:
    """Folders by day, and files that any number of writers add."""

    def test_folders_are_the_days_on_which_conversations_began(self, tmp_path: Path) -> None:
        midnight = START // DAY * DAY
        found = [
            sample(id=1, start_ns=midnight - 1),
            sample(id=2, start_ns=midnight),
            sample(id=3, start_ns=midnight + 9),
        ]
        fill(DatasetSink(Place(str(tmp_path / "set")), Options()), [written(found)])
        assert days(tmp_path / "set") == {"date=2026-06-20": [1], "date=2026-06-21": [2, 3]}

    def test_forms_are_told_apart_by_day_too(self, mixed: list[Batch], tmp_path: Path) -> None:
        fill(DatasetSink(Place(str(tmp_path)), Options()), mixed)
        ids = [number for numbers in days(tmp_path).values() for number in numbers]
        assert sorted(ids) == [record["id"] for record in jsonl(mixed)]

    def test_duckdb_sees_the_day_as_a_column(self, tmp_path: Path) -> None:
        fill(DatasetSink(Place(str(tmp_path)), Options()), [written([sample(), sample(id=2, start_ns=START + DAY)])])
        query = (
            f"SELECT date::VARCHAR, id FROM read_parquet('{tmp_path}/*/*.parquet', hive_partitioning = true) ORDER BY 1"
        )
        assert duckdb.connect().execute(query).fetchall() == [("2026-06-21", 1), ("2026-06-22", 2)]

    def test_writers_do_not_meet(self, tmp_path: Path) -> None:
        sinks = [DatasetSink(Place(str(tmp_path)), Options()) for _ in range(3)]
        for number in range(9):
            sinks[number % 3].conversation(sample(id=number))
        for sink in sinks:
            sink.close(Totals())
        assert sorted(days(tmp_path)["date=2026-06-21"]) == list(range(9))

    def test_a_file_has_so_many_records(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet, "PART", 10)
        sink = DatasetSink(Place(str(tmp_path)), Options())
        for number in range(25):
            sink.conversation(sample(id=number))
        assert len(list(tmp_path.glob("*/*.parquet"))) == 2  # whole, while the third is begun
        sink.close(Totals())
        assert sorted(days(tmp_path)["date=2026-06-21"]) == list(range(25))

    def test_days_in_disorder_do_not_open_more_and_more_files(self, tmp_path: Path) -> None:
        sink = DatasetSink(Place(str(tmp_path)), Options())
        for number in range(24):
            sink.conversation(sample(id=number, start_ns=START + number % 12 * DAY))
        assert len(list(tmp_path.glob("*/.*"))) <= 4
        sink.close(Totals())
        found = days(tmp_path)
        assert len(found) == 12
        assert sorted(number for numbers in found.values() for number in numbers) == list(range(24))

    def test_nothing_at_all_is_no_file(self, tmp_path: Path) -> None:
        fill(DatasetSink(Place(str(tmp_path)), Options()), [written([])])
        assert list(tmp_path.iterdir()) == []


class Full(io.BytesIO):
    """A file on a disk that has room for so many octets."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, octets: Any, /) -> int:
        self._room -= len(memoryview(octets))
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(octets)


class TestFailures:
    """A file is whole or not there."""

    @pytest.mark.parametrize("room", [0, 4, 3000, 30_000])
    def test_a_full_disk(self, room: int, mixed: list[Batch], capfd: pytest.CaptureFixture[str]) -> None:
        ended: list[type[BaseException] | None] = []

        @contextmanager
        def place(name: str) -> Iterator[IO[bytes]]:
            try:
                yield Full(room)
            except OSError as error:
                ended.append(type(error))
                raise OutputError("disk: full") from error
            ended.append(None)

        sink = ParquetSink(place, Options())
        with pytest.raises(OutputError):
            fill(sink, mixed)
        sink.discard()
        assert ended == [OSError]
        del sink
        assert capfd.readouterr().err == ""

    def test_what_is_discarded_leaves_nothing(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "x.parquet").write_text("before")
        for sink in (
            ParquetSink(Place(str(tmp_path / "x.parquet")), Options()),
            DatasetSink(Place(str(tmp_path)), Options()),
        ):
            sink.conversation(sample())
            sink.discard()
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.parquet"]
        assert (tmp_path / "x.parquet").read_text() == "before"
        assert capfd.readouterr().err == ""

    def test_nothing_has_its_name_before_the_end(self, tmp_path: Path) -> None:
        sink = ParquetSink(Place(str(tmp_path / "x.parquet")), Options())
        sink.conversation(sample())
        assert not (tmp_path / "x.parquet").exists()
        sink.close(Totals())
        assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_datagrams_without_end_do_not_wait_for_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ENTRIES", 1000)
    frames = [FrameEntry(number, START, "client", "udp", 10, "UDP") for number in range(400)]
    path = file_of(tmp_path, [written([sample(id=number, frames=frames)]) for number in range(9)])
    assert pq.ParquetFile(path).metadata.num_row_groups == 3


def test_pandas_is_not_needed(tmp_path: Path) -> None:
    """It takes longer to import than most captures to read."""
    code = (
        "import sys; from socks5sniff.cli import main; "
        f"main(['read', {str(CAPTURES[0])!r}, '--format', 'parquet', '-o', {str(tmp_path / 'x.parquet')!r}]); "
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert len(list(records(tmp_path / "x.parquet"))) == 1


def test_the_samples_have_columns_of_every_kind(mixed: list[Batch]) -> None:
    """What is compared above is not only nulls."""
    forms = {int(form) for batch in mixed if batch.columns is not None for form in np.unique(batch.columns.form)}
    assert len(forms) > 3
    found = jsonl(mixed)
    for key in ("username", "destination", "reply", "bound", "tunnel", "bytes", "methods"):
        assert any(record[key] is not None for record in found), key
    assert any(record["anomalies"] for record in found)
