"""Connections of other network namespaces, as containers have them: only /proc tells of those (network_namespaces(7)).

Which addresses each namespace has is remembered for a moment; only where one has the client's address is its table of
connections read.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

Key = bytes
"""Addresses of client and proxy as in the IP header, then their ports as in TCP's: 12 or 36 octets."""

FRESH = 1.0
"""Seconds for which addresses and processes are remembered."""
_LOCAL = re.compile(rb"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_IPV4 = 12
_INODE_COLUMN = 9
_CONTAINER = re.compile(
    rb"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])|/lxc(?:\.payload\.|/)([^/\n]+)|/machine-([^/\n]+)\.scope"
)
_SHORT = 12
"""Digits of a container's id that its engine shows."""


class Namespaces:
    """Those that processes are in, this process's own aside."""

    def __init__(self) -> None:
        self._own = _namespace("self")
        self._looked = -FRESH
        self._members: dict[str, list[int]] = {}
        self._homes: dict[bytes, set[str]] = {}

    def find(self, key: Key) -> Iterator[tuple[str, list[int]]]:
        """What the descriptors of this connection's socket point to, and the processes of a namespace that has it."""
        width = 4 if len(key) == _IPV4 else 16
        client = key[:width]
        if client[:1] == b"\x7f" or client == bytes(15) + b"\1":
            return  # each namespace has a loopback interface, and what is seen is our own
        if time.monotonic() > self._looked + FRESH:
            self._look()
        for namespace in self._homes.get(client, ()):
            members = self._members[namespace]
            inode = _inode(members, key, width)
            if inode:
                yield f"socket:[{inode}]", members

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._members, self._homes = {}, {}
        for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
            namespace = _namespace(str(pid))
            if namespace and namespace != self._own:
                self._members.setdefault(namespace, []).append(pid)
        for namespace, pids in self._members.items():
            for address in _addresses(pids):
                self._homes.setdefault(address, set()).add(namespace)


def container_of(pid: int) -> str | None:
    """The container that a process is in: the beginning of its id, or its name; None for none, or none that is told."""
    with suppress(OSError):
        found = _CONTAINER.findall(Path(f"/proc/{pid}/cgroup").read_bytes())
        if found:
            identity, *names = found[-1]
            name: bytes = identity[:_SHORT] or next(filter(None, names))
            return name.decode("utf-8", "replace")
    return None


def _namespace(process: str) -> str | None:
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError:
        return None


def _first(pids: list[int], name: str) -> bytes:
    """A file of /proc/PID/net, which all processes of a namespace have alike."""
    for pid in pids:
        with suppress(OSError):
            return Path(f"/proc/{pid}/net/{name}").read_bytes()
    return b""


def _addresses(pids: list[int]) -> Iterator[bytes]:
    for found in _LOCAL.findall(_first(pids, "fib_trie")):
        with suppress(OSError):
            yield socket.inet_aton(found.decode())
    for line in _first(pids, "if_inet6").splitlines():
        with suppress(ValueError):
            yield bytes.fromhex(line.split()[0].decode())


def _inode(pids: list[int], key: Key, width: int) -> int:
    """The connection's socket, 0 where there is none."""
    client, proxy, ports = key[:width], key[width : 2 * width], key[2 * width :]
    for name, prefix in (("tcp", b""), ("tcp6", bytes(10) + b"\xff\xff")) if width == 4 else (("tcp6", b""),):
        wanted = (
            f"{_text(prefix + client)}:{ports[:2].hex().upper()} {_text(prefix + proxy)}:{ports[2:].hex().upper()} "
        )
        table = _first(pids, name)
        at = table.find(wanted.encode())
        if at >= 0:
            line = table[table.rfind(b"\n", 0, at) + 1 : table.find(b"\n", at)]
            return int(line.split()[_INODE_COLUMN])
    return 0


def _text(address: bytes) -> str:
    """As the kernel writes addresses there: words in this machine's byte order."""
    words = (int.from_bytes(address[at : at + 4], sys.byteorder) for at in range(0, len(address), 4))
    return "".join(f"{word:08X}" for word in words)
