"""Tests of the room `decap`."""
