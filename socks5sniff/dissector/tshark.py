"""tshark: where it is, what version it is, where it looks for Lua plugins, and whether it loads ours."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from socks5sniff.errors import MissingError, Socks5sniffError

PROTOCOL = "socks5"
"""Filter name of our Lua dissector's protocol; the one built into Wireshark is `socks`."""

_TIMEOUT = 60.0
"""Seconds that a question to tshark may take; starting it takes about one, on a loaded machine some more."""

_EMPTY = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
"""A pcap file without frames."""

_USER_LUA_AS_ROOT_UNTIL = (4, 2)
"""From this version on tshark skips a user's Lua scripts when root runs it, and says nothing."""


class Version(NamedTuple):
    """tshark's version, and the version of Lua in it, None when it was built without."""

    wireshark: tuple[int, ...]
    lua: str | None

    def __str__(self) -> str:
        return ".".join(map(str, self.wireshark))


def find_tshark() -> str:
    """The path of tshark. Raises MissingError, with what to install, when there is none."""
    found = shutil.which("tshark")
    if found is None:
        mac = Path("/Applications/Wireshark.app/Contents/MacOS/tshark")
        windows = [Path(os.environ.get(name, "")) / "Wireshark" / "tshark.exe" for name in ("ProgramFiles",)]
        found = next((str(path) for path in (mac, *windows) if path.is_file()), None)
    if found is None:
        raise MissingError(
            "tshark is not installed: install the package tshark (Debian, Ubuntu), wireshark-cli (Fedora, Arch), "
            "or Wireshark itself from https://www.wireshark.org/download.html"
        )
    return found


def ask(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What tshark prints on stdout. Raises MissingError without tshark, Socks5sniffError when it does not answer."""
    try:
        done = subprocess.run(
            [find_tshark(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            env=dict(env) if env is not None else None,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Socks5sniffError(f"tshark {' '.join(arguments)} did not answer: {error}") from error
    return done.stdout.decode("utf-8", "replace")


def version() -> Version:
    """The installed tshark's version. Asking takes as long as reading a small capture: it is asked once."""
    return _version(find_tshark())


@cache
def _version(path: str) -> Version:
    return read_version(ask("--version"))


def read_version(text: str) -> Version:
    """The version in what `tshark --version` prints. Raises Socks5sniffError when none is in it."""
    number = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    if number is None:
        raise Socks5sniffError("tshark --version gives no version number")
    # "with Lua 5.2.4", and from 4.6 on a list of "+Lua 5.4.9" and its like.
    lua = re.search(r"(?:with\s+|\+)Lua\s+([\d.]+)", text)
    return Version(tuple(map(int, number.groups())), lua[1] if lua else None)


def plugin_folder(env: Mapping[str, str] | None = None) -> Path:
    """The user's folder for Lua plugins, from `tshark -G folders`."""
    text = ask("-G", "folders", env=env)
    # Wireshark 4.4 and later have one folder for all plugins where older ones list Lua's separately.
    for label in ("Personal Lua Plugins", "Personal Plugins"):
        found = re.search(rf"^{label}:\s*(\S.*?)\s*$", text, re.MULTILINE)
        if found:
            return Path(found[1])
    raise Socks5sniffError("tshark -G folders names no personal plugin folder")


def profiles_folder() -> Path:
    """The user's folder for Wireshark profiles, from `tshark -G folders`."""
    found = re.search(r"^Personal configuration:\s*(\S.*?)\s*$", ask("-G", "folders"), re.MULTILINE)
    if found is None:
        raise Socks5sniffError("tshark -G folders names no personal configuration")
    return Path(found[1]) / "profiles"


def loads_protocol(env: Mapping[str, str] | None = None) -> bool:
    """Whether tshark, started with nothing but its own settings, knows our protocol (`tshark -G protocols`)."""
    return any(line.split("\t")[-1:] == [PROTOCOL] for line in ask("-G", "protocols", env=env).splitlines())


def loads_script(script: Path) -> bool:
    """Whether tshark knows our protocol when it is told to load this script. (`-G` does not go with `-X`.)"""
    with TemporaryDirectory(prefix="socks5sniff-") as folder:
        empty = Path(folder) / "empty.pcap"
        empty.write_bytes(_EMPTY)
        # The filter fails where nobody knows the protocol; what is shown at the end tells that it did not.
        shown = ask("-X", f"lua_script:{script}", "-Y", PROTOCOL, "-r", str(empty), "-q", "-z", "io,stat,0")
        return bool(shown.strip())


def skips_user_scripts() -> bool:
    """Whether this tshark skips the Lua scripts of this user: root, from Wireshark 4.2 on, unless init.lua allows."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return as_root and version().wireshark >= _USER_LUA_AS_ROOT_UNTIL


@contextmanager
def own_settings() -> Iterator[Path]:
    """Run tshark with no personal settings or plugins, so that an installed copy cannot stand in for ours.

    The environment is changed while this is open: pyshark gives no other way to set its tshark's. Yields the empty
    home folder.
    """
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA")
    before = {name: os.environ.get(name) for name in names}
    with TemporaryDirectory(prefix="socks5sniff-") as home:
        os.environ.update(HOME=home, XDG_CONFIG_HOME=f"{home}/.config", XDG_DATA_HOME=f"{home}/.local", APPDATA=home)
        try:
            yield Path(home)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
