"""The Lua file's tables are the codec's, and both Lua versions accept the file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from socks5sniff import codec
from socks5sniff.dissector.files import lua_file
from socks5sniff.dissector.generate import BEGIN, END, generated, tables
from socks5sniff.dissector.verify import FRAME_TYPES
from tests.conftest import ROOT

LUA = ROOT / "wireshark" / "socks5.lua"
TEXT = LUA.read_text(encoding="utf-8")


def test_the_generated_region_is_up_to_date() -> None:
    assert generated(TEXT) == TEXT, "run python -m socks5sniff.dissector.generate"


def test_a_changed_code_point_changes_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec.REPLIES, 0x0A, 'out of "luck"')
    assert generated(TEXT) != TEXT
    assert '[0x0A] = "out of \\"luck\\"",' in tables()


def test_every_anomaly_is_in_the_region_with_its_severity() -> None:
    region = TEXT[TEXT.index(BEGIN) : TEXT.index(END)]
    found = re.findall(r'\{ "([a-z0-9-]+)", "(note|warning|error)",', region)
    assert found == [(code, anomaly.severity) for code, anomaly in codec.ANOMALIES.items()]


def test_anomalies_named_in_the_code_exist() -> None:
    code = TEXT[TEXT.index(END) :]
    named = set(re.findall(r'(?:odd|note)\([a-z_.\[\]1 -]+, "([a-z0-9-]+)"', code))
    named |= set(re.findall(r'note_once\([^"]*?,\s*"([a-z0-9-]+)"', code))
    named |= set(re.findall(r'E\["([a-z0-9-]+)"\]', code)) | set(
        re.findall(r'add_anomalies\(item, \{ "([a-z0-9-]+)"', code)
    )
    assert len(named) > 25
    assert named <= set(codec.ANOMALIES)


def test_a_file_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        generated("-- some other Lua file")


def test_the_checkouts_file_is_the_one_that_is_used() -> None:
    assert lua_file() == LUA


@pytest.mark.parametrize(
    "command", [["luac5.2", "-p"], ["luac5.4", "-p"], ["luacheck", "--config", str(ROOT / "wireshark/luacheck.lua")]]
)
def test_lua_is_clean(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{command[0]} is not installed in CI")
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, str(LUA)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_makes_wireshark_build_trees_or_changes_other_scripts() -> None:
    code = TEXT[TEXT.index(END) :]
    for name in ("Field.new", "collectgarbage", "all_field_infos", "try_heuristics("):
        assert re.search(rf"^[^-\n]*{re.escape(name)}", code, re.MULTILINE) is None, name


def test_functions_are_short() -> None:
    """None has more than 40 lines, from its first to its `end`."""
    begun: list[tuple[str, int]] = []
    long = []
    for number, line in enumerate(TEXT.splitlines()):
        indent = line[: len(line) - len(line.lstrip())]
        if re.match(r"\s*(local )?(function\b|\S+ = function\b)", line) and not line.endswith(" end"):
            begun.append((indent, number))
        elif begun and re.match(rf"{begun[-1][0]}end\b", line):
            _, first = begun.pop()
            if number - first + 1 > 40:
                long.append(TEXT.splitlines()[first])
    assert begun == []
    assert long == []


def test_the_types_are_those_that_verify_reads() -> None:
    table = re.search(r"^local TYPES = \{(.*?)\}", TEXT, re.MULTILINE | re.DOTALL)
    assert table is not None
    assert tuple(re.findall(r'"([a-z-]+)"', table[1])) == FRAME_TYPES


def test_the_readme_lists_every_field_and_preference() -> None:
    readme = (ROOT / "wireshark" / "README.md").read_text(encoding="utf-8")
    fields = set(re.findall(r'ProtoField\.\w+\("(socks5\.[a-z_.]+)"', TEXT))
    fields |= {f"socks5.destination.{name}" for name in re.findall(r'name \.\. "\.([a-z0-9]+)"', TEXT)}
    preferences = {f"socks5.{name}" for name in re.findall(r"^P\.prefs\.(\w+) =", TEXT, re.MULTILINE)}
    assert len(fields) > 40
    assert len(preferences) == 5
    assert {name for name in fields | preferences if f"`{name}`" not in readme} == set()
