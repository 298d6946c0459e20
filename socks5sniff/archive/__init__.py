"""Captures read by several processes, with the records of one reading."""
