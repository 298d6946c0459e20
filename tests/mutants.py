"""How strong the tests of the core rooms are: small faults put into the program one at a time, and who notices.

    python -m tests.mutants                          100 mutants of all core rooms
    python -m tests.mutants session codec --count 50 --seed 3
    python -m tests.mutants --near packets           with the tests of the room alone: quicker, and stricter
    python -m tests.mutants --list                   what they would be, without a test run
    python -m tests.mutants --only 17                one of them again, with what its tests say

A mutant is killed when a test of `ROOMS` fails or takes too long. Where `coverage` is installed (the extra `fuzz`), the
tests of the rooms run once before all else, so that each mutant meets only those that reach its line, and first those
that reach little else. Each meets them in a process of its own, forked from one that has loaded what the tests need, in
which the module is another one: no file is changed, and commands that tests start do not know of it. The draw depends
on the seed and the source alone. `EQUIVALENT` names mutants that change nothing that can be seen, with the reason; they
are not counted.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.machinery
import importlib.util
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TARGET = 95
"""Per cent of the mutants that the tests are to kill."""
PYTEST = ("-q", "-p", "no:cacheprovider")
LOADED = ("pytest", "hypothesis.strategies", "numpy", "pyarrow", "scapy.all", "dpkt")
"""What tests need that takes long to load and is none of ours."""
LOOP = 60
"""Seconds that a single test may take: many a mutant loops."""
PATIENCE = 1200
"""Seconds that the tests of one mutant may take; where they take longer something does not end."""

WHOLE = ("tests/analysis/test_analysis.py", "tests/analysis/test_net.py", "tests/lab/test_captures.py")
"""Captures and dialogues through all rooms."""
ROOMS: dict[str, tuple[str, ...]] = {
    "codec": ("tests/codec", "tests/session", *WHOLE),
    "session": ("tests/session", "tests/analysis", *WHOLE),
    "packets": ("tests/packets", *WHOLE),
    "streams": ("tests/streams", "tests/analysis", *WHOLE),
    "capture": (
        *("tests/capture", "tests/live/test_files.py", "tests/cli/test_bad_input.py", "tests/proxy/test_trace.py"),
        *WHOLE,
    ),
    "record": ("tests/record", "tests/sinks", "tests/report", *WHOLE),
    "analysis": (
        *("tests/analysis", *WHOLE, "tests/payload/test_second_look.py"),
        *("tests/cli/test_live_run.py", "tests/cli/test_live_interim.py"),
    ),
    "sinks": ("tests/sinks", "tests/cli/test_read.py", *WHOLE),
    "where": ("tests/where", "tests/cli/test_filters.py"),
    "live/saving.py": ("tests/live/test_saving.py", "tests/live/test_files.py"),
    "proxy/association.py": ("tests/proxy/test_udp.py",),
}
"""The core rooms (or modules), and the tests that hold them."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "socks5sniff/record/text.py", "others.shape[1] > text.shape[1]", "(others.shape[1] >= text.shape[1])"
    ): "no column is added to a text",
    (
        "socks5sniff/streams/flows.py", "if not lacking.any(): continue", "pass"
    ): "all bases are known: what follows finds none to set",
    (
        "socks5sniff/streams/flows.py", "mixed ^= mixed >> np.uint64(29)", "30"
    ): "hashes are mixed as well by one as by the other",
    (
        "socks5sniff/streams/heads.py", "HEAD = 4608", "4609"
    ): "an octet more of a tunnel; what a ClientHello needs is far from both",
    (
        "socks5sniff/analysis/names.py", "if len(octets) < 12 or not octets[2] & _RESPONSE:", "13"
    ): "behind 12 octets there is no question yet",
    (
        "socks5sniff/sinks/arrow_columns.py", "not len(rows) or batch.columns is None",
        "(not len(rows) and batch.columns is None)"
    ): "where there are rows there are columns; of no rows an empty table is written",
    (
        "socks5sniff/analysis/tunnel/tls.py", "_REMEMBERED = 1024", "1025"
    ): "one list more is remembered",
    (
        "socks5sniff/packets/kinds.py", "table = np.full(np.iinfo(numbers).max + 1, default, np.uint8)", "2"
    ): "no number is larger",
    (
        "socks5sniff/packets/tunnels.py", "rows = taken(rows, rows.at + 4 <= rows.end)", "5"
    ): "a frame that ends with its key carries nothing",
    (
        "socks5sniff/capture/writer.py", "_NAMES_PER_BLOCK = 4096", "4097"
    ): "any number that fits into a block will do",
    (
        "socks5sniff/capture/pcapng.py", "self._described = 0", "1"
    ): "what is asked is whether it is another number",
    (
        "socks5sniff/analysis/frames.py", "_NEVER = 1 << 20", "21"
    ): "both are out of reach",
    (
        "socks5sniff/session/dialogue.py",
        'step = decode_step(self.state, PROXY, head.ljust(10 if row.version == 5 else 8, b"\\0"))', "11"
    ): "an octet behind the frame",
    (
        "socks5sniff/session/enclosed.py", "at, need = 0, 1", "2"
    ): "a token's first octet alone tells nothing",
    (
        "socks5sniff/record/text.py", "middle + 1000 * (low == 0)", "(middle - 1000 * (low == 0))"
    ): "counted from the end it is the same of 2,000 entries",
    (
        "socks5sniff/record/text.py", "high + 1000 * (low == 0)", "(high - 1000 * (low == 0))"
    ): "counted from the end it is the same of 2,000 entries",
    (
        "socks5sniff/capture/chain.py",
        "edges = np.linspace(begin + layout.mark_at + 1, end, count + 1).astype(np.int64)", "2"
    ): "where the search begins; what is found does not depend on it",
    (
        "socks5sniff/capture/pcapng.py", "self._count = 0", "1"
    ): "a section comes first, and rows before it are no section's",
    (
        "socks5sniff/sinks/columns.py", 'Column(TIME, TIME, lambda c: "", 23, 5),', "24"
    ): "no time is longer than 23 characters",
    (
        "socks5sniff/sinks/parquet.py", "self._entries >= _ENTRIES", "(self._entries > _ENTRIES)"
    ): "a bound of memory, not of what is written",
    (
        "socks5sniff/streams/octets.py",
        "furthest = np.maximum.reduceat(np.where(other == this, heard, -1), runs)", "2"
    ): "both are less than what is heard of nothing",
    (
        "socks5sniff/streams/flows.py",
        "batch.segments.sequence[rows].astype(np.int64) + batch.segments.length[rows]",
        "(batch.segments.sequence[rows].astype(np.int64) - batch.segments.length[rows])",
    ): "what is looked for is a hundred times farther away than a segment is long",
    (
        "socks5sniff/analysis/handshakes.py", "len(rest) >= FEW", "(len(rest) > FEW)"
    ): "how many it takes to be read at once; the same is said of each",
    (
        "socks5sniff/analysis/assignment.py", "len(share.all) > _MOST", "(len(share.all) >= _MOST)"
    ): "how it is found out, not what",
    (
        "socks5sniff/codec/decode.py", "if len(host) > 64 or not host.isascii():", "65"
    ): "no address in text is so long, with its zone",
    (
        "socks5sniff/analysis/datagrams.py", "_TELLING = 12", "13"
    ): "more is kept of one length of names",
    (
        "socks5sniff/proxy/association.py", "MOST_PEERS = 4096", "4097"
    ): "a peer more is remembered",
    (
        "socks5sniff/analysis/exchanges.py", "PROXY_OCTETS = 64", "65"
    ): "an octet more is at hand than any handshake's frames are read from",
    (
        "socks5sniff/analysis/exchanges.py", "CLIENT_OCTETS = 256", "257"
    ): "an octet more is at hand than any handshake's frames are read from",
    (
        "socks5sniff/analysis/forms.py", "return -1", "2"
    ): "any negative number stands for none",
    (
        "socks5sniff/analysis/forms.py", "form = np.full(exchanges.size, -1, np.intp)", "2"
    ): "any negative number stands for none",
    (
        "socks5sniff/analysis/forms.py", "said = np.full(exchanges.size, -1, np.intp)", "2"
    ): "any negative number stands for none",
    (
        "socks5sniff/analysis/handshakes.py", 'COLUMNS: ClassVar = {"part": (np.intp, -1)}', "2"
    ): "any negative number stands for none",
    (
        "socks5sniff/analysis/forms.py", "_MARK_STEP = 10_000_000_000", "10000000001"
    ): "marks are as far apart",
    (
        "socks5sniff/analysis/exchanges.py", "_BITS = 20", "21"
    ): "there is room for more",
    (
        "socks5sniff/analysis/watch.py", "if not found.any(): break", "pass"
    ): "no row that does not begin so is one that does later on",
}  # fmt: skip
"""Module, what is written there and what instead, as they are printed: why nobody can notice."""

_FLIPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip


class Mutant(NamedTuple):
    """A fault: what stands in a module from one octet to another, and what is written there instead.

    `before` is a whole line where a number or a word by itself would not tell what it is.
    """

    module: str
    line: int
    last: int
    begin: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.before}  ->  {self.after}"

    @property
    def room(self) -> str:
        """The key of `ROOMS` that it is in."""
        inner = self.module.removeprefix("socks5sniff/")
        return inner if inner in ROOMS else inner.partition("/")[0]


def mutants(path: Path) -> Iterator[Mutant]:
    """All mutants of a module."""
    source = path.read_bytes()
    starts, lines = [0], source.decode().splitlines()
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    module = path.relative_to(ROOT).as_posix()
    for node in _nodes(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = source[begin:end].decode()
        for after in _changes(node, before):
            shown = _shown(node, before, lines[: node.lineno])
            yield Mutant(module, node.lineno, node.end_lineno or 0, begin, end, " ".join(shown.split()), after)


def _shown(node: ast.expr | ast.stmt, before: str, lines: list[str]) -> str:
    if isinstance(node, ast.Constant):
        return lines[-1]
    return f"{lines[-2]} {before}" if isinstance(node, (ast.Continue, ast.Break)) else before


def _nodes(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Expressions and statements that do something; not types, docstrings, or what is inside a formatted string."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "msg") or isinstance(tree, ast.JoinedStr):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.Assert):  # what never fails as it is, and need not as anything else
                continue
            if isinstance(node, (ast.expr, ast.stmt)):
                yield node
            yield from _nodes(node)


def _changes(node: ast.expr | ast.stmt, before: str) -> Iterator[str]:
    """What may stand there instead."""
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare) and len(changed.ops) == 1:
        changed.ops[0] = _FLIPS[type(changed.ops[0])]()  # type: ignore[assignment]
        yield f"({ast.unparse(changed)})"
    elif isinstance(changed, (ast.BoolOp, ast.BinOp)) and type(changed.op) in _FLIPS:
        changed.op = _FLIPS[type(changed.op)]()  # type: ignore[assignment]
        yield f"({ast.unparse(changed)})"
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield str(node.value + 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.IfExp):
        yield f"({ast.unparse(node.orelse)} if {ast.unparse(node.test)} else {ast.unparse(node.body)})"
    elif _can_be_dropped(node):
        yield "pass"


def _can_be_dropped(node: ast.expr | ast.stmt) -> bool:
    """Whether it is a statement without which the others are still sound."""
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], (ast.Attribute, ast.Subscript))
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return called or isinstance(node, (ast.AugAssign, ast.Continue, ast.Break))


def drawn(rooms: list[str], count: int, seed: int) -> list[Mutant]:
    """So many mutants of these rooms."""
    paths = [ROOT / "socks5sniff" / room for room in rooms]
    files = sorted({file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))})
    every = [mutant for file in files for mutant in mutants(file)]
    every = [mutant for mutant in every if (mutant.module, mutant.before, mutant.after) not in EQUIVALENT]
    return random.Random(seed).sample(every, min(count, len(every)))


class Reach(NamedTuple):
    """Where tests come.

    Attributes:
        lines: by module and line the test functions that come there.
        broken: those that fail without a mutant (of time, when they are watched): they are asked about none.
    """

    lines: dict[str, dict[int, set[str]]]
    broken: set[str]


def pytest_runtest_setup(item: Any) -> None:
    """Of this module as pytest's plugin: tell `coverage` which test runs."""
    import coverage

    running = coverage.Coverage.current()
    if running is not None:
        running.switch_context(item.nodeid.partition("[")[0])


def room_tests(room: str, near: bool) -> tuple[str, ...]:
    """The tests that hold a room, its own alone where asked for."""
    return ROOMS[room][:1] if near else ROOMS[room]


def reach_of(tests: list[str], folder: Path) -> Reach:
    """Which of these tests reach which lines; nothing where `coverage` is not installed."""
    if importlib.util.find_spec("coverage") is None:
        return Reach({}, set())
    import coverage

    file = folder / "reach"
    run = [sys.executable, "-m", "coverage", "run", "--source=socks5sniff", f"--data-file={file}", "-m", "pytest"]
    run += [*PYTEST, "-p", "tests.mutants", "-rfE", *tests]
    said = subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout
    broken = {line.split()[1].partition("[")[0] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))}
    print("".join(f"fails without a mutant: {name}\n" for name in sorted(broken)), end="", flush=True)
    data = coverage.CoverageData(str(file))
    data.read()
    return Reach(
        {
            Path(name).relative_to(ROOT).as_posix(): {
                line: {*contexts} - {"", *broken} for line, contexts in data.contexts_by_lineno(name).items()
            }
            for name in data.measured_files()
        },
        broken,
    )


def tests_of(mutant: Mutant, near: bool, reach: Reach) -> list[str]:
    """The tests that may kill it: those of its room that reach it, or all of them where none is known to."""
    held = room_tests(mutant.room, near)
    lines = reach.lines.get(mutant.module, {})
    names = set().union(*(lines.get(line, set()) for line in range(mutant.line, mutant.last + 1)))
    much = Counter(name for lines in reach.lines.values() for there in lines.values() for name in there)
    own = sorted((name for name in names if _is_among(name, held)), key=lambda name: (much[name], name))
    return [*(f"--deselect={name}" for name in sorted(reach.broken)), *(own or held)]


def _is_among(name: str, tests: tuple[str, ...]) -> bool:
    """Whether a test is in one of these files or folders."""
    file = Path(name.partition("::")[0])
    return any(Path(part) in (file, *file.parents) for part in tests)


def run_tests(mutant: Mutant, tests: list[str], shown: bool) -> int:
    """In a process of its own: put the mutant in its module's place and run its tests; gives pytest's exit status."""
    path = ROOT / mutant.module
    source = path.read_bytes()
    changed = source[: mutant.begin] + mutant.after.encode() + source[mutant.end :]
    of_file = importlib.machinery.SourceFileLoader.get_code

    def code(loader: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        if Path(loader.path) == path:
            return compile(changed, path, "exec", dont_inherit=True)
        return of_file(loader, name)

    importlib.machinery.SourceFileLoader.get_code = code  # type: ignore[assignment, method-assign]
    if not shown:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    import pytest

    status = pytest.main([*PYTEST, "-x", f"--timeout={LOOP}", "--timeout-method=thread", *tests])
    sys.stdout.flush()
    return int(status)


def started(mutant: Mutant, tests: list[str], shown: bool) -> int:
    """Begin to judge a mutant; gives the process."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        signal.alarm(PATIENCE)
        status = run_tests(mutant, tests, shown)
    finally:
        os._exit(status)


def judged(chosen: list[Mutant], jobs: int, near: bool, shown: bool) -> Iterator[tuple[int, bool]]:
    """The place of each mutant, and whether it survives, as it becomes known; so many at once."""
    assert all((ROOT / test).exists() for tests in ROOMS.values() for test in tests)
    with tempfile.TemporaryDirectory(prefix="mutants") as place:
        rooms = {mutant.room for mutant in chosen}
        reach = reach_of(sorted({test for room in rooms for test in room_tests(room, near)}), Path(place))
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(Path(place, "hypothesis"))  # no mutant knows of another
        for name in LOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        running: dict[int, int] = {}
        for number, mutant in enumerate(chosen):
            if len(running) == jobs:
                yield _ended(running)
            running[started(mutant, tests_of(mutant, near, reach), shown)] = number
        while running:
            yield _ended(running)


def _ended(running: dict[int, int]) -> tuple[int, bool]:
    """Wait for one of these processes."""
    process, status = os.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what its tests have left running
    return running.pop(process), status == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)} (default: all)")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="mutants (default: 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="other seeds, other mutants (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="test runs at once (default: 1)")
    parser.add_argument("--near", action="store_true", help="with the tests of its own room alone")
    parser.add_argument("--list", action="store_true", help="show the mutants and end")
    parser.add_argument("--only", type=int, metavar="N", help="the mutant of this number alone, with its tests' output")
    arguments = parser.parse_args()
    if unknown := set(arguments.rooms) - set(ROOMS):
        parser.error(f"no core room is called {', '.join(sorted(unknown))}")
    chosen = drawn(arguments.rooms or [*ROOMS], arguments.count, arguments.seed)
    if arguments.list:
        for number, mutant in enumerate(chosen):
            print(f"{number:>4} {mutant}")
        return 0
    if arguments.only is not None:
        chosen = [chosen[arguments.only]]
    scores: dict[str, list[bool]] = {}
    found = judged(chosen, arguments.jobs, arguments.near, arguments.only is not None)
    for number, survived in found:
        mutant = chosen[number]
        scores.setdefault(mutant.room, []).append(not survived)
        print(f"{number:>4} {'SURVIVED' if survived else 'killed  '} {mutant}", flush=True)
    for room, killed in scores.items():
        print(f"{room:<24} {sum(killed):>4} of {len(killed):>4}")
    every = [killed for found in scores.values() for killed in found]
    score = 100 * sum(every) / max(len(every), 1)
    print(f"score {score:.1f} % of {len(every)} mutants, seed {arguments.seed}; target {TARGET} %")
    return int(score < TARGET)


if __name__ == "__main__":
    raise SystemExit(main())
