"""Captures read by several processes, with the records of one reading."""

from __future__ import annotations
