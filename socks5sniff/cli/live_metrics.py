"""The state of a capture as a file of Prometheus' text format, for the node exporter's textfile collector."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from socks5sniff.errors import MissingError, OutputError

from .live_health import Health

_COUNTERS = {
    "packets": "Frames analysed.",
    "saved_packets": "Frames in the capture files.",
    "lost_packets": "Frames that are not in the capture files, because the disk was too slow or full.",
    "lost_lines": "Lines and records left out, because they could not be written for too long.",
    "process_lookups_left_out": "Connections whose process was not asked for, because there were too many at once.",
}
_GAUGES = {
    "open_connections": "Connections found to be SOCKS that have not ended.",
    "backlog_file_bytes": "Octets that wait to be written to the capture file.",
    "backlog_output_bytes": "Octets of lines and records that wait to be written.",
    "resident_memory_bytes": "Octets that this process has in memory.",
    "uptime_seconds": "Seconds since the capture began.",
}


class MetricsFile:
    """Written whole each time, so that nobody reads half of one."""

    def __init__(self, path: str) -> None:
        """Raises MissingError where the client library is not installed."""
        try:
            import prometheus_client.core
            import prometheus_client.exposition
        except ImportError:
            raise MissingError(
                "--metrics needs prometheus-client; install it with: pip install 'socks5sniff[metrics]'"
            ) from None
        self._families: Any = prometheus_client.core
        self._generate: Callable[[Any], bytes] = prometheus_client.exposition.generate_latest
        self._path = Path(path)

    def write(self, health: Health) -> None:
        """Write the state.

        Raises:
            OutputError: the file cannot be written.
        """
        registry = self._families.CollectorRegistry(auto_describe=False)
        registry.register(_Collected([*self._metrics(health)]))
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.absolute().parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self._generate(registry))
                    os.fchmod(descriptor, 0o644)
                os.replace(name, self._path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            raise OutputError(f"{self._path}: {error.strerror or error}") from error

    def _metrics(self, health: Health) -> Iterator[Any]:
        counter, gauge = self._families.CounterMetricFamily, self._families.GaugeMetricFamily
        counts = (health.packets, health.saved, health.lost_packets, health.lost_lines, health.lookups_left_out)
        for (name, text), count in zip(_COUNTERS.items(), counts, strict=True):
            yield counter(f"socks5sniff_{name}", text, value=count)
        states = (health.open, health.backlog_file, health.backlog_output, health.memory or 0, health.uptime)
        for (name, text), state in zip(_GAUGES.items(), states, strict=True):
            yield gauge(f"socks5sniff_{name}", text, value=state)
        for what, by_name in (("received", health.received), ("dropped", health.dropped)):
            family = counter(f"socks5sniff_interface_{what}_packets", f"Frames {what}.", labels=["interface"])
            for name, known in by_name.items():
                if known is not None:
                    family.add_metric([name], known)
            yield family
        family = counter("socks5sniff_conversations", "Conversations that have ended.", labels=["outcome"])
        for outcome, count in health.outcomes.items():
            family.add_metric([outcome], count)
        yield family


class _Collected:
    """What a registry asks for metrics."""

    def __init__(self, metrics: list[Any]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Any]:
        return self._metrics
