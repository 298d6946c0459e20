"""`--resume`: the making of a dataset that goes on where another one ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any

from socks5sniff.errors import ExitCode, OutputError, ResumeError
from socks5sniff.sinks import Lasting, Options

from .dataset import Files
from .filters import Test
from .interrupt import Interruption
from .messages import complain
from .output import is_stream

if TYPE_CHECKING:
    from socks5sniff.archive.checkpoint import Checkpoint, Progress
    from socks5sniff.archive.messages import Writer

LEAST = 30.0
"""Seconds between two checkpoints at least."""
SHARE = 80
"""So many times as long as the last one took: together they take little of the whole."""


class Keeper:
    """Keeps how far the reading of a dataset has come (see `archive.parts.Keeper`), and is where its files go.

    Attributes:
        state: what another reading has kept.
        names: the captures that are read.
        sink: what writes the dataset.
    """

    def __init__(
        self,
        files: Files,
        checkpoint: Checkpoint,
        progress: Progress,
        names: Sequence[str],
        state: Any = None,
    ) -> None:
        self.state = state
        self.names = (*names,)
        self.sink: object = None
        self._files = files
        self._checkpoint = checkpoint
        self._progress = progress
        self._ctrl_c = Interruption(False)
        self._known: dict[str, str | None] = {**progress.ended, **progress.begun}
        self._last = time.monotonic()
        self._cost = 0.0
        self._kept = self._saved = state is not None

    def options(self, options: Options) -> Options:
        """Those of a sink whose files' names no others have."""
        return replace(options, writer=self._files.part)

    def writer(self, keep: Test | None) -> Writer | None:
        """See `Files.writer`."""
        return self._files.writer(keep, self._checkpoint.witness)

    def __call__(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Begins a file."""
        self._begin()
        return self._files(name)

    def writing(self) -> None:
        """See `archive.parts.Keeper`."""
        self._begin()
        self._files.others = True

    def wrote(self, names: Sequence[str]) -> None:
        """See `archive.parts.Keeper`."""
        self._files.whole += names

    def _begin(self) -> None:
        """There is a checkpoint before there is a file."""
        if not self._saved:
            self._checkpoint.save(self._progress, self.names, None, clean=True)
            self._saved = True

    def wants(self, clean: bool) -> bool:
        """It is time; sooner at places that are worth more, and at once when Ctrl-C was pressed."""
        wait = max(LEAST, SHARE * self._cost)
        return self._ctrl_c.pending or time.monotonic() - self._last >= (wait / 2 if clean else wait)

    def keep(self, state: Any, ended: Sequence[Any], begun: Sequence[Any], clean: bool) -> None:
        """See `analysis.reading.Keeper`.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        start = time.monotonic()
        assert isinstance(self.sink, Lasting), "a dataset's"
        self.sink.commit()
        self._progress = replace(
            self._progress, files=(*self._files.whole,), ended=self._states(ended), begun=self._states(begun)
        )
        self._checkpoint.save(self._progress, self.names, state, clean)
        self._kept = self._saved = True
        self._last = time.monotonic()
        self._cost = self._last - start
        self._ctrl_c.check()

    def listen(self, ctrl_c: Interruption) -> None:
        """Whose Ctrl-C is meant."""
        self._ctrl_c = ctrl_c

    def end(self, status: int | None) -> None:
        """The reading is over, None where it ended with an error: the checkpoints go, or are to go on from."""
        if self._files.others:
            with suppress(OutputError):  # what they were at when something ended them
                self._files.clear()
        if status in (ExitCode.OK, ExitCode.FAILED) or not (self._kept or self._files.whole or self._files.others):
            self._checkpoint.forget()
        else:
            self._checkpoint.leave()
            complain(f"{self._files.dataset}: is unfinished; the same command with --resume goes on with it")

    def _states(self, names: Sequence[Any]) -> dict[str, str | None]:
        from socks5sniff.capture.inputs import state

        for name in names:
            if name not in self._known:
                self._known[str(name)] = state(name)
        return {str(name): self._known[name] for name in names}


def keeping(
    dataset: str, private: bool, files: Sequence[str], options: Mapping[str, Any], resume: bool
) -> Keeper | None:
    """Who keeps how far a dataset's making has come, or goes on with another one; None for what cannot be read again.

    Args:
        private: only the user may read the dataset's files.
        files: captures as the user names them.
        options: what else the records depend on.

    Raises:
        ResumeError: there is nothing to go on with, or something and it is not asked to.
        OutputError, InputError, MissingError: the dataset, or the captures, cannot be reached.
    """
    from socks5sniff.archive.checkpoint import Checkpoint, Progress
    from socks5sniff.capture.inputs import expand

    folder = _folder(dataset)
    request = json.loads(json.dumps({"captures": [*map(_absolute, files)], **options}, default=str))
    mine = _unfinished(dataset, folder, request, resume)
    if mine is not None:
        progress, names, state = mine.load()
        try:
            written = Files(dataset, private, progress.writer, progress.files)
            lacking = written.clear()
            if lacking:
                what = f"{lacking:,} of its files that were finished are gone"
                raise ResumeError(f"{dataset}: {what}: read all anew elsewhere")
        except BaseException:
            mine.leave()
            raise
        return Keeper(written, mine, progress, names, state)
    names = (*expand(files),)
    if any(map(is_stream, filter(os.path.exists, names))) or "-" in names:
        return None
    checkpoint = Checkpoint(folder)
    written = Files(dataset, private, checkpoint.writer, ())
    return Keeper(written, checkpoint, Progress(request, checkpoint.writer), names)


def _unfinished(dataset: str, folder: str, request: Mapping[str, Any], resume: bool) -> Checkpoint | None:
    """That to go on with."""
    from socks5sniff.archive.checkpoint import BusyError, checkpoints

    others: list[Mapping[str, Any]] = []
    for each in checkpoints(folder):
        try:
            found = each.progress()[0].request
        except BusyError as busy:
            if resume:
                raise ResumeError(f"{dataset}: {busy}") from None
            continue
        except ResumeError:
            if resume:
                raise
            continue
        if found != request:
            others.append(found)
        elif resume:
            return each
        else:
            raise ResumeError(
                f"{dataset}: these captures were read into it, not to their end: add --resume to go on, or remove "
                f"{each.path} to read them once more"
            )
    if resume:
        nothing = f"{dataset}: nothing is unfinished there: what was read into it, if anything was, is complete"
        raise ResumeError(_different(dataset, request, others[0]) if others else nothing)
    for other in others[:1]:
        captures = " ".join(other["captures"][:2])
        complain(f"{dataset}: the reading of {captures} is unfinished there; its command with --resume goes on with it")
    return None


def _different(dataset: str, request: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in {**request, **other} if request.get(name) != other.get(name)]
    return f"{dataset}: what is unfinished there was begun with other {' and '.join(names)}: give the same again"


def _folder(dataset: str) -> str:
    """Where the checkpoints of a dataset lie: in it, or for one behind a URL, in the user's own folder."""
    from socks5sniff.capture.remote import is_url

    if not is_url(dataset):
        return dataset
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "socks5sniff", sha256(dataset.rstrip("/").encode()).hexdigest()[:32])


def _absolute(name: str) -> str:
    from socks5sniff.capture.remote import is_url

    return name if is_url(name) else os.path.abspath(name)
