"""A capture made fit to be shared: look, look for copies, write, and look again at what was written."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import IO, NamedTuple

import numpy as np

from socks5sniff.capture.creating import whole_file
from socks5sniff.capture.source import Input
from socks5sniff.capture.writer import PcapngWriter
from socks5sniff.errors import InputError, OutputError, Socks5sniffError
from socks5sniff.payload.inputs import rewindable

from .addresses import KEY
from .frames import Frames, Late, Taken
from .looks import Look, Progress
from .options import Options, What
from .ranges import Ranges
from .replacements import Replacements
from .scan import Scan
from .search import Search, worth
from .survey import Survey

_ROUNDS = 4
"""Looks for copies: each may find hosts in HTTP that are then looked for as well."""
_COPIED = 1 << 20
_CERTAIN = 8
"""Octets of strings that are looked for in the whole file at last: shorter ones may be numbers in headers."""
_FIRST = -1 << 40
"""Before the first octet of any stream."""
_DNS = 53
_MARKS = ((b"authorization:", What.CREDENTIALS), (b"\nhost:", What.HOST_LINE))
"""What precedes credentials and hosts in HTTP."""


class LeftError(Socks5sniffError):
    """Something that was to be overwritten is in the output still."""


class Outcome(NamedTuple):
    """What was done.

    Attributes:
        packets: frames written.
        passwords: different passwords that were found.
        brief: those of them that are too short to be looked for elsewhere than where SOCKS says them.
        unread: frames that are not understood, and were only searched for what was found in others.
        silenced: frames whose octets became zeros, since nobody reads them here.
        fault: what the capture ended with, where it is damaged; all before that was written.
    """

    packets: int
    passwords: int
    brief: int
    unread: int
    silenced: int
    fault: Socks5sniffError | None


def sanitize(
    source: str, output: str, options: Options, *, force: bool = False, progress: Progress | None = None
) -> Outcome:
    """Write a capture as pcapng with what the options say overwritten in place.

    Args:
        source: name of a capture, or `-` for standard input.
        output: name of the file to write, `-` for standard output.
        options: what is overwritten, besides passwords.
        force: replace a file that is there.
        progress: called now and then with (octets read, octets in all or 0 where not known), for each look.

    Raises:
        InputError: the capture cannot be opened or is none.
        OutputError: the output cannot be written, or is there and `force` is not.
        MissingError: addresses are to be replaced, and the package `cryptography` is not installed.
        UnwritableError: a frame names addresses that cannot be replaced.
        LeftError: the second look found something; nothing was written.
    """
    with whole_file(output, force=force) as file, rewindable([source]) as names:
        work = _Work(names[0], options, progress)
        work.survey()
        work.find_copies()
        with _checkable(file) as checked:
            outcome = work.write(checked)
            checked.flush()
            work.check(checked.name)
            if checked is not file:
                _copy(checked, file)
    return outcome


class _Work:
    """One capture on its way."""

    def __init__(self, source: Input, options: Options, progress: Progress | None) -> None:
        self._source = source
        self._key = options.key or secrets.token_bytes(KEY)
        self._options = options
        self._progress = progress
        self._found = Survey(options)
        self._search = Search(())
        self._replaced: Replacements | None = None

    def survey(self) -> None:
        """The first look: what is there."""
        _survey(self._found, self._source, self._options, self._progress)

    def find_copies(self) -> None:
        """Look for copies of what was found, in all streams."""
        found = self._found
        self._replaced = replaced = Replacements(self._options, self._key, found.places)
        for _ in range(_ROUNDS):
            found.copies = Ranges()
            known = len(found.hosts), len(found.places)
            self._search = Search(_strings(found, self._options, replaced))
            fragments = _scan(self._source, self._options, self._search, found, self._progress)
            if known == (len(found.hosts), len(found.places)):
                break
        self._fragments = fragments
        found.ranges.close(replaced)
        found.copies.close(replaced)

    def write(self, file: IO[bytes]) -> Outcome:
        """Write all frames."""
        late = Late()
        if self._fragments:
            for look, frames in self._frames(late):
                for taken in look.batches():
                    _, changes = frames.rewrite(taken)
                    late.note(changes, taken)
        for look, frames in self._frames(late):
            writer = PcapngWriter(file)
            for taken in look.batches():
                batch, _ = frames.rewrite(taken)
                writer.write_batch(batch)
            brief = sum(not worth(password) for password in self._found.secrets)
            unread = sum(look.analyser.reader.not_understood.values())
            outcome = Outcome(
                look.packets, len(self._found.secrets), brief, unread, frames.addresses.silenced, look.fault
            )
        return outcome

    def _frames(self, late: Late) -> Iterator[tuple[Look, Frames]]:
        assert self._replaced is not None
        look = Look(self._source, self._options.ports, self._progress)
        book = look.analyser.reader.addresses
        yield look, Frames(self._options, self._found, self._search, self._replaced, book, late)

    def check(self, path: str) -> None:
        """The second look: nothing of what was found may be there."""
        assert self._replaced is not None
        again = Survey(self._options)
        _survey(again, path, self._options, self._progress)
        left = _left(self._found, again, self._replaced)
        strings = [
            (octets, what)
            for octets, what in _strings(self._found, self._options, self._replaced)
            if what not in (What.CREDENTIALS, What.HOST_LINE)
        ]
        written = {self._replaced(octets, what).lower() for octets, what in strings}
        strings = [(octets, what) for octets, what in strings if octets.lower() not in written]
        left += _scan_raw(path, Search((octets, what) for octets, what in strings if len(octets) >= _CERTAIN))
        seen = Survey(self._options)
        _scan(path, Options(ports=self._options.ports), Search(strings), seen, self._progress)
        left += len(seen.copies)
        if left:
            raise LeftError(f"{left:,} of what was to be overwritten is left: nothing was written; please report this")


def _survey(survey: Survey, source: Input, options: Options, progress: Progress | None) -> None:
    look = Look(source, options.ports, progress, lambda slot, dialogue: survey.dialogue(look.analyser, slot, dialogue))
    book = look.analyser.reader.addresses
    for record in look.records(lambda ends: survey.seen(ends, book)):
        survey.record(record, book)
    if look.analyser.faults:
        raise LeftError(
            f"an error of this program ({look.analyser.faults.first}): what is to be overwritten is not certain, and "
            "nothing was written; please report this"
        )
    for link in look.analyser.reader.unknown_links:
        named = f" ({link.name})" * bool(link.name)
        raise InputError(
            f"{link.capture}: link type {link.link_type}{named} is not known, so nobody can tell what its frames hold "
            f"(the first is frame {link.frame})"
        )


def _scan(source: Input, options: Options, search: Search, survey: Survey, progress: Progress | None) -> bool:
    """Look for strings in streams; True where packets were put together from fragments."""

    def found(key: int, position: int, octets: bytes, what: int) -> None:
        if what == What.HOST and octets.lower() not in survey.hosts:
            survey.add_host(octets)
        survey.copies.add(key >> 1, key & 1, position, octets, what)

    scan = Scan(search, found, options)
    if options.hides_addresses:
        for key, position in survey.messages.items():
            scan.expect_messages(key, position)
    look = Look(source, options.ports, progress)
    fragments = False
    for taken in look.batches():
        _note_streams(taken, survey, scan, options)
        scan.take(taken.placed, taken.memory)
        fragments |= bool(taken.layers.pieces)
        flows = look.analyser.connections.flows
        scan.retain(flows.stream[flows.live()])
    scan.finish()
    return fragments


def _note_streams(taken: Taken, survey: Survey, scan: Scan, options: Options) -> None:
    """Connections to DNS servers, and those in which proxies pass on what tunnels carry."""
    placed, segments = taken.placed, taken.segments
    if segments is None or not len(placed.key):
        return
    ends = np.stack((segments.source[placed.row], segments.destination[placed.row]))
    if options.hides_addresses:
        rows = np.flatnonzero(((ends & np.uint64(0xFFFF)) == _DNS).any(0))
        for key, start in zip(placed.key[rows].tolist(), placed.start[rows].tolist(), strict=True):
            scan.expect_messages(key, min(start, 0))
    if options.payload is not None and survey.upstreams:
        low, high = ends.min(0), ends.max(0)
        rows = np.flatnonzero(np.isin(low, np.array([pair[0] for pair in survey.upstreams], np.uint64)))
        for row in rows.tolist():
            if (int(low[row]), int(high[row])) in survey.upstreams:
                survey.tunnels[int(placed.key[row])] = _FIRST


def _scan_raw(path: str, search: Search) -> int:
    """How many strings are in a file's octets as they are."""
    found, tail = 0, b""
    with open(path, "rb") as file:
        while octets := file.read(8 << 20):
            whole = tail + octets
            found += len(search.find(np.frombuffer(whole, np.uint8)))
            tail = whole[-(search.longest - 1) :] if search.longest > 1 else b""
    return found


def _strings(survey: Survey, options: Options, replaced: Replacements) -> Iterator[tuple[bytes, int]]:
    """What is looked for wherever it is."""
    for password in survey.secrets:
        yield password, What.SECRET
    for user in survey.users:
        yield user, What.USER
    for host in survey.hosts:
        for name in _domains(host):
            yield name, What.HOST
            if all(0 < len(label) < 64 for label in name.split(b".")):
                yield b"".join(bytes((len(label),)) + label for label in name.split(b".")), What.LABELS
    for place in survey.places | survey.addresses:
        if replaced.ip(place) != place:
            yield str(ip_address(place)).encode(), What.TEXT
            if len(place) == 16:
                yield place, What.ADDRESS
    yield from _MARKS[: 1 + options.destinations]


def _domains(host: bytes) -> Iterator[bytes]:
    """A host, and the domains that it is in, but for the last label."""
    yield host
    labels = host.rstrip(b".").split(b".")
    if not labels[-1].isdigit():
        for number in range(1, len(labels) - 1):
            yield b".".join(labels[number:])


def _left(before: Survey, after: Survey, replaced: Replacements) -> int:
    """How many of the values that were found before are there still."""
    left = sum(secret.strip(b"x") != b"" for secret in after.secrets & before.secrets)
    for old, new, what in (
        (before.users, after.users, What.USER),
        (before.hosts, after.hosts, What.HOST),
        (before.places, after.places, What.ADDRESS),
    ):
        written = {replaced(value, what) for value in old}
        left += len((old & new) - written)
    return left


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    try:
        shutil.copyfileobj(source, target, _COPIED)
        target.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{getattr(target, 'name', 'output')}: {error.strerror or error}") from error


@contextmanager
def _checkable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file that can be looked at before anybody else sees it."""
    name = getattr(file, "name", None)
    if isinstance(name, str) and os.path.isfile(name) and os.path.samestat(os.stat(name), os.fstat(file.fileno())):
        yield file
        return
    with _spool() as copy:
        yield copy


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    """A file for a while, that can be opened again by its name on any system."""
    with (
        tempfile.TemporaryDirectory(prefix="socks5sniff-") as folder,
        open(os.path.join(folder, "copy"), "w+b") as file,
    ):
        yield file
