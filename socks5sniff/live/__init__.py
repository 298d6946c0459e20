"""Frames from running interfaces: engines that all give frame batches, and what they need from the system."""

from __future__ import annotations
