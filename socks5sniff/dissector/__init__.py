"""The Wireshark dissector: its generated tables, where it is installed, and tshark as a second opinion."""

from __future__ import annotations
