"""Tests of the room `dissector`."""
