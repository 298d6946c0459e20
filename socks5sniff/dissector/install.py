"""Putting the Lua dissector where Wireshark looks for it, and finding out whether it is loaded from there."""

from __future__ import annotations

import shutil
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from socks5sniff.errors import OutputError

from .files import NAME, PROFILE, lua_file, profile_files
from .tshark import loads_protocol, plugin_folder, profiles_folder, skips_user_scripts, version


class State(Enum):
    """What became of the installed copy."""

    CURRENT = "installed, the same as this package's"
    DIFFERENT = "installed, but not the same as this package's: install it again"
    ABSENT = "not installed"


class Report(NamedTuple):
    """What `check` found."""

    path: Path
    """Where the file is, or would be."""
    state: State
    loaded: bool
    """Whether tshark, started as usual, knows the protocol."""
    advice: str | None
    """What to do when something is wrong, in one line."""


def installed_path() -> Path:
    """Where the dissector belongs for this user. Raises MissingError without tshark."""
    return plugin_folder() / NAME


def install() -> Report:
    """Copy the Lua file into the personal plugin folder and see whether tshark loads it from there."""
    path = installed_path()
    source = lua_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    return check()


def profile_path() -> Path:
    """Where the profile belongs for this user. Raises MissingError without tshark."""
    return profiles_folder() / PROFILE


def install_profile() -> Path:
    """Copy colouring rules, filter buttons and columns into a Wireshark profile of their own.

    Returns its folder. Files of that name that are there are replaced; the user's other profiles stay as they are.
    """
    folder = profile_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in profile_files():
            shutil.copyfile(source, folder / source.name)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    return folder


def uninstall_profile() -> Path | None:
    """Remove what `install_profile` wrote; the folder, or None when nothing of it was there.

    A file that Wireshark has put there since, such as recent settings, keeps the folder.
    """
    folder = profile_path()
    ours = [folder / source.name for source in profile_files()]
    there = [path for path in ours if path.is_file()]
    try:
        for path in there:
            path.unlink()
        if there and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be removed: {error.strerror}") from error
    return folder if there else None


def uninstall() -> Path | None:
    """Remove the installed copy; its path, or None when there was none."""
    path = installed_path()
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed: {error.strerror}") from error
    return path


def check() -> Report:
    """What is installed, whether tshark loads it, and what to do if not."""
    path = installed_path()
    state = _state(path)
    loaded = loads_protocol()
    return Report(path, state, loaded, _advice(path, state, loaded))


def _state(path: Path) -> State:
    try:
        there = path.read_bytes()
    except OSError:
        return State.ABSENT
    return State.CURRENT if there == lua_file().read_bytes() else State.DIFFERENT


def _advice(path: Path, state: State, loaded: bool) -> str | None:
    if state is State.ABSENT:
        if loaded:
            return "tshark loads a copy from another folder: see `tshark -G folders` for the global plugin folders"
        return "run `socks5sniff dissector install`"
    if state is State.DIFFERENT:
        return "run `socks5sniff dissector install` again"
    if loaded:
        return None
    found = version()
    if found.lua is None:
        return f"tshark {found} was built without Lua: install one that has it"
    if skips_user_scripts():
        return (
            f"tshark {found} skips a user's Lua scripts when root runs it: run Wireshark as another user, or put "
            f"{path.name} into the global Lua plugin folder that `tshark -G folders` names"
        )
    if _lua_disabled(path):
        return "Lua is switched off by enable_lua = false in an init.lua: set it to true"
    return "tshark does not load it and does not say why: start `tshark` by hand and read its first lines"


def _lua_disabled(path: Path) -> bool:
    """Whether an init.lua in the personal folders switches Lua off."""
    for folder in (path.parent, *path.parent.parents[:3]):
        try:
            lines = (folder / "init.lua").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if any("".join(line.split()).startswith("enable_lua=false") for line in lines):
            return True
    return False


def explain(report: Report) -> str:
    """The report in lines."""
    lines = [
        f"{report.path}: {report.state.value}",
        f"tshark {version()}: {'loads' if report.loaded else 'does not load'} it",
    ]
    if report.advice is not None:
        lines.append(report.advice[0].upper() + report.advice[1:])
    return "\n".join(lines)
