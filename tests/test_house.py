"""The rooms of the package and who may import whom, held by reading the imports of every module.

`ROOMS` is the table; the manual's page "Inside" shows the same one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "socks5sniff"

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "manual": set(),
    "codec": set(),
    "record": {"codec"},
    "session": {"codec"},
    "capture": {"errors"},
    "live": {"errors", "capture"},
    "packets": {"capture"},
    "streams": {"packets", "capture"},
    "analysis": {"errors", "record", "codec", "session", "capture", "packets", "streams"},
    "archive": {"errors", "record", "capture", "packets", "streams", "analysis"},
    "payload": {"errors", "record", "codec", "session", "capture", "packets", "streams", "analysis"},
    "decap": {"record", "codec", "capture", "packets", "payload"},
    "sanitize": {"errors", "record", "codec", "session", "capture", "packets", "streams", "analysis", "payload"},
    "report": {"record", "codec"},
    "sinks": {"errors", "record", "codec", "report"},
    "web": {"errors", "report"},
    "where": {"record", "codec"},
    "stats": {"record", "codec"},
    "explain": {"record", "codec"},
    "client": {"errors", "codec"},
    "proxy": {"errors", "codec", "capture", "client"},
    "lab": {"errors", "record", "codec", "capture", "client", "proxy"},
    "dissector": {"errors", "record", "codec", "analysis"},
    "cli": {
        *("errors", "manual", "record", "codec", "capture", "live", "analysis", "archive"),
        *("payload", "decap", "sanitize", "sinks", "web", "where", "stats", "explain", "client", "proxy", "lab"),
        "dissector",
    },
}
"""Each room, in order, and the rooms it may import: only rooms above it."""

ONLY_IN: dict[str, set[str]] = {
    "numpy": {
        *("record", "capture", "live", "packets", "streams", "analysis", "archive"),
        *("payload", "decap", "sanitize", "sinks", "report"),
    },
    "click": {"cli"},
    "pyarrow": {"sinks"},
}
"""Packages that some rooms may import at the top of a module."""

INSIDE_FUNCTIONS: dict[str, set[str]] = {
    "scapy": set(ROOMS),
    "pyshark": {"dissector", "cli"},
    "packaging": {"dissector"},  # comes with pyshark
    "tabulate": {"sinks", "cli"},
    "rich": {"sinks", "cli"},
    "zstandard": {"capture"},
    "lz4": {"capture"},
    "fsspec": {"capture"},
    "pyarrow": {"sinks"},
    "psutil": set(ROOMS),
    "prometheus_client": {"cli"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "gssapi": {"client", "proxy"},
    "cryptography": {"analysis", "sanitize"},
    "lark": {"where"},
    "h11": {"payload"},
    "distributed": {"archive"},
}
"""Packages that cost start-up time or may be missing: imported only in the function that needs them."""

BACKWARD = {
    ("live.interfaces", "live.pcap"),
}
"""Imports that close a circle and are still to be opened: by the ends of the modules' names."""

PURE = {"errors", "codec", "session"}
"""Rooms that need the standard library only, inside functions too."""


class Import(NamedTuple):
    """One imported module, by its absolute name, and the names taken from it."""

    module: str
    names: tuple[str, ...]
    line: int
    at_top: bool
    """It runs when the module is imported."""
    for_types: bool
    """It stands under TYPE_CHECKING and never runs."""


class Module(NamedTuple):
    name: str
    """`socks5sniff.codec.frames`; of a package's `__init__`, the package's name."""
    room: str
    """First name after the package's; "" for `socks5sniff` and `socks5sniff.__main__`."""
    path: Path
    imports: tuple[Import, ...]

    def where(self, found: Import) -> str:
        return f"{self.path.relative_to(ROOT)}:{found.line} imports {found.module}"


def imports_of(tree: ast.AST, package: str, at_top: bool = True, for_types: bool = False) -> Iterator[Import]:
    """Every import statement under `tree`; `package` is what relative ones start from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, at_top, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield Import(module, tuple(alias.name for alias in node.names), node.lineno, at_top, for_types)
        else:
            in_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from imports_of(node, package, at_top and not in_function, for_types or typing_only)


def modules() -> Iterator[Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        package = ".".join(parts[:-1])
        if parts[-1] == "__init__":
            parts.pop()
        room = parts[1] if len(parts) > 1 and parts[1] != "__main__" else ""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield Module(".".join(parts), room, path, tuple(imports_of(tree, package)))


MODULES = tuple(modules())


def is_pair(importer: str, imported: str, pair: tuple[str, str]) -> bool:
    return importer.endswith("." + pair[0]) and imported.endswith("." + pair[1])


def test_every_room_is_in_the_table() -> None:
    assert {module.room for module in MODULES} - {""} <= set(ROOMS)


def test_the_table_points_one_way() -> None:
    order = list(ROOMS)
    assert [
        (room, other) for room, others in ROOMS.items() for other in others if order.index(other) >= order.index(room)
    ] == []


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = []
    for module in MODULES:
        if module.room == "":
            continue
        for found in module.imports:
            top, _, rest = found.module.partition(".")
            if top != "socks5sniff":
                continue
            rooms = {rest.partition(".")[0]} if rest else {name for name in found.names if not name.startswith("__")}
            if rooms - {module.room} - ROOMS[module.room]:
                wrong.append(module.where(found))
    assert wrong == []


def test_no_import_cycle() -> None:
    """Of all imports, those inside functions and those for types too: who needs another's name depends on it."""
    known = {module.name for module in MODULES}
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        needed = set()
        for found in module.imports:
            parts = {f"{found.module}.{name}" for name in found.names} & known
            whole = len(parts) < len(found.names) or not found.names
            needed |= parts | ({found.module} & known if whole else set())
        backward = {other for other in needed for pair in BACKWARD if is_pair(module.name, other, pair)}
        graph[module.name] = needed - backward - {module.name}
    TopologicalSorter(graph).prepare()


def test_packages_from_outside_are_imported_where_they_may_be() -> None:
    wrong = []
    for module in MODULES:
        for found in module.imports:
            name = found.module.partition(".")[0]
            if name == "socks5sniff" or name in sys.stdlib_module_names or found.for_types:
                continue
            allowed = module.room in ONLY_IN.get(name, ())
            if not found.at_top:
                allowed = allowed or module.room in INSIDE_FUNCTIONS.get(name, ())
            if not allowed or module.room in PURE:
                wrong.append(module.where(found))
    assert wrong == []


def test_every_module_says_what_it_is_and_postpones_annotations() -> None:
    for module in MODULES:
        assert ast.get_docstring(ast.parse(module.path.read_text(encoding="utf-8"))), f"{module.name} has no docstring"
        names = [name for found in module.imports if found.module == "__future__" for name in found.names]
        assert "annotations" in names, f"{module.name} evaluates its annotations"


def test_the_import_reader_sees_every_kind_of_import() -> None:
    source = """
from ..codec import text
from .near import a, b
if TYPE_CHECKING:
    import numpy
try:
    import lz4.frame
except ImportError:
    def load():
        from scapy.all import sniff
"""
    assert list(imports_of(ast.parse(source), "socks5sniff.sinks")) == [
        Import("socks5sniff.codec", ("text",), 2, True, False),
        Import("socks5sniff.sinks.near", ("a", "b"), 3, True, False),
        Import("numpy", (), 5, True, True),
        Import("lz4.frame", (), 7, True, False),
        Import("scapy.all", ("sniff",), 10, False, False),
    ]


def test_the_manual_shows_the_same_table() -> None:
    """Rows `| room | imports |`, names in backticks or not, `nothing` for an empty cell."""
    shown: dict[str, set[str]] = {}
    for line in (PACKAGE / "manual" / "inside.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        if line.lstrip().startswith("|") and len(cells) >= 2 and cells[0] in ROOMS:
            shown[cells[0]] = set(cells[1].split(", ")) - {"nothing", ""}
    assert shown == ROOMS
