"""The queries of the manual give what it shows, of the dataset whose making it shows."""

from __future__ import annotations

import re

import duckdb
import pytest
from tabulate import tabulate

from socks5sniff import manual
from socks5sniff.cli import main
from tests.test_readme import ROOT

PAGE = manual.text("queries")
QUERIES = re.findall(r"^```sql\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", PAGE, re.MULTILINE | re.DOTALL)
"""Each with its output, empty where there is none."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    folder = tmp_path_factory.mktemp("queries")
    (folder / "captures").symlink_to(ROOT / "captures")
    line = next(line for line in PAGE.splitlines() if line.startswith("$ socks5sniff read"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(line.split()[2:]) == 0
    found = duckdb.connect()
    found.execute("SET TimeZone = 'UTC'")
    found.execute(f"SET file_search_path = '{folder}'")
    for query, output in QUERIES:
        if not output:
            found.execute(query)
    return found


def shown(database: duckdb.DuckDBPyConnection, query: str) -> str:
    result = database.execute(query)
    names = [column[0] for column in result.description or ()]
    table = tabulate(result.fetchall(), names, "simple", missingval="", disable_numparse=True)
    return "".join(f"{line.rstrip()}\n" for line in table.splitlines())


def test_there_are_ten_and_the_view() -> None:
    assert sum(bool(output) for _, output in QUERIES) == 11


@pytest.mark.parametrize(("query", "output"), [pair for pair in QUERIES if pair[1]])
def test_a_query_gives_what_is_shown(database: duckdb.DuckDBPyConnection, query: str, output: str) -> None:
    assert shown(database, query) == output


def test_a_view_of_ecs_has_every_conversation(database: duckdb.DuckDBPyConnection) -> None:
    assert (
        database.execute("SELECT count(*) FROM ecs").fetchall()
        == database.execute("SELECT count(*) FROM socks").fetchall()
    )
