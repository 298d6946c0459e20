"""Names of captures as people give them: files, directories, patterns, lists, URLs."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence

from ..errors import InputError
from .remote import Remote, is_url
from .source import STANDARD_INPUT

_LIST = "@"
_PATTERN = frozenset("*?[")


class Candidate(str):
    """A name that was found in a directory, not given: if it is no capture, it is left out."""

    __slots__ = ()


def expand(names: Sequence[str]) -> list[str]:
    """The captures that these names mean, in the order of the names; those of one name in their own order.

    - a directory: every file under it; whether it is a capture, its content tells (`Candidate`);
    - a pattern with `*`, `?`, `[…]` or `**` that is no file's name: all that match;
    - `@FILE`: the names in a file, one a line, where `#` begins a remark; `@-` reads them from standard input;
    - a URL (`s3://`, `gs://`, `az://`, `http://`, `ssh://`, …), which may be a pattern or a directory as well;
    - anything else, and `-`: itself.

    A file that several names lead to is read once, unless it was named itself each time.

    Raises:
        InputError: a pattern matches nothing, a directory has no file in it, a list or a URL cannot be read.
        MissingError: a URL needs a package that is not installed.
    """
    found: list[str] = []
    seen: set[object] = set()
    for name in names:
        for one in _meant(name, lists=True):
            identity = _identity(one)
            if one is name or identity not in seen:
                seen.add(identity)
                found.append(one)
    return found


def _meant(name: str, lists: bool) -> Iterator[str]:
    if name == STANDARD_INPUT:
        yield name
    elif is_url(name):
        yield from _remote(name)
    elif name.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        yield from _meant(unquote(urlsplit(name).path), lists=False)
    elif os.path.isdir(name):
        yield from _under(name)
    elif _PATTERN & set(name) and not os.path.lexists(name):
        yield from _matching(name)
    elif lists and name.startswith(_LIST) and not os.path.lexists(name):
        for listed in _listed(name[1:]):
            yield from _meant(listed, lists=False)
    else:
        yield name


def _under(folder: str) -> list[str]:
    """All files under a directory, by name. Links to directories are not followed: they can lead in circles."""
    found = []
    for here, folders, files in os.walk(folder, onerror=_raise):
        folders.sort()
        for file in files:
            path = os.path.join(here, file)
            try:
                regular = stat.S_ISREG(os.stat(path).st_mode)
            except OSError:
                regular = False  # a link to nothing, or a file that has just gone
            if regular:
                found.append(Candidate(path))
    if not found:
        raise InputError(f"{folder}: a directory without a file in it")
    return sorted(found)


def _raise(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed: {error.strerror}")


def _matching(pattern: str) -> Iterator[str]:
    import glob

    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise InputError(f"{pattern}: no file matches")
    whole = "**" in pattern  # which gives what lies in directories, too
    for name in matches:
        if not os.path.isdir(name):
            yield Candidate(name) if whole else name
        elif not whole:
            yield from _under(name)


def _listed(name: str) -> list[str]:
    try:
        if name == STANDARD_INPUT:
            text = sys.stdin.read()
        else:
            with open(name, encoding="utf-8") as file:
                text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(f"@{name}: the list cannot be read: {reason}") from None
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise InputError(f"@{name}: a list without a name in it")
    return found


def _remote(url: str) -> list[str]:
    remote = Remote(url)
    if _PATTERN & set(remote.path) and not url.lower().startswith("http"):
        matches = sorted(remote.matching())
        if not matches:
            raise InputError(f"{url}: no file matches")
        return matches
    if not remote.is_folder():
        return [url]
    found: list[str] = [Candidate(one) for one in remote.under()]
    if not found:
        raise InputError(f"{url}: nothing lies under it")
    return sorted(found)


def state(name: str) -> str | None:
    """What is another one when a file has changed; None where it is not there."""
    if is_url(name):
        return Remote(name).state()
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return f"{status.st_size} {status.st_mtime_ns}"


def _identity(name: str) -> object:
    """What two names of one file have in common."""
    if name == STANDARD_INPUT or is_url(name):
        return name
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return name
    return status.st_dev, status.st_ino
