"""The report's page, live: a small server on loopback that feeds it with server-sent events.

`Publisher` takes what the capture has to tell and keeps the last of it; `Server` serves it in a thread of its own. It
needs starlette and uvicorn, the extra `web`.
"""

from __future__ import annotations

from .publisher import Publisher
from .server import Server

__all__ = ["Publisher", "Server"]
