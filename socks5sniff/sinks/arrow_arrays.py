"""Arrow's arrays from numpy's and from Python's values, laid out here: `pyarrow.array` begins by importing pandas where
that is installed, which takes longer than most captures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socks5sniff.record.text import Text

from .arrow_schema import INDEX, pa

Flags = NDArray[np.bool_]


def numbers(values: NDArray[Any], missing: Flags | None = None, type_: pa.DataType | None = None) -> pa.Array:
    """Numbers, or (of that type) what numbers stand for; null where `missing`."""
    values = np.ascontiguousarray(values)
    buffers = [_validity(missing), pa.py_buffer(values)]
    return pa.Array.from_buffers(type_ or pa.from_numpy_dtype(values.dtype), len(values), buffers)


def text_column(column: Text) -> pa.Array:
    """A column of text, whose NULs are nothing."""
    octets = np.ascontiguousarray(column).view(np.uint8)
    return _texts(octets.tobytes().translate(None, b"\0"), np.count_nonzero(octets, axis=1), None)


def lists(counts: NDArray[np.int64], missing: Flags | None, items: Sequence[pa.Array], type_: pa.DataType) -> pa.Array:
    """Lists of so many items; the items one behind the other, of a struct an array for each of its fields."""
    inner = type_.value_type
    item = pa.StructArray.from_arrays(items, fields=list(inner)) if pa.types.is_struct(inner) else items[0]
    buffers = [_validity(missing), pa.py_buffer(_offsets(counts))]
    return pa.Array.from_buffers(type_, len(counts), buffers, children=[item])


def array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """Values as Python has them, None among them: numbers, truths, texts, words, or lists of these."""
    nulls = values.count(None)
    if nulls == len(values):
        return pa.nulls(len(values), type_)
    missing = np.array([value is None for value in values], np.bool_) if nulls else None
    if pa.types.is_list(type_):
        counts = np.array([len(value or ()) for value in values])
        flat = list(chain.from_iterable(value or () for value in values))
        return lists(counts, missing, [array(flat, type_.value_type)], type_)
    if pa.types.is_dictionary(type_):
        known: dict[str, int] = {}
        index = [known.setdefault(value, len(known)) for value in values]
        words = array(["" if word is None else word for word in known], type_.value_type)
        return pa.DictionaryArray.from_arrays(numbers(np.array(index, np.int32), missing, INDEX), words)
    if pa.types.is_string(type_):
        octets = [b"" if value is None else value.encode("utf-8", "backslashreplace") for value in values]
        return _texts(b"".join(octets), np.array(list(map(len, octets))), missing)
    if pa.types.is_boolean(type_):
        true = np.array(list(map(bool, values)))
        return pa.Array.from_buffers(type_, len(values), [_validity(missing), pa.py_buffer(_bits(true))])
    kind = np.float64 if pa.types.is_floating(type_) else np.int64
    return numbers(np.array([value or 0 for value in values] if nulls else values, kind), missing, type_)


def coded(index: pa.Array, words: pa.Array) -> pa.Array:
    """Of some texts, the one that each row has, as a vocabulary: in that none is null or there twice."""
    distinct = words.dictionary_encode()
    return pa.DictionaryArray.from_arrays(distinct.indices.take(index).cast(INDEX), distinct.dictionary)


def _texts(octets: bytes, sizes: NDArray[Any], missing: Flags | None) -> pa.Array:
    buffers = [_validity(missing), pa.py_buffer(_offsets(sizes)), pa.py_buffer(octets)]
    return pa.Array.from_buffers(pa.string(), len(sizes), buffers)


def _offsets(sizes: NDArray[Any]) -> NDArray[np.int32]:
    return np.concatenate((np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)))


def _validity(missing: Flags | None) -> pa.Buffer | None:
    return None if missing is None or not missing.any() else pa.py_buffer(_bits(~missing))


def _bits(flags: Flags) -> NDArray[np.uint8]:
    return np.packbits(flags, bitorder="little")
