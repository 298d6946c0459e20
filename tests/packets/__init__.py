"""Tests of the room `packets`."""
