"""TCP connections as rows of columns, and their octets in order."""

from __future__ import annotations
