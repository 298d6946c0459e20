"""`socks5sniff live`: SOCKS conversations on running interfaces, as they happen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import ExitCode, OutputError

from .filters import OPTIONS, conversation_filter
from .live_options import check, limit_options, saving_options, source_options, view_options
from .options import filter_options, port_option
from .output import Output, open_output, sink_options

if TYPE_CHECKING:
    from socks5sniff.live.engine import Engine
    from socks5sniff.live.saving import Rotation, Saving

    from .live_run import Limits
    from .live_views import View


@click.command()
@source_options
@port_option
@view_options
@saving_options
@limit_options
@filter_options
def live(
    iface: tuple[str, ...],
    engine: str,
    filter_: str,
    snaplen: int,
    promiscuous: bool,
    buffer: int,
    port: tuple[int, ...],
    view: str | None,
    format_: str | None,
    output: str | None,
    frames: bool,
    show_passwords: bool,
    no_color: bool,
    web: str | None,
    allow_remote: bool,
    no_process: bool,
    write: str | None,
    only_socks: bool,
    rotate_size: int | None,
    rotate_seconds: float | None,
    keep: int | None,
    count: int | None,
    duration: float | None,
    until_idle: float | None,
    **filters: Any,
) -> int:
    """Report every SOCKS conversation on running interfaces, at any port.

    A line comes when the proxy has answered (+) and one when the conversation has ended (-). Ctrl-C stops and prints
    a summary. Reading a file needs no rights, capturing does: the message says which.
    """
    rotating = bool(rotate_size or rotate_seconds)
    check(
        view=view,
        format_=format_,
        frames=frames,
        write=write,
        only_socks=only_socks,
        rotating=rotating,
        keep=keep,
        web=web,
        allow_remote=allow_remote,
    )
    test = conversation_filter({option: filters[option] for option in OPTIONS})

    from socks5sniff.analysis.live import LiveAnalyser
    from socks5sniff.live.engine import Settings
    from socks5sniff.live.interfaces import system_name
    from socks5sniff.live.opening import open_engine
    from socks5sniff.live.processes.asking import Processes
    from socks5sniff.live.saving import Rotation

    from .live_run import Limits, Watch
    from .live_summary import counts_line

    names = tuple(dict.fromkeys(system_name(name) for name in iface or ("lo",)))
    opened = open_engine(engine, Settings(names, filter_, snaplen, promiscuous, buffer))
    limits = Limits(count, duration, until_idle)
    rotation = Rotation(rotate_size or 0, rotate_seconds or 0, keep or 0)
    processes = served = None
    try:
        processes = None if no_process else Processes(names)
        saving = _saving(write, opened, snaplen, rotation)
        with open_output(output, (write,) if write else (), private=show_passwords) as out:
            shown = _view(view, format_, frames, out, not no_color, opened)
            if web is not None:
                from .live_web import Together, WebView, server

                publisher, served = server(web, allow_remote)
                shown = Together((shown, WebView(publisher, opened.counts)))
            watch = Watch(
                opened,
                LiveAnalyser(ports=port, show_passwords=show_passwords, udp_frames=frames),
                shown,
                saving=saving,
                only_socks=only_socks,
                processes=processes,
                keep=test,
            )
            if processes is not None:
                processes.wait()
            with _stopped_by_signals(limits):
                _say(f"capturing on {', '.join(names)} ({opened.name}){_give_up_root(opened, saving, rotation)}")
                if served is not None:
                    served.start()
                    _say(f"open {served.url}")
                watch.run(limits)
    finally:
        opened.close()
        if processes is not None:
            processes.close()
        if served is not None:
            served.stop()
    table = watch.tally.table()
    if table:
        _say(f"\n{table}\n")
    _say(counts_line(watch.packets, watch.tally.conversations, names, opened.counts()))
    if saving is not None:
        where = f"{saving.path}" if saving.files == 1 else f"{saving.files} files, the last is {saving.path}"
        lost = f"; {saving.lost:,} were lost, the disk is too slow" if saving.lost else ""
        early = " before that" if saving.failure is not None else ""
        _say(f"saved {saving.frames:,} packets{early} to {where}{lost}")
    if watch.fault is not None:
        raise watch.fault
    return ExitCode.OUTPUT if saving is not None and saving.failure is not None else ExitCode.OK


def _view(view: str | None, format_: str | None, frames: bool, out: Output, colour: bool, engine: Engine) -> View:
    from .live_views import LinesView, SinkView

    options = sink_options(out, (), colour, rows=False)
    if format_ is not None:
        return SinkView(format_, out, replace(options, prompt=False))  # `refresh` writes them out together
    if view == "table":
        from .live_table import TableView

        return TableView(out, engine.counts, options.colour)
    return LinesView(out, options.colour, frames)


def _saving(path: str | None, engine: Engine, snaplen: int, rotation: Rotation) -> Saving | None:
    if path is None:
        return None
    import time

    from socks5sniff.live.saving import Saving

    return Saving(path, engine.interfaces, snaplen, rotation, engine.counts, time.time_ns(), _complain)


def _give_up_root(engine: Engine, saving: Saving | None, rotation: Rotation) -> str:
    """Become a lesser user where nothing needs root any more; what to add to the first line."""
    from socks5sniff.live.rights import become, can_write, lesser_user

    user = lesser_user()
    if user is None:
        return ""
    if engine.name == "dumpcap":
        return ", still as root: it must be able to end dumpcap"
    if saving is not None:
        if rotation.active and not can_write(user, saving.folder):
            return f", still as root: {user.name} may not write to {saving.folder}"
        saving.give_to(user.uid, user.gid)
    become(user)
    return f", as {user.name} from here on"


@contextmanager
def _stopped_by_signals(limits: Limits) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the capture, the second one the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        if limits.asked:
            os._exit(ExitCode.INTERRUPTED)
        limits.asked = True

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _complain(error: OutputError) -> None:
    _say(f"{error}; the analysis goes on, nothing more is saved")


def _say(text: str) -> None:
    with suppress(OSError):
        print(text if text.startswith("\n") else f"socks5sniff: {text}", file=sys.stderr, flush=True)
