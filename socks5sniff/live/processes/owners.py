"""Which local process has a TCP connection, under Linux: asked of the kernel (sock_diag(7)) and of /proc.

The kernel gives the inode of a connection's socket at once; the process is the one that has it open. Where one was
found lately is looked first, then in the youngest processes: most answers cost some ten microseconds.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress

Key = bytes
"""Addresses of client and proxy as in the IP header, then their ports as in TCP's: 12 or 36 octets."""

_SOCK_DIAG, _BY_FAMILY, _IS_REQUEST = 4, 20, 1
_REQUEST = struct.Struct("=IHHII BBBBI 4s16s16sI8s")
"""struct nlmsghdr and struct inet_diag_req_v2 (linux/inet_diag.h)."""
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_PORTS = slice(20, 24)
_INODE = slice(84, 88)
"""Where the answer has them: struct nlmsghdr and struct inet_diag_msg."""
_LATELY = 8
_CUT = 15
"""Octets of a name that the kernel keeps."""
_IPV4 = 12


class Owners:
    """Finds processes; only root finds those of other users."""

    def __init__(self) -> None:
        """Raises OSError where the kernel has no sock_diag."""
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
        self._lately: dict[int, str] = {}
        """Processes that were found last, and the descriptor that it was."""

    def find(self, key: Key) -> int | None:
        """The process (pid) that has this connection now."""
        link = self._link(key)
        if link is None:
            return None
        for pid, descriptor in self._lately.items():
            if _points(descriptor, link):
                return pid
        for pid in [*self._lately, *_youngest_first()]:
            folder = f"/proc/{pid}/fd/"
            with suppress(OSError):
                for name in os.listdir(folder):
                    if _points(folder + name, link):
                        self._lately.pop(pid, None)
                        self._lately[pid] = folder + name
                        if len(self._lately) > _LATELY:
                            del self._lately[next(iter(self._lately))]
                        return pid
        return None

    def close(self) -> None:
        self._kernel.close()

    def _link(self, key: Key) -> str | None:
        """What the descriptors of the connection's socket point to."""
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
            return None
        # Neither an error nor a socket that only listens: that has no port on the other side.
        inode = int.from_bytes(answer[_INODE], sys.byteorder)
        return f"socket:[{inode}]" if answer[_PORTS] == ports and inode else None


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


def _points(descriptor: str, link: str) -> bool:
    try:
        return os.readlink(descriptor) == link
    except OSError:
        return False


def _youngest_first() -> list[int]:
    return sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)
