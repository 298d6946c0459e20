"""Capture filters: libpcap's expressions compiled to BPF instructions.

libpcap itself compiles them, through ctypes; where it is not installed as a library, tcpdump does.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from functools import partial

from ..errors import FilterError, InputError, MissingError
from .filter_fault import wrong

Program = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, operand."""

_DLT: dict[int, int] = {101: 12}
"""LINKTYPE_ values whose DLT_ value, which libpcap's functions take, is another one."""
_DLT_NAMES = {1: "EN10MB", 101: "RAW", 276: "LINUX_SLL2", 0: "NULL", 108: "LOOP"}

_LIMIT = 4096
"""BPF_MAXINSNS: the kernel takes no longer program."""

_ETHERNET = 1
_SO_ATTACH_FILTER = 26
_SLL2_SIZE = 20
_ANCILLARY = -0x1000
"""SKF_AD_OFF (linux/filter.h): at these offsets the kernel shows what is known about a frame besides its octets."""
_SLL2_FIELDS = {0: 0, 4: 8, 8: 28, 10: 4}
"""Offset in an SLL2 header, and the ancillary field with the same value: protocol, ifindex, hatype, pkttype."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compile_filter(expression: str, link_type: int, snaplen: int) -> Program:
    """The BPF program of a filter expression.

    Args:
        expression: in pcap-filter(7)'s syntax.
        link_type: LINKTYPE_ value of the frames that it will see.
        snaplen: octets to keep of a frame that passes.

    Raises:
        InputError: the expression is wrong; with libpcap's words, and where.
        MissingError: neither libpcap nor tcpdump is installed.
    """
    attempt = _attempt(link_type, snaplen)
    program = attempt(expression)
    if isinstance(program, str):
        raise wrong(expression, program, attempt)
    if len(program) > _LIMIT:
        raise FilterError(f"filter {expression!r}: too long: {len(program)} instructions, {_LIMIT} are allowed")
    return program


def refused(expression: str, message: str) -> InputError:
    """The error for an expression that libpcap refused in another program, in these words."""
    return wrong(expression, message, _attempt(_ETHERNET, 0xFFFF))


def attach(opened: socket.socket, program: Program) -> None:
    """Have the kernel give a socket only what passes. Raises OSError where it does not take the program."""
    octets = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(octets, len(octets))
    described = struct.pack("HP", len(program), ctypes.addressof(memory))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def cooked(program: Program) -> Program:
    """A program for SLL2 frames as one for the same frames without that header, which is how the kernel has them.

    Raises:
        InputError: it looks at a part of the header that the kernel does not show.
    """
    moved = []
    for code, jump_true, jump_false, operand in program:
        kind, mode = code & 7, code & 0xE0
        loads = (kind == 0 and mode in (0x20, 0x40)) or (kind == 1 and mode == 0xA0)
        if loads and operand < 1 << 31:
            if operand >= _SLL2_SIZE:
                operand -= _SLL2_SIZE
            elif mode == 0x20 and operand in _SLL2_FIELDS:
                operand = _ANCILLARY + _SLL2_FIELDS[operand] & 0xFFFFFFFF
            else:
                raise FilterError("this filter cannot be used with the interface `any`; name an interface")
        elif kind == 6 and mode == 0 and operand:
            operand = max(operand - _SLL2_SIZE, 1) if operand < 1 << 31 else operand
        moved.append((code, jump_true, jump_false, operand))
    return moved


def _attempt(link_type: int, snaplen: int) -> Callable[[str], Program | str]:
    """What compiles an expression: to the program, or libpcap's message."""
    library = _libpcap()
    return partial(_compiled_by_tcpdump if library is None else partial(_compiled, library), link_type, snaplen)


def _compiled(library: ctypes.CDLL, link_type: int, snaplen: int, expression: str) -> Program | str:
    handle = library.pcap_open_dead(_DLT.get(link_type, link_type), snaplen)
    program = _Program()
    try:
        if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, 0xFFFFFFFF):
            message: bytes = library.pcap_geterr(handle)
            return message.decode("utf-8", "replace")
        try:
            found = program.instructions[: program.length]
            return [(one.code, one.jt, one.jf, one.k) for one in found]
        finally:
            library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)


def _compiled_by_tcpdump(link_type: int, snaplen: int, expression: str) -> Program | str:
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        raise MissingError(
            "a capture filter needs libpcap or tcpdump; install one of them "
            "(Debian, Ubuntu: apt install libpcap0.8; Fedora: dnf install libpcap)"
        )
    command = [tcpdump, "-y", _DLT_NAMES[link_type], "-s", str(snaplen), "-ddd", "--", expression]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=30
    )
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2].removeprefix("tcpdump: ")
    return [(a, b, c, d) for a, b, c, d in (map(int, line.split()) for line in done.stdout.splitlines()[1:])]


def _libpcap() -> ctypes.CDLL | None:
    # Not ctypes.util.find_library alone: it starts a compiler or ldconfig, and fails where neither is there.
    for name in ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so", "libpcap.dylib", "libpcap.A.dylib"):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        return None
    library.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_compile.argtypes = (
        ctypes.c_void_p, ctypes.POINTER(_Program), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32,
    )  # fmt: skip
    library.pcap_geterr.argtypes = (ctypes.c_void_p,)
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_freecode.argtypes = (ctypes.POINTER(_Program),)
    library.pcap_close.argtypes = (ctypes.c_void_p,)
    return library
