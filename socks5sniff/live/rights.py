"""The right to capture: what to tell a user who has none, and giving it up once it is no longer needed."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

_FILES = "Reading a capture file needs no rights."


def refusal(name: str, why: str, platform: str = sys.platform) -> str:
    """The message for a user who may not capture.

    Args:
        name: the interface; on macOS and BSD the device that failed is in `why`.
        why: what is missing.
        platform: `sys.platform` of the system.
    """
    if platform == "win32":
        return (
            f'{name}: {why}. Npcap was installed with "Restrict Npcap driver\'s access to Administrators only": start '
            f"this from an Administrator terminal, or install Npcap again without it. {_FILES}"
        )
    if platform.startswith("linux"):
        filtered = f"sudo tcpdump -i {name} -s 0 -U -w - 'tcp port 1080' | socks5sniff read -"
        return (
            f"{name}: {why}. Choose one: `sudo socks5sniff live --iface {name}`; `sudo usermod -aG wireshark $USER`, "
            f"log in again, and the capture goes through dumpcap; `{filtered}`; `socks5sniff demo`, which needs no "
            f"rights. {_FILES}"
        )
    if platform == "darwin":
        return (
            f"{name}: {why}. Choose one: `sudo socks5sniff live --iface {name}`; install ChmodBPF, which is on "
            "Wireshark's disk image: it lets the group access_bpf read the devices; log in again afterwards. "
            f"{_FILES}"
        )
    return f"{name}: {why}. Run it as root, or let your group read /dev/bpf (devfs.rules). {_FILES}"


class User(NamedTuple):
    """Whom to become."""

    name: str
    uid: int
    gid: int


def lesser_user() -> User | None:
    """Who runs this process after the capture is open: the user who called sudo, else `nobody`.

    None where there is nothing to give up: not started as root, or no such user.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    try:
        if os.environ.get("SUDO_UID", "0") != "0":
            entry = pwd.getpwuid(int(os.environ["SUDO_UID"]))
        else:
            entry = pwd.getpwnam("nobody")
    except (KeyError, ValueError):
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def become(user: User) -> None:
    """Give up root for good; open files and sockets stay open."""
    os.setgroups([])
    os.setgid(user.gid)
    os.setuid(user.uid)


def can_write(user: User, folder: os.PathLike[str] | str) -> bool:
    """Whether a user may create files in a folder. To be asked by root."""
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    finally:
        os.seteuid(0)
        os.setegid(0)
