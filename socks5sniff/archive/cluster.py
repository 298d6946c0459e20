"""The workers of a Dask cluster (extra `cluster`): of this machine, or of whatever the scheduler's address leads to.

What a worker has analysed stays with it, as the value of a future; Dask runs what is asked of it there, and analyses
again what a worker has taken with it.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from threading import Thread
from typing import Any

from socks5sniff.errors import InputError, MissingError

from .piece import Result, Task, analyse
from .stretch import LONG, Stretch

LOCAL = "local"
"""In place of an address: a cluster of this machine's processes, for the time of the reading."""
WAIT = 30
"""Seconds that a scheduler and its first worker are waited for."""
_Analysed = tuple[Stretch, Result]


class Cluster:
    """The workers of a cluster.

    Args:
        where: the scheduler's address, or LOCAL.
        jobs: how many workers a local one has; None for as many as there are cores.

    Attributes:
        count: how many workers there are.

    Raises:
        MissingError: Dask is not installed.
        InputError: there is no such scheduler, or no worker.
    """

    def __init__(self, where: str, jobs: int | None = None) -> None:
        try:
            import distributed
        except ImportError as error:
            raise MissingError('--cluster needs Dask: pip install "socks5sniff[cluster]"') from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said in one line, by us
        dask: Any = distributed
        self._cluster: Any = None
        try:
            if where == LOCAL:
                # Nobody looks at profiles here, nor at a dashboard, whose HTTP server, on any port that is free, cannot
                # be left out.
                self._cluster = dask.LocalCluster(
                    n_workers=jobs,
                    threads_per_worker=1,
                    memory_limit=0,
                    dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": ":0"},
                    config={"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"},
                )
            self._client: Any = dask.Client(self._cluster or where, timeout=WAIT)
            self._client.wait_for_workers(1, timeout=WAIT)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"--cluster {where}: {_reason(error)}") from None
        self.count = len(self._client.scheduler_info(n_workers=-1)["workers"])
        self._analysed: dict[int, Any] = {}

    def analyse(self, number: int, task: Task) -> Future[Result]:
        """See `Processes.analyse`."""
        analysed = self._client.submit(_analyse, task, pure=False)
        self._analysed[number] = analysed
        return self._told(self._client.submit(_result, analysed, pure=False, priority=1))

    def ask(self, number: int, method: str, *arguments: Any) -> Future[Any]:
        """See `Processes.ask`."""
        priority = 0 if method in LONG else 2
        return self._told(
            self._client.submit(_asked, self._analysed[number], method, arguments, pure=False, priority=priority)
        )

    def forget(self, number: int) -> None:
        """See `Processes.forget`."""
        del self._analysed[number]

    def close(self) -> None:
        """Leave the cluster, and end a local one."""
        self._analysed.clear()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _told(self, asked: Any) -> Future[Any]:
        """A future that has the value itself, not the worker that has it."""
        future: Future[Any] = Future()

        def take() -> None:
            try:
                future.set_result(asked.result())
            except BaseException as error:
                future.set_exception(error)

        Thread(target=take, daemon=True).start()
        return future


def _analyse(task: Task) -> _Analysed:
    import distributed

    here: Any = distributed
    stretch, result = analyse(task)
    return stretch, result._replace(worker=here.get_worker().address)


def _result(analysed: _Analysed) -> Result:
    return analysed[1]


def _asked(analysed: _Analysed, method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(analysed[0], method)(*arguments)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) or "Timed out" in str(error):
        return f"no scheduler with a worker there within {WAIT} seconds"
    return " ".join(str(error).split())[:200]
