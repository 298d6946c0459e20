"""Which local process has a connection.

`asking` is the side of the capture; `helper` is a process of its own that looks, with `watching` under Linux and with
`scanning` elsewhere.
"""

from __future__ import annotations

from typing import Any

Endpoints = tuple[str, int, str, int]
"""Address and port of the client, and of the proxy."""

Process = dict[str, Any]
"""`pid` and `name`, and `container` where the process is in one that is known."""
