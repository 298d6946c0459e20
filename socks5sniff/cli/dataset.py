"""The files that one making of a dataset writes, whoever of several processes writes them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING

from socks5sniff.sinks import writing

from .filters import Test

if TYPE_CHECKING:
    from socks5sniff.archive.messages import Writer


class Files:
    """What has been written, and what goes on writing.

    Args:
        dataset: a folder or URL.
        private: only the user may read the files.
        maker: what the names of all files of this making have in common.
        whole: names of those that another program has finished.

    Attributes:
        dataset: see above.
        whole: names of those that are whole.
        others: other processes have been writing.
        part: what the names of this program's files have in common, and no others: whatever has become of another
            one that was ended, nothing takes the place of anything.
    """

    def __init__(self, dataset: str, private: bool, maker: str, whole: Sequence[str]) -> None:
        from socks5sniff.capture.places import Place

        self.whole = [*whole]
        self.others = False
        self.part = f"{maker}-{secrets.token_hex(4)}"
        self.dataset = dataset
        self._private = private
        self._maker = maker
        self._place = Place(dataset, private=private)

    def __call__(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Begins a file, see `sinks.Files`."""
        return self._noted(name)

    @contextmanager
    def _noted(self, name: str) -> Iterator[IO[bytes]]:
        with self._place(name) as file:
            yield file
        self.whole.append(name)

    def writer(self, keep: Test | None, witness: str) -> Writer | None:
        """What writes records where they are made; None where the dataset may be another one there.

        Args:
            keep: the records that are to be written; None for all.
            witness: a file in the dataset's folder: whoever sees it sees the folder.
        """
        from socks5sniff.capture.places import Place
        from socks5sniff.capture.remote import is_everywhere, is_url

        if not is_url(self.dataset):
            place = Place(os.path.abspath(self.dataset), private=self._private)
            return writing(place, partial(os.path.lexists, os.path.abspath(witness)), self.part, keep)
        return writing(self._place, _always, self.part, keep) if is_everywhere(self.dataset) else None

    def clear(self) -> int:
        """Remove what this making has written besides; tells how many files there are not any more.

        Raises:
            OutputError: it cannot be removed.
        """
        whole, lacking = set(self.whole), set(self.whole)
        for name in self._place.names(f"part-{self._maker}-"):
            known = name.replace(os.sep, "/")
            if known not in whole:
                self._place.remove(name)
            lacking.discard(known)
        return len(lacking)


def _always() -> bool:
    return True
