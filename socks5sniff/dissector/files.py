"""Where the Lua file is: inside the wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

from socks5sniff.errors import MissingError

NAME = "socks5.lua"
PROFILE = "SOCKS5"
"""Name of the Wireshark profile that comes with it."""


def lua_file() -> Path:
    """The Lua dissector that came with this package. Raises MissingError when it is not there."""
    package = Path(__file__).resolve().parent
    for path in (package / NAME, package.parent.parent / "wireshark" / NAME):
        if path.is_file():
            return path
    raise MissingError(f"{NAME} is missing from this installation; install socks5sniff again")


def profile_files() -> list[Path]:
    """Colouring rules, filter buttons and preferences. Raises MissingError when they are not there."""
    package = Path(__file__).resolve().parent
    for folder in (package / "profile", package.parent.parent / "wireshark" / "profile"):
        if folder.is_dir():
            return sorted(path for path in folder.iterdir() if path.is_file())
    raise MissingError("the Wireshark profile is missing from this installation; install socks5sniff again")
