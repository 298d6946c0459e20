"""The server of the live page, in a thread of its own."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from ipaddress import ip_address
from typing import Any

from socks5sniff.errors import MissingError, OutputError
from socks5sniff.report import live_page, page_policy

from .guard import App, Guard
from .publisher import Publisher

GRACE = 2
"""Seconds that open streams have to end in."""
_CONNECTIONS = 64


class Server:
    """Serves what a publisher has.

    It is made while everything may still be read (imports happen here, not later), and listens from `start` on.

    Args:
        publisher: see there.
        host, port: address to listen at; port 0 is any free one.
        remote: `host` need not be a loopback address.

    Raises:
        MissingError: starlette or uvicorn is not installed.
        OutputError: `host` is no loopback address, and remote is off; or nobody may listen there.
    """

    def __init__(self, publisher: Publisher, host: str, port: int, remote: bool = False) -> None:
        try:
            import uvicorn
            from starlette.applications import Starlette  # noqa: F401
        except ImportError as error:
            raise MissingError('--web needs starlette and uvicorn: pip install "socks5sniff[web]"') from error
        self._publisher = publisher
        self._socket = _listening(host, port, remote)
        address = self._socket.getsockname()
        self.token = secrets.token_urlsafe(16)
        named = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{named}:{address[1]}/?token={self.token}"
        app = Guard(_application(publisher), self.token, address[1], remote, page_policy() + "; frame-ancestors 'none'")
        asyncio.run(_rehearse(app, f"{named}:{address[1]}", self.token))
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Answer browsers from now on."""
        self._socket.listen(128)
        self._thread.start()

    def stop(self) -> None:
        """Tell browsers that it is over, end their streams and stop listening."""
        self._publisher.close()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(GRACE + 3)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def _listening(host: str, port: int, remote: bool) -> socket.socket:
    """A socket bound to the address, not listening yet."""
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise OutputError(f"--web: {host!r} is not an IP address") from error
    if not (remote or address.is_loopback):
        raise OutputError(f"--web: {host} can be reached from other machines; if that is wanted, add --allow-remote")
    found = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((str(address), port))
    except OSError as error:
        found.close()
        raise OutputError(f"--web: {host}:{port}: {error.strerror or error}") from error
    return found


def _application(publisher: Publisher) -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response, StreamingResponse
    from starlette.routing import Route

    text = live_page()

    async def page(request: Request) -> Response:
        return HTMLResponse(text)

    async def events(request: Request) -> Response:
        after = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        number = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
        return StreamingResponse(publisher.events(number), media_type="text/event-stream")

    return Starlette(routes=[Route("/", page), Route("/events", events)])


async def _rehearse(app: App, host: str, token: str) -> None:
    """One request without a network, so that nothing is imported when rights have been given up."""
    cookie = f"socks5sniff-{host.rpartition(':')[2]}={token}"
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/events",
        "raw_path": b"/events",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            gone.set()

    await asyncio.wait_for(app(scope, receive, send), 10)
