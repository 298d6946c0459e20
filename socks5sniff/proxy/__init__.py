"""The bundled test proxy: SOCKS4, SOCKS4A and SOCKS5, faults on demand, and a capture of what goes through it."""

from __future__ import annotations

from socks5sniff.proxy.faults import FAULTS, Faults, parse_faults
from socks5sniff.proxy.log import LogEntry
from socks5sniff.proxy.server import Proxy
from socks5sniff.proxy.settings import Settings

__all__ = ["FAULTS", "Faults", "LogEntry", "Proxy", "Settings", "parse_faults"]
