"""Parts of a dataset that are written where their records are made, by other processes than the one that asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from socks5sniff.errors import MissingError
from socks5sniff.record import Conversation
from socks5sniff.record.batch import Batch

from .sink import Files

Test = Callable[[Conversation], bool]


def writing(
    out: Files, there: Callable[[], bool], writer: str, keep: Test | None
) -> Callable[[int, Batch, int], tuple[list[str], Batch]]:
    """What writes records of a dataset where they are; it can be sent to other processes, as far as its parts can.

    Args:
        out: begins files of the dataset.
        there: whether this is so also where the records are; else all of them are left.
        writer: what the files' names have in common.
        keep: the records that are to be written; None for all.

    Returns:
        Given a number that names tell, some records, and how few of them are not worth a file: the names of the files,
        and what is left.
    """
    return partial(_part, out, there, writer, keep)


def _part(
    out: Files, there: Callable[[], bool], writer: str, keep: Test | None, number: int, batch: Batch, least: int
) -> tuple[list[str], Batch]:
    if keep is not None:
        batch = batch.select([keep(conversation) for conversation in batch])
    if len(batch) < least or not there():
        return [], batch
    try:
        from .parquet import write_part
    except MissingError:
        return [], batch
    return write_part(out, f"{writer}-p{number:05}", batch, least)
