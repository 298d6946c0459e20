"""`socks5sniff live`: SOCKS conversations on running interfaces, as they happen."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from socks5sniff.errors import ExitCode, OutputError

from .filters import conversation_filter
from .judging import Judge, JudgedView, SilentView, judging_options
from .live_options import LiveOptions, limit_options, saving_options, service_options, source_options, view_options
from .messages import own_fault
from .options import filter_options, port_option
from .output import sink_options
from .pages import Command, Example

if TYPE_CHECKING:
    from socks5sniff.analysis.live import LiveAnalyser
    from socks5sniff.capture.creating import Owner
    from socks5sniff.live.engine import Engine, Settings
    from socks5sniff.live.processes.asking import Processes
    from socks5sniff.live.saving import Saving
    from socks5sniff.web import Server

    from .live_health import Health
    from .live_output import LiveOutput, RecordFiles
    from .live_run import Limits, Watch
    from .live_signals import Wishes
    from .live_views import View

METRICS_INTERVAL = 15.0
"""Seconds between two files of metrics: what Prometheus usually asks in."""


EXAMPLES = (
    Example("sudo socks5sniff live -i any -w socks.pcapng --only-socks", "Watch all interfaces, and keep the packets."),
    Example("sudo socks5sniff live --port 8888 --outcome rejected --duration 5m", "What a proxy on port 8888 refuses."),
)


@click.command(cls=Command, examples=EXAMPLES)
@source_options
@port_option
@view_options
@saving_options
@limit_options
@service_options
@filter_options
@judging_options
def live(**given: Any) -> int:
    """Report every SOCKS conversation on running interfaces, at any port.

    A line comes when the proxy has answered (+) and one when the conversation has ended (-). Ctrl-C stops and prints
    a summary. Reading a file needs no rights, capturing does: the message says which.
    """
    options = LiveOptions(**{field.name: given[field.name] for field in fields(LiveOptions)})
    options.check()
    if given["quiet"] and (options.view or options.output):
        raise click.UsageError("--quiet excludes --view and -o.")
    keep = conversation_filter(given)
    judge = Judge(given["fail_if"])

    from socks5sniff.live.engine import Settings
    from socks5sniff.live.filter_names import refuse_names
    from socks5sniff.live.interfaces import system_name
    from socks5sniff.live.opening import open_engine, wait_for

    names = tuple(dict.fromkeys(system_name(name) for name in options.iface or ("lo",)))
    settings = Settings(names, options.filter_, options.snaplen, options.promiscuous, options.buffer or 0)
    refuse_names(options.filter_)
    if options.wait:
        wait_for(names, _say)
    engine = open_engine(options.engine, settings)
    try:
        return judge.status(_Capture(options, settings, engine, judge, given["quiet"]).run(keep))
    finally:
        engine.close()


class _Capture:
    """All that one capture has open."""

    def __init__(self, options: LiveOptions, settings: Settings, engine: Engine, judge: Judge, quiet: bool) -> None:
        """Opens the files.

        Raises:
            OutputError: one of them cannot be opened.
        """
        from socks5sniff.live.privileges import sudo_user
        from socks5sniff.live.rotation import Rotation

        from .live_metrics import MetricsFile
        from .live_systemd import Manager

        user = sudo_user()
        owner = None if user is None else _owner(user.uid, user.gid)
        self._options = options
        self._judge = judge
        self._quiet = quiet
        self._settings = settings
        self._engine = engine
        self._rotation = Rotation(
            options.rotate_size or 0, options.rotate_seconds or 0, options.keep or 0, options.keep_size or 0
        )
        self._manager = Manager()
        self._served: Server | None = None
        self._faulty = False
        self._metrics = None if options.metrics is None else MetricsFile(options.metrics)
        self._saving = self._open_capture_file(owner)
        self._records, self._out = self._open_output(owner)

    def run(self, keep: Callable[[Any], bool] | None) -> int:
        """Capture until the end, and say what came of it; the exit status."""
        from socks5sniff.live.opening import notes
        from socks5sniff.live.processes.asking import Processes

        from .live_run import Limits
        from .live_signals import Wishes, signals

        options, settings = self._options, self._settings
        limits, wishes = Limits(options.count, options.duration, options.until_idle), Wishes()
        processes = None if options.no_process else Processes(settings.names)
        try:
            watch = self._watch(keep, processes, wishes, limits)
            rights = _give_up_rights(self._engine, self._folders())
            if processes is not None:
                processes.wait()
            with signals(limits, wishes, self._view.leave):
                self._tell(f"capturing on {', '.join(settings.names)} ({self._engine.name}){rights}")
                for note in notes(settings):
                    _say(note)
                self._manager.tell(READY="1")
                if self._served is not None:
                    self._served.start()
                    _say(f"open {self._served.url}")
                watch.run(limits)
                self._manager.tell(STOPPING="1")
                fault = self._close(limits)
        finally:
            if processes is not None:
                processes.close()
            if self._served is not None:
                self._served.stop()
        if limits.behind:
            _say(f"the machine was too slow: what was captured in the last {limits.behind:.1f} s is not analysed")
        return self._end(watch, fault)

    def _open_capture_file(self, owner: Owner | None) -> Saving | None:
        path = self._options.write
        if path is None:
            return None
        if path == "-" and sys.stdout is not None and sys.stdout.isatty():
            raise click.UsageError("-w - would write to a terminal: redirect standard output, or name a file.")
        from socks5sniff.live.saving import Saving

        rotation = self._rotation if path != "-" else replace(self._rotation, size=0, seconds=0)
        described = self._engine.interfaces, self._options.snaplen
        return Saving(path, *described, rotation, self._engine.counts, time.time_ns(), _say, owner)

    def _open_output(self, owner: Owner | None) -> tuple[RecordFiles | None, LiveOutput]:
        """The files of `-o`, and where lines and records go."""
        from .live_output import RecordFiles, standard_output

        path, private = self._options.output_file, self._options.show_passwords
        if path is None:
            return None, standard_output(_say, 2 if self._options.write == "-" else 1)
        records = RecordFiles(path, self._rotation, private, owner, _say)
        return records, records.output

    def _folders(self) -> list[Path]:
        """Where files are still to be made."""
        paths = [self._options.write_file, self._options.output_file] if self._rotation.active else []
        paths.append(self._options.metrics)
        return [Path(path).absolute().parent for path in paths if path is not None]

    def _watch(
        self, keep: Callable[[Any], bool] | None, processes: Processes | None, wishes: Wishes, limits: Limits
    ) -> Watch:
        from socks5sniff.analysis.bypass import LiveBypasses
        from socks5sniff.analysis.live import LiveAnalyser

        from .interval import Interval
        from .live_health import Examination
        from .live_run import Watch
        from .live_showing import Showing

        options = self._options
        bypasses = LiveBypasses() if options.bypass or options.web is not None else None
        analyser = LiveAnalyser(
            ports=options.port, show_passwords=options.show_passwords, udp_frames=options.frames, bypasses=bypasses
        )
        if self._quiet:
            self._view: View = SilentView()
        elif options.view == "table":
            self._view = _table_view(options, self._out, self._engine, analyser, limits)
        else:
            self._view = _view(options, self._out)
        if options.web is not None:
            from .live_web import Together, WebView, server

            publisher, self._served = server(options.web, options.allow_remote)
            page = WebView(publisher, self._engine.counts, analyser, analyser.attempts, processes)
            self._view = Together(self._view, page, options.bypass)
        watch = Watch(
            self._engine,
            analyser,
            Showing(JudgedView(self._view, self._judge), processes, keep),
            saving=self._saving,
            only_socks=options.only_socks,
            processes=processes,
            interim=options.interim,
            bypasses=bypasses,
        )
        examination = Examination(self._settings.names, self._engine, watch, self._out, self._saving, processes)
        report = Interval(
            options.stats_interval or (METRICS_INTERVAL if self._metrics else math.inf),
            lambda: self._report(examination.health()),
        )

        def each_turn() -> None:
            self._tell_faults()
            while self._engine.notices:
                _say(self._engine.notices.pop(0))
            self._look_after_files(wishes)
            if wishes.report:
                wishes.report = False
                _say(examination.health().line())
            report.look()
            self._manager.live()

        watch.each_turn = each_turn
        self._faults = analyser.faults
        return watch

    def _tell_faults(self) -> None:
        """Say once that an error of this program was contained."""
        if self._faults and not self._faulty:
            self._faulty = True
            _say(own_fault(len(self._faults), self._faults.first))

    def _report(self, health: Health) -> None:
        """Every so many seconds."""
        if self._options.stats_interval is not None:
            if self._options.format_ == "jsonl":
                self._out.write(health.record() + "\n")
            else:
                _say(health.line())
        self._manager.tell(STATUS=health.line())
        if self._metrics is not None:
            try:
                self._metrics.write(health)
            except OutputError as error:
                _say(str(error))

    def _look_after_files(self, wishes: Wishes) -> None:
        if self._records is not None:
            self._records.look()
        if wishes.reopen:
            wishes.reopen = False
            if self._saving is not None:
                self._saving.reopen(time.time_ns())
            if self._records is not None:
                try:
                    self._records.reopen()
                except OutputError as error:
                    _say(f"{error}; the file that was open is written on")

    def _close(self, limits: Limits) -> OutputError | None:
        """Have all lines and records written; what went wrong with that."""
        try:
            self._out.close(limits.patience)
        except OutputError as error:
            return error
        return None

    def _end(self, watch: Watch, fault: OutputError | None) -> int:
        """Print the summary."""
        from .live_summary import counts_line

        table = watch.shown.table()
        if table:
            self._tell(f"\n{table}\n")
        names, counts = self._settings.names, self._engine.counts()
        self._tell(counts_line(watch.packets, watch.shown.conversations, names, counts))
        saving = self._saving
        if saving is not None:
            files = saving.series.files
            where = saving.path if files == 1 else f"{files} files, the last is {saving.path}"
            lost = f"; {saving.lost:,} were lost, the disk is too slow or full" if saving.lost else ""
            early = " before that" if saving.failure is not None else ""
            self._tell(f"saved {saving.frames:,} packets{early} to {where}{lost}")
        if fault is not None or watch.fault is not None:
            raise fault or watch.fault or AssertionError
        self._tell_faults()
        if saving is not None and (saving.failure or saving.lost):
            return ExitCode.OUTPUT
        return ExitCode.FAILED if self._faulty else ExitCode.OK

    def _tell(self, text: str) -> None:
        """Say something that is no error."""
        if not self._quiet:
            _say(text)


def _view(asked: LiveOptions, out: LiveOutput) -> View:
    from socks5sniff.sinks.clock import Clock

    from .live_views import LinesView, SinkView

    options = sink_options(out, (), not asked.no_color, rows=False)
    if asked.format_ is not None:
        return SinkView(
            asked.format_,
            out,
            replace(options, prompt=False, interim=asked.interim is not None),  # `refresh` writes them out together
        )
    return LinesView(out, options.colour, asked.frames, Clock(asked.time or "utc"))


def _table_view(asked: LiveOptions, out: LiveOutput, engine: Engine, analyser: LiveAnalyser, limits: Limits) -> View:
    from socks5sniff.sinks.clock import Clock

    from .live_table import TableView

    colour = sink_options(out, (), not asked.no_color, rows=False).colour
    return TableView(out, engine.counts, colour, Clock(asked.time or "utc"), analyser.current, limits.ask)


def _give_up_rights(engine: Engine, folders: list[Path]) -> str:
    """Become a lesser user where nothing needs root any more; what to add to the first line.

    Args:
        engine: what captures.
        folders: where files are still to be made.
    """
    from socks5sniff.live.privileges import Capability, become, can_write, confine, lesser_user

    user = lesser_user()
    if user is None:
        confine()
        return ""
    if engine.name == "dumpcap":
        confine([Capability.KILL])
        return ", still as root: it must be able to end dumpcap"
    closed = next((folder for folder in folders if not can_write(user, folder)), None)
    if closed is not None:
        confine([Capability.DAC_OVERRIDE, Capability.CHOWN])
        return f", still as root: {user.name} may not write to {closed}"
    refused = become(user)
    confine()
    if refused is not None:
        return f", still as root without capabilities: to become {user.name} is not allowed here ({refused})"
    return f", as {user.name} from here on"


def _owner(uid: int, gid: int) -> Owner:
    from socks5sniff.capture.creating import Owner

    return Owner(uid, gid)


def _say(text: str) -> None:
    with suppress(OSError):
        print(text if text.startswith("\n") else f"socks5sniff: {text}", file=sys.stderr, flush=True)
