"""Columns on the slots of the flow table: whoever knows something of flows keeps it in columns of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Rows = dict[str, NDArray[Any]]
"""Some slots of a table: its columns by name, `PAIRS` with one row for each direction."""


class SlotTable:
    """Arrays by slot. A subclass names them with their type and first value: `COLUMNS` are one value a slot,
    `PAIRS` one for each direction, indexed `[direction, slot]`."""

    COLUMNS: ClassVar[Mapping[str, tuple[type, int | bool]]] = {}
    PAIRS: ClassVar[Mapping[str, tuple[type, int | bool]]] = {}

    def __init__(self) -> None:
        self.capacity = 0
        self.grow(1)

    def grow(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        if capacity <= self.capacity:
            return
        for columns, directions in ((self.COLUMNS, ()), (self.PAIRS, (2,))):
            for name, (kind, value) in columns.items():
                column: NDArray[np.generic] = np.full((*directions, capacity), value, kind)
                if self.capacity:
                    column[..., : self.capacity] = getattr(self, name)
                setattr(self, name, column)
        self.capacity = capacity

    def rows(self, slots: NDArray[np.intp]) -> Rows:
        """What is known of these slots."""
        return {name: getattr(self, name)[..., slots] for names in (self.COLUMNS, self.PAIRS) for name in names}

    def put(self, slots: NDArray[np.intp], rows: Rows) -> None:
        """Know of these slots what another table of the same kind knew of some of its own."""
        for name, column in rows.items():
            getattr(self, name)[..., slots] = column

    def reset(self, slots: NDArray[np.intp]) -> None:
        """These slots begin anew."""
        for columns in (self.COLUMNS, self.PAIRS):
            for name, (_, value) in columns.items():
                getattr(self, name)[..., slots] = value
