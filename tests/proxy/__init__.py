"""Tests of the room `proxy`."""
