"""Reading capture files: the one call that takes names and gives records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from socks5sniff.capture.merge import open_captures
from socks5sniff.capture.source import Capture, Input, inputs
from socks5sniff.packets.reader import UnknownLink
from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.batch import Batch

from .analyser import Analyser
from .attempts import Attempt
from .extents import Extent

__all__ = ["Reading", "UnknownLink", "read"]

PIPE_PATIENCE = 1_000_000_000
"""Nanoseconds an undecided connection may hold back later ids when results are wanted as they come."""


class Reading(Iterator[Conversation]):
    """The conversations of one or more captures, each as soon as it is complete.

    Whoever prints many takes `batches` instead of iterating. After either (also when it ended with an error) the
    totals hold:

    Attributes:
        packets: frames read.
        conversations: records given.
        fault: what the reading ended with; it is raised behind the last record.
        evicted: open flows that had to be forgotten because there were too many.
        skipped: frames with TCP or UDP that could not be understood.
        unknown_links: interfaces none of whose frames could be read, because their link type is not known.
    """

    def __init__(
        self,
        names: Sequence[Input],
        *,
        ports: Collection[int] = (),
        show_passwords: bool = False,
        udp_frames: bool = False,
        progress: Callable[[int, int], None] | None = None,
        extents: bool = False,
    ) -> None:
        patience = PIPE_PATIENCE if "-" in names else None
        self._analyser = Analyser(
            ports=ports, show_passwords=show_passwords, udp_frames=udp_frames, patience=patience, extents=extents
        )
        self._frames = open_captures(names, progress=progress)
        self._records = self._each()
        self.conversations = 0
        self.fault: BaseException | None = None

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> Conversation:
        return next(self._records)

    def _each(self) -> Iterator[Conversation]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[Batch]:
        """The records as they are complete, many at once."""
        try:
            for frames in self._frames:
                yield from self._counted(self._analyser.take(frames))
        except (Exception, KeyboardInterrupt) as error:
            self.fault = error
        yield from self._counted(self._analyser.finish())
        if self.fault is not None:
            raise self.fault

    def _counted(self, batches: list[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.conversations += len(batch)
            yield batch

    @property
    def packets(self) -> int:
        return self._analyser.packets

    def extent(self, stream: int, depth: int) -> Extent | None:
        """Where the tunnel of a conversation that has been given lies, once; see `Extents`."""
        extents = self._analyser.extents
        return None if extents is None else extents.take(stream, depth)

    @property
    def evicted(self) -> int:
        return self._analyser.evicted

    @property
    def attempts(self) -> list[Attempt]:
        """TCP connections to proxies that came to no conversation, the first 10,000 of them."""
        return self._analyser.attempts.listed()

    @property
    def attempt_counts(self) -> list[tuple[Endpoint, str, int]]:
        """All of them: proxy, outcome, how many; the proxies with most first."""
        return self._analyser.attempts.counts()

    @property
    def skipped(self) -> int:
        return self._analyser.reader.skipped.total

    @property
    def unknown_links(self) -> list[UnknownLink]:
        return self._analyser.reader.unknown_links


def read(
    names: Capture | Iterable[Capture],
    *,
    ports: Collection[int] = (),
    show_passwords: bool = False,
    udp_frames: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Reading:
    """Read captures and give every SOCKS conversation in them.

    Args:
        names: a capture, or several: path (`-` is standard input), octets, or binary file that is open. pcap and
            pcapng, also compressed.
        ports: proxy ports besides 1080, 9050 and 9150: there a greeting alone counts, and foreign protocols are named.
        show_passwords: give passwords instead of a mask.
        udp_frames: list UDP datagrams of associations among the frames.
        progress: called now and then with (octets read, octets in all or 0 where not known).

    Raises:
        TypeError: what was given is no capture; the message says what is.
        InputError: an input can't be opened or is no capture.
        DamagedInputError: an input is truncated or damaged; all that was decoded before has been given.
    """
    return Reading(
        inputs(names),
        ports=ports,
        show_passwords=show_passwords,
        udp_frames=udp_frames,
        progress=progress,
    )
