"""Giving up rights once the capture is open: the user, Linux's capabilities (capabilities(7)), and ways to new ones.

Capabilities belong to threads, so that what `confine` does concerns the thread that calls it and those that it starts
later. Each thread that is started while the rights are still there confines itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection
from enum import IntEnum
from typing import NamedTuple

_CAPABILITIES_VERSION_3 = 0x20080522
_CAPBSET_DROP, _SET_KEEPCAPS, _SET_NO_NEW_PRIVS, _CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 24, 8, 38, 47, 4
"""prctl(2)'s operations."""
_LAST = 63


class Capability(IntEnum):
    """Those that are used here, as linux/capability.h numbers them."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    KILL = 5
    NET_RAW = 13
    SYS_PTRACE = 19


class User(NamedTuple):
    """Whom to become."""

    name: str
    uid: int
    gid: int


def sudo_user() -> User | None:
    """The user who called sudo; None where there is none, or it was root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or os.environ.get("SUDO_UID", "0") == "0":
        return None
    return _user(os.environ["SUDO_UID"])


def lesser_user() -> User | None:
    """Who runs this process after the capture is open: the user who called sudo, else `nobody`.

    None where there is nothing to give up: not started as root, or no such user.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    return sudo_user() if os.environ.get("SUDO_UID", "0") != "0" else nobody()


def nobody() -> User | None:
    """Who owns nothing."""
    return _user("nobody")


def become(user: User, keep: Collection[Capability] = ()) -> str | None:
    """Give up root for good; open files and sockets stay open.

    Args:
        user: who to be from here on.
        keep: capabilities of this thread that survive, until `confine`.

    Returns:
        Why that cannot be, as in a container without the right to change users; None when it is done.
    """
    if sys.platform.startswith("linux"):
        _empty_bounding_set()
        _prctl(_SET_KEEPCAPS, int(bool(keep)))
    try:
        os.setgroups([])
        os.setgid(user.gid)
        os.setuid(user.uid)
    except OSError as error:
        return error.strerror
    return None


def confine(keep: Collection[Capability] = ()) -> None:
    """Give up all capabilities of this thread but those to keep, and every way to gain others, where there are such."""
    if not sys.platform.startswith("linux"):
        return
    _empty_bounding_set()
    _prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    _prctl(_SET_NO_NEW_PRIVS, 1)
    wanted = sum(1 << capability for capability in keep)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    if libc.capget(header, sets):
        return
    kept = (sets[1] | sets[4] << 32) & wanted  # of effective, permitted and inheritable, each in two halves
    halves = kept & 0xFFFFFFFF, kept >> 32
    libc.capset(header, (ctypes.c_uint32 * 6)(halves[0], halves[0], 0, halves[1], halves[1], 0))


def can_write(user: User, folder: os.PathLike[str] | str) -> bool:
    """Whether a user may create files in a folder. To be asked by root; True where root may not become that user."""
    try:
        os.setegid(user.gid)
        os.seteuid(user.uid)
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    except OSError:
        return True
    finally:
        os.seteuid(0)
        os.setegid(0)


def _empty_bounding_set() -> None:
    """No program that is started from here on has more capabilities than this one."""
    for number in range(_LAST + 1):
        if _prctl(_CAPBSET_DROP, number):
            break  # not allowed (CAP_SETPCAP), or the last one this kernel knows


def _user(name: str) -> User | None:
    import pwd

    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _prctl(operation: int, argument: int) -> int:
    long = ctypes.c_ulong
    status: int = ctypes.CDLL(None).prctl(operation, long(argument), long(0), long(0), long(0))
    return status
