"""Networks that scenes play on: one in memory, and the loopback interface of a network namespace."""

from __future__ import annotations
