"""IEEE 802.11: data frames in clear lead to LLC (IEEE 802.11-2020 s9.3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .headers import HeaderPass, Peeler
from .kinds import Kind
from .links import taken
from .rows import U8, U16, U32, Column, Rows, gather, present

_DATA, _TYPE = 0x08, 0x0F
_QOS, _EMPTY = 0x80, 0x40
_BOTH_WAYS, _LATER, _PROTECTED, _ORDER = 0x03, 0x0F, 0x40, 0x80
_AGGREGATED = 0x80
_PADDED = 0x20
_SNAPPED = 0xAAAA0300
_EXTENSIONS = 16
"""Words of flags that a radiotap header may have."""


def _wlan(*, swapped: bool = False, padded: bool = False) -> Peeler:
    """Frames with a network card's habits.

    Args:
        swapped: the two octets of frame control are exchanged.
        padded: the header is filled up to 4 octets.
    """

    def peel(headers: HeaderPass, rows: Rows) -> None:
        rows = present(rows, headers.skipped, 2)
        control = gather(headers.memory, rows.at, U16).astype(np.int64)
        kinds, flags = (control & 0xFF, control >> 8) if swapped else (control >> 8, control & 0xFF)
        data = (kinds & _TYPE == _DATA) & (kinds & _EMPTY == 0)
        headers.skipped.other += int((~data).sum())
        rows, kinds, flags = taken(rows, data), kinds[data], flags[data]
        _data(headers, rows, kinds & _QOS != 0, flags, padded)

    return peel


def _data(headers: HeaderPass, rows: Rows, qos: NDArray[np.bool_], flags: Column, padded: bool) -> None:
    """Data frames: three or four addresses, quality of service, high throughput control; of aggregates the first."""
    memory = headers.memory
    sizes = 24 + 6 * (flags & _BOTH_WAYS == _BOTH_WAYS)
    ends = rows.at + sizes + 2 * qos
    there = ends + 8 <= rows.end
    headers.skipped.cut += int((~there).sum())
    rows, qos, flags, sizes, ends = taken(rows, there), qos[there], flags[there], sizes[there], ends[there]
    aggregated = qos & (gather(memory, ends - 2, U8) & _AGGREGATED != 0)
    ends = ends + 4 * (qos & (flags & _ORDER != 0))
    if padded:
        ends = rows.at + (ends - rows.at + 3 & ~3)
    ends = ends + 14 * aggregated
    # Some cards decrypt and leave the bit set, some access points number frames that are no fragments.
    clear = _clear(headers, ends, rows.end)
    sealed = ~clear & (flags & _PROTECTED != 0)
    later = ~clear & ~sealed & (gather(memory, rows.at + 22, U8) & _LATER != 0)
    headers.skipped.unread("fragments of IEEE 802.11 frames", int(later.sum()))
    headers.skipped.unread("encrypted IEEE 802.11 frames", int(sealed.sum()))
    headers.push(Kind.LLC, taken(rows._replace(at=ends), ~(later | sealed)))


def _clear(headers: HeaderPass, at: Column, end: Column) -> NDArray[np.bool_]:
    clear: NDArray[np.bool_] = at + 4 <= end
    clear[clear] = gather(headers.memory, at[clear], U32) == _SNAPPED
    return clear


def _radiotap(headers: HeaderPass, rows: Rows) -> None:
    """radiotap (https://www.radiotap.org): a length, words of flags that say which fields there are; one of the
    fields says that the frame's header is filled up."""
    memory = headers.memory
    rows = present(rows, headers.skipped, 8)
    sizes = gather(memory, rows.at + 2, _LITTLE16).astype(np.int64)
    present_words = gather(memory, rows.at + 4, _LITTLE32).astype(np.int64)
    at = np.full(rows.size, 8)
    more = present_words >> 31 != 0
    for _ in range(_EXTENSIONS):
        more &= rows.at + at + 4 <= rows.end
        if not more.any():
            break
        place = (rows.at + at)[more]
        at = at + 4 * more
        more[more] = gather(memory, place, _LITTLE32) >> 31 != 0
    at = np.where(present_words & 1 != 0, (at + 7 & ~7) + 8, at)  # behind the clock
    told = (present_words & 2 != 0) & (at < sizes) & (rows.at + at < rows.end)
    padded = np.zeros(rows.size, np.bool_)
    padded[told] = gather(memory, (rows.at + at)[told], U8) & _PADDED != 0
    rows = rows._replace(at=rows.at + np.maximum(sizes, 8))
    headers.push(Kind.WLAN, taken(rows, ~padded))
    headers.push(Kind.WLAN_PADDED, taken(rows, padded))


_LITTLE16 = np.dtype("<u2")
_LITTLE32 = np.dtype("<u4")

WLAN_PEELERS: dict[int, Peeler] = {
    Kind.WLAN: _wlan(),
    Kind.WLAN_SWAPPED: _wlan(swapped=True),
    Kind.WLAN_PADDED: _wlan(padded=True),
    Kind.RADIOTAP: _radiotap,
}
