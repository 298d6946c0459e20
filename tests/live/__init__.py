"""Tests of the room `live`, most of them in network namespaces of their own."""
