"""Worker processes of this machine.

Each keeps what it has analysed until its records are made, so whatever is asked of a stretch is asked of the process
that has it. One that dies is replaced, and its stretches are analysed again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import Future
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from socks5sniff.analysis.faults import Faults
from socks5sniff.analysis.forms import Forms
from socks5sniff.errors import WorkerError

from .piece import Memories, Result, Task, analyse
from .stretch import LONG, Stretch

_DEATHS = 3
"""So many times a worker is replaced."""
_ANALYSE, _ASK, _FORGET = "analyse", "ask", "forget"
_Message = tuple[str, int, Any]


class _Worker:
    """One process, as the one that asks sees it."""

    def __init__(self, context: Any, answered: Any) -> None:
        self.numbers: set[int] = set()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.connection), daemon=True)
        self.process.start()
        theirs.close()
        # A thread of its own, so that neither side waits for the other one to read.
        self._thread = threading.Thread(target=self._listen, args=(answered,), daemon=True)

    def begin(self) -> None:
        """Listen to it."""
        self._thread.start()

    def _listen(self, answered: Any) -> None:
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                answered(self, None)
                return
            answered(self, message)

    def send(self, message: _Message) -> None:
        """To a worker that has died nothing is sent: whoever notices starts another one."""
        try:
            self.connection.send(message)
        except OSError:
            return


class Processes:
    """Some worker processes.

    Args:
        count: how many.

    Raises:
        WorkerError: they cannot be started.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.RLock()
        self._closing = False
        self._deaths = 0
        self._owners: dict[int, _Worker] = {}
        self._tasks: dict[int, Task] = {}
        self._waiting: dict[tuple[str, int], tuple[Future[Any], _Message]] = {}
        # Forks are quick, but what other threads hold in the moment of one is held in it for ever.
        forks = sys.platform == "linux" and threading.active_count() == 1
        if forks:
            import numpy.ma  # noqa: F401 - `np.unique` needs it: here once, not in each process
        context = multiprocessing.get_context("fork" if forks else "spawn")
        try:
            self._workers = [_Worker(context, self._answered) for _ in range(count)]
        except OSError as error:
            cause = error.strerror or error
            raise WorkerError(f"{count} worker processes cannot be started ({cause}): --jobs 1 needs none") from None
        for worker in self._workers:
            worker.begin()

    def analyse(self, number: int, task: Task) -> Future[Result]:
        """Analyse a piece, under this number."""
        with self._lock:
            worker = min(self._workers, key=lambda each: len(each.numbers))
            self._owners[number] = worker
            self._tasks[number] = task
            worker.numbers.add(number)
        return self._request(_ANALYSE, number, task)

    def ask(self, number: int, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of the stretch that has this number."""
        return self._request(_ASK, number, (method, arguments))

    def forget(self, number: int) -> None:
        """The stretch is not needed any more."""
        with self._lock:
            worker = self._owners.pop(number)
            worker.numbers.discard(number)
            del self._tasks[number]
        worker.send((_FORGET, number, None))

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._closing = True
        for worker in self._workers:
            worker.process.terminate()
            worker.process.join()
            worker.connection.close()

    def _request(self, kind: str, number: int, content: Any) -> Future[Any]:
        future: Future[Any] = Future()
        message = kind, number, content
        with self._lock:
            self._waiting[kind, number] = future, message
            worker = self._owners[number]
        # Not under the lock: a worker may be waiting for us to take an answer, which needs it.
        worker.send(message)
        return future

    def _answered(self, worker: _Worker, message: tuple[str, int, bool, Any] | None) -> None:
        with self._lock:
            if self._closing:
                return
            if message is None:
                fresh, messages = self._replaced(worker)
                kind, number, fine, value = "", 0, False, None
            else:
                fresh, messages = worker, []
                kind, number, fine, value = message
            waiting = self._waiting.pop((kind, number), None)
        for each in messages:
            fresh.send(each)
        if waiting is not None:
            if fine:
                waiting[0].set_result(value)
            else:
                waiting[0].set_exception(value)

    def _replaced(self, worker: _Worker) -> tuple[_Worker, list[_Message]]:
        """A worker has died: another one, and what it has to do again."""
        self._deaths += 1
        worker.process.join()
        if self._deaths > _DEATHS:
            code = worker.process.exitcode
            advice = "is there enough memory? --jobs 1 needs less"
            error = WorkerError(f"worker processes keep ending (exit code {code}): {advice}")
            for future, _ in self._waiting.values():
                future.set_exception(error)
            self._waiting.clear()
            return worker, []
        fresh = _Worker(multiprocessing.get_context("spawn"), self._answered)
        fresh.begin()
        self._workers[self._workers.index(worker)] = fresh
        fresh.numbers = worker.numbers
        for number in sorted(worker.numbers):
            self._owners[number] = fresh
        again: list[_Message] = [(_ANALYSE, number, self._tasks[number]) for number in sorted(fresh.numbers)]
        waiting = [message for _, message in self._waiting.values()]
        again += [each for each in waiting if each[0] != _ANALYSE and each[1] in fresh.numbers]
        return fresh, again


def serve(connection: Connection, theirs: Connection) -> None:
    """What a worker process does: it ends when nobody is at the other end any more."""
    theirs.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks ends it
    stretches: dict[int, Stretch] = {}
    forms: Forms | None = None
    memories = Memories()
    tasks: SimpleQueue[_Message] = SimpleQueue()
    sending = threading.Lock()

    def listen() -> None:
        """Questions are answered at once, beside what takes long: whoever asks waits before it can go on."""
        try:
            while True:
                message = connection.recv()
                if message[0] == _ASK and message[2][0] not in LONG and message[1] in stretches:
                    answer(message)
                else:
                    tasks.put(message)
        except (EOFError, OSError):
            os._exit(0)  # in the middle of what nobody waits for

    def answer(message: _Message) -> None:
        nonlocal forms
        kind, number, content = message
        value: Any
        try:
            if kind == _FORGET:
                stretches.pop(number, None)
                return
            if kind == _ANALYSE:
                if forms is None:
                    forms = Forms(content.settings.show_passwords, Faults())
                stretches[number], value = analyse(content, forms, memories)
            else:
                method, arguments = content
                value = getattr(stretches[number], method)(*arguments)
                if method == "finish":
                    memories.give(stretches[number])
            found = kind, number, True, value
        except Exception as error:
            found = kind, number, False, error
        with sending:
            connection.send(found)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        answer(tasks.get())
