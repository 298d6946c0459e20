"""Which engine captures: the one that was asked for, or the best that this user has the right to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from ..errors import InputError, MissingError, RightsError
from .engine import Engine, Settings
from .rights import refusal

ENGINES = ("auto", "ring", "scapy", "dumpcap")

LOOK = 0.2
"""Seconds between looks for interfaces that are not there yet."""


def open_engine(engine: str, settings: Settings) -> Engine:
    """An engine that captures from now on.

    Args:
        engine: one of `ENGINES`.
        settings: what to capture.

    Raises:
        RightsError: this user may not capture there; the message says what to do.
        InputError: there is no such interface, it is down, or the filter is wrong.
        MissingError: something the engine needs is not installed.
    """
    if engine != "auto":
        return _OPENERS[engine](settings)
    if not sys.platform.startswith("linux"):
        return _scapy(settings)
    try:
        return _ring(settings)
    except RightsError as refused:
        try:
            return _dumpcap(settings)
        except (MissingError, RightsError):
            raise refused from None


def wait_for(names: Sequence[str], say: Callable[[str], None]) -> None:
    """Until all these interfaces are there and up.

    Args:
        names: of interfaces, as the system calls them.
        say: told once what is waited for.

    Raises:
        InputError: this system does not tell.
    """
    if not sys.platform.startswith("linux"):
        raise InputError("--wait is available under Linux only")
    from .links import links

    said = False
    while missing := set(names) - {link.name for link in links() if link.up} - {"any"}:
        if not said:
            say(f"waiting for {', '.join(name for name in names if name in missing)}")
            said = True
        time.sleep(LOOK)


def notes(settings: Settings) -> list[str]:
    """What someone may not expect of the interfaces, a line each."""
    if not sys.platform.startswith("linux") or settings.promiscuous:
        return []
    from .links import links

    return [
        f"{link.name}: a bridge shows what passes between its ports only with --promiscuous"
        for link in links()
        if link.kind == "bridge" and link.name in settings.names
    ]


def _ring(settings: Settings) -> Engine:
    if not sys.platform.startswith("linux"):
        raise MissingError("the engine `ring` is Linux's; use --engine scapy or --engine dumpcap here")
    from .ring import RingEngine

    try:
        return RingEngine(settings)
    except PermissionError:
        raise RightsError(refusal(settings.names[0], "no permission to capture (CAP_NET_RAW)")) from None


def _scapy(settings: Settings) -> Engine:
    from .scapy_engine import ScapyEngine

    return ScapyEngine(settings)


def _dumpcap(settings: Settings) -> Engine:
    from .dumpcap import DumpcapEngine

    return DumpcapEngine(settings)


_OPENERS: dict[str, Callable[[Settings], Engine]] = {"ring": _ring, "scapy": _scapy, "dumpcap": _dumpcap}
