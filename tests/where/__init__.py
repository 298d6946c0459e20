"""Tests of the room `where`."""
