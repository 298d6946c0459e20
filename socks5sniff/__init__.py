"""Capture and analyse SOCKS traffic."""

__version__ = "0.1.0"
