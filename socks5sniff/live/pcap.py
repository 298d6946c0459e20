"""libpcap and Npcap through scapy's bindings, as far as live capture needs them.

scapy's own sockets are not used: on Linux they deliver each frame of the loopback interface twice, lose bursts and
cut frames at 65,535 octets; on macOS and BSD they take a buffer apart recursively; everywhere their times are
floating-point seconds. The library behind them has none of this.
"""

from __future__ import annotations

import sys
from ctypes import POINTER, byref, c_ubyte, create_string_buffer, string_at
from typing import Any, NamedTuple

from ..errors import InputError, MissingError, RightsError, Socks5sniffError
from .engine import BUFFER, WINDOWS_LOOPBACK, Counts, Settings
from .filter_fault import wrong
from .rights import refusal

TIMEOUT = 50
"""Milliseconds for which libpcap collects frames."""

_NO_SUCH_DEVICE, _PERMISSION, _NOT_UP, _PROMISCUOUS_PERMISSION = -5, -8, -9, -11
_NANOSECONDS = 1
_ERROR_SIZE = 256

_LINK_TYPES = {12: 101, 14: 101}
"""DLT_ values whose LINKTYPE_ value is another one: raw IP, by system."""

NPCAP = 'Install Npcap from https://npcap.com and leave "Support loopback traffic" on, as it is by default.'


class Frame(NamedTuple):
    """One captured frame."""

    time: int
    """Nanoseconds since 1970."""
    octets: bytes
    length: int
    """Octets on the wire."""


class Handle:
    """One interface that is being captured.

    Attributes:
        link_type: LINKTYPE_ value of its frames.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        """Opens it.

        Raises:
            MissingError, RightsError, InputError: see `library` and `failure`.
        """
        self._library = lib = library()
        self._handle: Any = None
        error = create_string_buffer(_ERROR_SIZE)
        handle = lib.pcap_create(name.encode(), error)
        if not handle:
            raise InputError(f"{name}: {_text(error.value)}")
        lib.pcap_set_snaplen(handle, settings.snaplen)
        lib.pcap_set_promisc(handle, int(settings.promiscuous))
        lib.pcap_set_timeout(handle, TIMEOUT)
        lib.pcap_set_buffer_size(handle, min(settings.buffer or BUFFER, 2**31 - 1))
        self._scale = 1 if _set_precision(lib, handle) else 1000
        status = lib.pcap_activate(handle)
        if status < 0:
            fault = failure(name, status, _text(lib.pcap_geterr(handle)))
            lib.pcap_close(handle)
            raise fault
        self._handle = handle
        link_type = lib.pcap_datalink(handle)
        self.link_type: int = _LINK_TYPES.get(link_type, link_type)
        self._header = POINTER(lib.pcap_pkthdr)()
        self._octets = POINTER(c_ubyte)()
        if settings.filter:
            self._attach(settings.filter)
        if sys.platform != "win32":
            lib.pcap_setnonblock(handle, 1, error)

    @property
    def descriptor(self) -> int:
        """For poll; not on Windows, where `next` waits."""
        descriptor: int = self._library.pcap_get_selectable_fd(self._handle)
        return descriptor

    def next(self) -> Frame | None:
        """The next frame, None where there is none.

        Raises:
            InputError: the interface went away.
        """
        lib = self._library
        status = lib.pcap_next_ex(self._handle, byref(self._header), byref(self._octets))
        if status == 0:
            return None
        if status < 0:
            raise InputError(f"capture ended: {_text(lib.pcap_geterr(self._handle))}")
        header = self._header.contents
        time = header.ts.tv_sec * 1_000_000_000 + header.ts.tv_usec * self._scale
        return Frame(time, string_at(self._octets, header.caplen), header.len)

    def count(self) -> Counts:
        """Frames received and dropped so far."""
        stat = self._library.pcap_stat()
        self._library.pcap_stats(self._handle, byref(stat))
        return Counts(stat.ps_recv, stat.ps_drop + stat.ps_ifdrop)

    def close(self) -> None:
        if self._handle is not None:
            self._library.pcap_close(self._handle)
            self._handle = None

    def _attach(self, expression: str) -> None:
        lib = self._library

        def attempt(expression: str, use: bool = False) -> str | None:
            program = lib.bpf_program()
            if lib.pcap_compile(self._handle, byref(program), expression.encode(), 1, 0xFFFFFFFF) < 0:
                return _text(lib.pcap_geterr(self._handle))
            if use:
                lib.pcap_setfilter(self._handle, byref(program))
            lib.pcap_freecode(byref(program))
            return None

        message = attempt(expression, use=True)
        if message is not None:
            fault = wrong(expression, message, attempt)
            self.close()
            raise fault


def library() -> Any:
    """scapy's bindings of libpcap or Npcap.

    Raises:
        MissingError: it is not installed, or it is WinPcap.
    """
    try:
        from scapy.libs import winpcapy
    except OSError:
        raise missing() from None
    fault = unusable(_text(winpcapy.pcap_lib_version()))
    if fault is not None:
        raise fault
    return winpcapy


def missing(platform: str = sys.platform) -> MissingError:
    """The error where there is no library."""
    if platform == "win32":
        return MissingError(f"Npcap is not installed. {NPCAP}")
    return MissingError(
        "libpcap is not installed (Debian, Ubuntu: apt install libpcap0.8; Fedora: dnf install libpcap; macOS and "
        "FreeBSD have it)"
    )


def unusable(version: str) -> MissingError | None:
    """The error where the library cannot do what is needed, by what it says of itself."""
    if "winpcap" in version.lower():
        return MissingError(
            f"WinPcap cannot capture on the loopback interface, and it stands in Npcap's way: uninstall it. {NPCAP}"
        )
    return None


def failure(name: str, status: int, message: str, platform: str = sys.platform) -> Socks5sniffError:
    """The error for a capture that could not begin.

    Args:
        name: the interface.
        status: what pcap_activate(3) returned.
        message: what it said; on macOS and BSD it names the device that failed.
        platform: `sys.platform` of the system.
    """
    if status in (_PERMISSION, _PROMISCUOUS_PERMISSION) or "denied" in message.lower():
        return RightsError(refusal(name, message or "no permission to capture", platform))
    if status == _NO_SUCH_DEVICE or "no such device" in message.lower():
        if platform == "win32" and name == WINDOWS_LOOPBACK:
            return MissingError(f"Npcap is installed without its loopback adapter. {NPCAP}")
        return InputError(f"{name}: no such interface; `socks5sniff interfaces` lists them")
    if status == _NOT_UP:
        return InputError(f"{name}: the interface is down")
    return InputError(f"{name}: cannot be captured: {message or f'libpcap status {status}'}")


def open_problem(name: str) -> str | None:
    """Why this user may not capture on an interface, None where it opens."""
    try:
        Handle(name, Settings((name,), buffer=1 << 20)).close()
    except Socks5sniffError as fault:
        return str(fault)
    return None


def _set_precision(lib: Any, handle: Any) -> bool:
    """Ask for times in nanoseconds, which not every system has."""
    try:
        set_precision = lib._lib.pcap_set_tstamp_precision
    except AttributeError:
        return False
    set_precision.argtypes = lib.pcap_set_buffer_size.argtypes
    return bool(set_precision(handle, _NANOSECONDS) == 0)


def _text(octets: bytes | None) -> str:
    return " ".join((octets or b"").decode("utf-8", "replace").split())
