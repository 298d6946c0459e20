"""tshark with our Lua file and nothing else of the user's, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from socks5sniff.dissector.verify import FRAME_TYPES

LUA = Path(__file__).resolve().parents[2] / "wireshark" / "socks5.lua"


def require_tshark() -> None:
    """Skip without tshark, but fail in CI: a skipped test there would pass unseen."""
    if shutil.which("tshark") is None:
        if os.environ.get("CI"):
            pytest.fail("tshark is not installed in CI")
        pytest.skip("tshark is not installed")


def tshark(capture: Path, *arguments: str, lua: bool = True, timeout: float = 110) -> str:
    """tshark's output on a capture. Fails the test when tshark fails, or when a Lua error shows."""
    require_tshark()
    home = capture.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "TZ": "UTC",
    }
    script = ["-X", f"lua_script:{LUA}"] if lua else []
    done = subprocess.run(
        ["tshark", "-n", "-r", str(capture), *script, *arguments],
        capture_output=True,
        env=environment,
        timeout=timeout,
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    errors = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0 or "appears to have been cut short" in errors, errors
    assert "Lua Error" not in output, output[output.index("Lua Error") :][:300]
    assert "lua" not in errors.lower(), errors
    return output


def rows(capture: Path, filter_: str, *fields: str, options: tuple[str, ...] = ()) -> list[list[str]]:
    """The named fields of the packets that match; the values of one field are joined with commas."""
    arguments = [*options, "-Y", filter_, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=,"]
    for name in fields:
        arguments += ["-e", name]
    return [line.split("\t") for line in tshark(capture, *arguments).splitlines()]


def info(capture: Path, filter_: str = "socks5", options: tuple[str, ...] = ()) -> list[str]:
    """Protocol and Info column of the packets that match."""
    columns = ["-o", 'gui.column.format:"P","%p","I","%i"']
    lines = tshark(capture, *columns, *options, "-Y", filter_).splitlines()
    return [" ".join(line.split()) for line in lines]


BOOLEANS = {"True": "1", "False": "0"}
"""Wireshark 4.4 and later show booleans as words."""


class Layer(NamedTuple):
    """One of our protocol's layers in one packet."""

    frame: int
    stream: int | None
    fields: dict[str, list[str]]

    def __getitem__(self, name: str) -> str:
        """The first value of `socks5.NAME`; an empty string when the field is not there."""
        return self.fields.get(f"socks5.{name}", [""])[0]

    @property
    def anomalies(self) -> list[str]:
        return self.fields.get("socks5.anomaly", [])


def layers(capture: Path, *options: str, filter_: str = "socks5") -> list[Layer]:
    """All socks5 layers of the packets that match, in order."""
    found = []
    printed = ("-J", "frame tcp socks5", "-T", "pdml")
    for packet in ElementTree.fromstring(tshark(capture, *options, "-Y", filter_, *printed)):
        number, stream = 0, None
        for proto in packet:
            name = proto.get("name")
            values: dict[str, list[str]] = {}
            for item in proto.iter("field"):
                shown = item.get("show") or ""
                if item.get("name") == "socks5.type":
                    shown = FRAME_TYPES[int(shown) - 1]
                values.setdefault(item.get("name") or "", []).append(BOOLEANS.get(shown, shown))
            if name == "frame":
                number = int(values["frame.number"][0])
            elif name == "tcp":
                stream = int(values["tcp.stream"][0])
            elif name == "socks5":
                found.append(Layer(number, stream, values))
    return found
