"""`socks5sniff dissector`: where the Lua file goes, and what is said when it is not loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5sniff.cli import main
from socks5sniff.dissector import install as installing
from socks5sniff.dissector import tshark
from socks5sniff.dissector.files import lua_file, profile_files
from socks5sniff.dissector.install import State, check, install, uninstall
from socks5sniff.dissector.tshark import Version
from socks5sniff.errors import ExitCode, MissingError, OutputError
from tests.conftest import ROOT


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home folder for tshark."""
    if shutil.which("tshark") is None:
        if os.environ.get("CI"):
            pytest.fail("tshark is not installed in CI")
        pytest.skip("tshark is not installed")
    with tshark.own_settings() as folder:
        yield folder


def test_install_check_uninstall(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check().state is State.ABSENT
    assert main(["dissector", "check"]) == ExitCode.FAILED
    report = install()
    assert report.path.is_relative_to(home)
    assert report.path.read_bytes() == lua_file().read_bytes()
    assert report.state is State.CURRENT
    assert report.loaded
    assert report.advice is None
    assert main(["dissector", "check"]) == ExitCode.OK
    assert uninstall() == report.path
    assert uninstall() is None
    assert not report.path.exists()
    assert "socks5sniff dissector install" in capsys.readouterr().out


def test_an_older_copy_is_pointed_out(home: Path) -> None:
    path = install().path
    path.write_text(path.read_text() + "\n-- older\n")
    report = check()
    assert report.state is State.DIFFERENT
    assert report.advice == "run `socks5sniff dissector install` again"


def test_a_file_that_does_not_load_is_noticed(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "socks5.lua"
    broken.write_text("this is not Lua\n")
    monkeypatch.setattr(installing, "lua_file", lambda: broken)
    report = install()
    assert report.state is State.CURRENT
    assert not report.loaded
    assert report.advice is not None


def test_lua_switched_off_is_explained(home: Path) -> None:
    path = install().path
    assert installing._advice(path, State.CURRENT, loaded=False) is not None
    (path.parent / "init.lua").write_text("enable_lua = false\n")
    assert "enable_lua" in str(installing._advice(path, State.CURRENT, loaded=False))


@pytest.mark.parametrize(
    ("found", "root", "words"),
    [
        (Version((4, 2, 2), "5.2.4"), True, "when root runs it"),
        (Version((4, 0, 17), None), False, "built without Lua"),
        (Version((4, 4, 18), "5.4.7"), False, "does not say why"),
    ],
)
def test_reasons(found: Version, root: bool, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installing, "version", lambda: found)
    monkeypatch.setattr(tshark, "version", lambda: found)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000, raising=False)
    assert words in str(installing._advice(tmp_path / "plugins" / "socks5.lua", State.CURRENT, loaded=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "TShark (Wireshark) 4.0.17 (Git v4.0.17).\n\nCompiled (64-bit) with GLib, with Lua\n5.2.4, with GnuTLS",
            "5.2.4",
        ),
        ("TShark (Wireshark) 4.0.17.\n\nCompiled (64-bit) with GLib 2.74, without Lua, with GnuTLS", None),
        (
            "TShark (Wireshark) 4.6.9.\n\nWith:\n  +libxml2 2.15.4    +Lua 5.4.9\nWithout:\n  -zlib-ng\n",
            "5.4.9",
        ),
        ("TShark (Wireshark) 4.6.9.\n\nWith:\n  +libxml2 2.15.4\nWithout:\n  -Lua    -zlib-ng\n", None),
    ],
)
def test_the_version_of_lua_is_read_however_it_is_told(text: str, expected: str | None) -> None:
    assert tshark.read_version(text).lua == expected


def test_whether_a_script_is_loaded_is_tried(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.lua"
    other.write_text("-- defines nothing\n")
    assert tshark.loads_script(lua_file())
    assert not tshark.loads_script(other)
    assert not tshark.loads_script(tmp_path / "absent.lua")


def test_a_folder_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "plugins").write_text("a file, no folder")
    monkeypatch.setattr(installing, "plugin_folder", lambda: home / "plugins")
    with pytest.raises(OutputError, match="cannot be written"):
        install()


def test_without_tshark_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="install the package tshark"):
        check()
    assert main(["dissector", "check"]) == ExitCode.MISSING
    capture = tmp_path / "a.pcap"
    capture.write_bytes(b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(8) + b"\0\0\4\0\1\0\0\0")
    assert main(["verify", str(capture)]) == ExitCode.MISSING
    assert capsys.readouterr().err.count("wireshark.org/download") == 2


def test_the_profile_is_installed_loaded_and_removed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissector", "install", "--profile"]) == ExitCode.OK
    folder = installing.profile_path()
    assert folder.is_relative_to(home)
    assert {path.name for path in folder.iterdir()} == {"colorfilters", "dfilter_buttons", "preferences"}
    capture = ROOT / "captures" / "connect-domain.pcapng"
    shown = tshark.ask("-C", "SOCKS5", "-X", f"lua_script:{lua_file()}", "-r", str(capture))
    assert "www.example.test succeeded SOCKS5" in " ".join(shown.split())
    (folder / "recent").write_text("# of Wireshark's own\n")
    assert installing.uninstall_profile() == folder
    assert [path.name for path in folder.iterdir()] == ["recent"]
    assert installing.uninstall_profile() is None


def test_filters_of_the_profile_are_filters(home: Path) -> None:
    """Each colouring rule and button names fields that the dissector has."""
    capture = ROOT / "captures" / "connect-domain.pcapng"
    rules = [line.split("@")[2] for line in profile_text("colorfilters") if line.startswith("@")]
    buttons = [line.split('","')[2] for line in profile_text("dfilter_buttons") if line.startswith('"')]
    assert (len(rules), len(buttons)) == (6, 5)
    every = " || ".join(f"({rule})" for rule in [*rules, *buttons])
    shown = tshark.ask("-X", f"lua_script:{lua_file()}", "-r", str(capture), "-Y", every)
    assert len(shown.splitlines()) == 6


def profile_text(name: str) -> list[str]:
    return next(path for path in profile_files() if path.name == name).read_text().splitlines()


def test_path_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissector", "path"]) == ExitCode.OK
    assert Path(capsys.readouterr().out.strip()) == lua_file()


def test_folders_of_both_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "Personal Plugins:\t/p/4.0\nPersonal Lua Plugins:\t/p\n"
    new = "Personal Plugins:\t/home/x/.local/lib/wireshark/plugins\n"
    for text, folder in ((old, "/p"), (new, "/home/x/.local/lib/wireshark/plugins")):
        monkeypatch.setattr(tshark, "ask", lambda *_, text=text, **__: text)
        assert tshark.plugin_folder() == Path(folder)
