"""Times for the eye: UTC, local time, seconds since 1970, or seconds since the first of them."""

from __future__ import annotations

from time import gmtime, localtime, strftime, struct_time

FORMS = ("utc", "local", "epoch", "relative")
"""What `--time` takes."""
_SECOND = 1_000_000_000


class Clock:
    """Turns nanoseconds since 1970 into text of one form.

    Attributes:
        origin: where `relative` counts from, in nanoseconds; the first time that was asked for, unless it is set.
    """

    def __init__(self, form: str = "utc") -> None:
        """`form` is one of FORMS."""
        self.form = form
        self.origin: int | None = None
        self._day: str | None = None

    def label(self, first: int, last: int) -> str:
        """What a heading says of times from `first` to `last`: `UTC`, `UTC+02:00`, `local`, `epoch`, `relative`."""
        if self.form == "utc":
            return "UTC"
        if self.form != "local":
            return self.form
        offset = self.suffix(first)
        return f"UTC{offset}" if offset == self.suffix(last) else "local"

    def suffix(self, time_ns: int) -> str:
        """What stands behind a single time: `Z`, `+02:00`, or nothing."""
        if self.form == "utc":
            return "Z"
        if self.form != "local":
            return ""
        minutes = self._parts(time_ns).tm_gmtoff // 60
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"

    def day(self, time_ns: int) -> str:
        """The date of a time, empty where the form has none."""
        return strftime("%Y-%m-%d", self._parts(time_ns)) if self.form in ("utc", "local") else ""

    def brief(self, time_ns: int, dated: bool = False) -> str:
        """With milliseconds, and the date before it if asked for: `09:31:02.123`, `1782000000.123`, `+12.345`."""
        if self.form == "relative":
            return f"+{self._since(time_ns) / _SECOND:.3f}"
        fraction = time_ns % _SECOND // 1_000_000
        if self.form == "epoch":
            return f"{time_ns // _SECOND}.{fraction:03d}"
        return f"{strftime('%Y-%m-%d %H:%M:%S' if dated else '%H:%M:%S', self._parts(time_ns))}.{fraction:03d}"

    def stamp(self, time_ns: int) -> str:
        """To stand at the head of a line: brief with its suffix, dated on another day than the first one's."""
        day = self.day(time_ns)
        if self._day is None:
            self._day = day
        return self.brief(time_ns, dated=day != self._day) + self.suffix(time_ns)

    def full(self, time_ns: int) -> str:
        """With date, nanoseconds and suffix: `2026-11-22T08:39:01.123456789Z`, `+12.345678901`."""
        if self.form == "relative":
            seconds, fraction = divmod(self._since(time_ns), _SECOND)
            return f"+{seconds}.{fraction:09d}"
        fraction = time_ns % _SECOND
        if self.form == "epoch":
            return f"{time_ns // _SECOND}.{fraction:09d}"
        return f"{strftime('%Y-%m-%dT%H:%M:%S', self._parts(time_ns))}.{fraction:09d}{self.suffix(time_ns)}"

    def _since(self, time_ns: int) -> int:
        if self.origin is None:
            self.origin = time_ns
        return max(time_ns - self.origin, 0)

    def _parts(self, time_ns: int) -> struct_time:
        return (localtime if self.form == "local" else gmtime)(time_ns // _SECOND)
