"""Which local process has a TCP connection, under Linux: asked of the kernel (sock_diag(7)) and of /proc.

The kernel gives the inode of a connection's socket at once; the process is the one that has it open. Several
connections are looked for in one pass: near the descriptors that were found lately, then in the youngest processes,
their highest descriptors first, and of the user whose the sockets are. Processes with very many descriptors come last.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from .namespaces import Key, Namespaces

PASS = 0.1
"""Seconds of a processor that one pass may take, where there are very many processes."""

NEAR = 8
"""Descriptors around one that was found, among which the next is looked for first."""
MANY = 512
"""Descriptors of a process that are listed and read at once; with 6,000 that takes half of what a pass may take."""
OFTEN = 8
"""Processes that are looked at before it is asked again whether the sockets are still there."""

_SOCK_DIAG, _BY_FAMILY, _IS_REQUEST = 4, 20, 1
_REQUEST = struct.Struct("=IHHII BBBBI 4s16s16sI8s")
"""struct nlmsghdr and struct inet_diag_req_v2 (linux/inet_diag.h)."""
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_PORTS = slice(20, 24)
_USER, _INODE = slice(80, 84), slice(84, 88)
"""Where the answer has them: struct nlmsghdr and struct inet_diag_msg."""
_LATELY = 8
_CUT = 15
"""Octets of a name that the kernel keeps."""
_IPV4 = 12


class Owners:
    """Finds processes; without CAP_SYS_PTRACE only those of this user."""

    def __init__(self) -> None:
        """Raises OSError where the kernel has no sock_diag."""
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
        self._elsewhere = Namespaces()
        self._lately: dict[int, int] = {}
        """Processes that were found last, and the descriptor that it was."""

    def find(self, keys: Sequence[Key]) -> list[int | None]:
        """The processes (pid) that have these connections now."""
        found: dict[Key, int] = {}
        links: dict[str, Key] = {}
        users: set[int] = set()
        for key in dict.fromkeys(keys):
            inode, user = self._socket(key)
            if inode:
                links[f"socket:[{inode}]"] = key
                users.add(user)
            else:
                for link, pids in self._elsewhere.find(key):
                    found.update(self._holders({link: key}, pids))
        if links:
            found.update(self._holders(links, self._candidates(users, links)))
        return [found.get(key) for key in keys]

    def close(self) -> None:
        self._kernel.close()

    def _holders(self, links: dict[str, Key], pids: Iterable[int]) -> Iterator[tuple[Key, int]]:
        """Who has these sockets open, each found once; `links` loses those that are found."""
        until = time.process_time() + PASS
        lately = [*reversed(self._lately.items())]
        for pid, descriptor in lately:
            yield from self._among(links, pid, _near(descriptor))
        large = []
        for pid in chain((pid for pid, _ in lately), pids):
            if not links or time.process_time() > until:
                return
            with suppress(OSError):
                count = os.stat(f"/proc/{pid}/fd").st_size  # how many; 0 before Linux 6.2
                if count > MANY:
                    yield from self._among(links, pid, _near(count))
                    large.append(pid)
                else:
                    yield from self._among(links, pid, _descriptors(pid))
        for pid in dict.fromkeys(large):
            self._drop_gone(links)
            if not links or time.process_time() > until:
                return
            with suppress(OSError):
                yield from self._among(links, pid, _descriptors(pid))

    def _among(self, links: dict[str, Key], pid: int, descriptors: Iterable[int]) -> Iterator[tuple[Key, int]]:
        folder = f"/proc/{pid}/fd/"
        for descriptor in descriptors:
            if not links:
                return
            try:
                link = os.readlink(f"{folder}{descriptor}")
            except OSError:
                continue
            if link in links:
                self._lately.pop(pid, None)
                self._lately[pid] = descriptor
                if len(self._lately) > _LATELY:
                    del self._lately[next(iter(self._lately))]
                yield links.pop(link), _opener(pid, descriptor, link)

    def _candidates(self, users: set[int], links: dict[str, Key]) -> Iterator[int]:
        """All processes, the youngest first, and those of these users before all others.

        `links` loses sockets that are gone meanwhile: nobody is worth looking at for those.
        """
        others = []
        looked = 0
        for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
            with suppress(OSError):
                if os.stat(f"/proc/{pid}").st_uid in users:
                    if looked % OFTEN == 0:
                        self._drop_gone(links)
                    looked += 1
                    yield pid
                else:
                    others.append(pid)
        self._drop_gone(links)
        yield from others

    def _drop_gone(self, links: dict[str, Key]) -> None:
        for link, key in [*links.items()]:
            if not self._socket(key)[0]:
                del links[link]

    def _socket(self, key: Key) -> tuple[int, int]:
        """Inode of the connection's socket (0 for none) and the user whose it is."""
        family, width = (socket.AF_INET, 4) if len(key) == _IPV4 else (socket.AF_INET6, 16)
        client, proxy, ports = key[:width], key[width : 2 * width], key[2 * width :]
        request = _REQUEST.pack(
            _REQUEST.size, _BY_FAMILY, _IS_REQUEST, 0, 0,
            family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES,
            ports, client, proxy, 0, _NO_COOKIE,
        )  # fmt: skip
        try:
            self._kernel.send(request)
            answer = self._kernel.recv(4096)
        except OSError:
            return 0, 0
        # Neither an error nor a socket that only listens: that has no port on the other side.
        if answer[_PORTS] != ports:
            return 0, 0
        return int.from_bytes(answer[_INODE], sys.byteorder), int.from_bytes(answer[_USER], sys.byteorder)


def _descriptors(pid: int) -> Iterable[int]:
    """Those that a process has open, the latest first as a rule."""
    return map(int, reversed(os.listdir(f"/proc/{pid}/fd")))


def _near(descriptor: int) -> list[int]:
    around = range(max(descriptor - NEAR, 0), descriptor + NEAR)
    return sorted(around, key=lambda one: abs(one - descriptor))


def process_name(pid: int) -> str | None:
    """What the process is called, as psutil and ps have it; None when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as kept:
            name = kept.read().rstrip(b"\n")
        if len(name) == _CUT:
            with open(f"/proc/{pid}/cmdline", "rb") as kept:
                whole = os.path.basename(kept.read().partition(b"\0")[0])
            name = whole if whole.startswith(name) else name
    except OSError:
        return None
    return name.decode("utf-8", "replace")


def _opener(pid: int, descriptor: int, link: str) -> int:
    """The eldest of the processes that have it from one another by fork, which keeps a descriptor's number."""
    for _ in range(16):
        try:
            with open(f"/proc/{pid}/stat", "rb") as kept:
                parent = int(kept.read().rpartition(b")")[2].split()[1])
            if os.readlink(f"/proc/{parent}/fd/{descriptor}") != link:
                break
        except (OSError, ValueError, IndexError):
            break
        pid = parent
    return pid
