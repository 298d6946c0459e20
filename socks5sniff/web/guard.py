"""Who may see the page: whoever has the token of the printed URL, asking for a name that is this server's.

A page of live traffic is worth attacking from other pages of the same browser. The token keeps out everybody else on
the machine and the network; the cookie that replaces it is SameSite=Strict, so other sites' pages cannot use it; the
Host header is looked at, so that a name that an attacker points to 127.0.0.1 gets nothing (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer."""


class Guard:
    """An ASGI application in front of another one, which only gets requests that may be answered.

    Args:
        app: what is guarded.
        token: what the printed URL has as `token`.
        port: the server's.
        remote: other addresses than loopback's may be asked for, too.
        policy: Content-Security-Policy of every answer.
    """

    def __init__(self, app: App, token: str, port: int, remote: bool, policy: str) -> None:
        self._app = app
        self._token = token
        self._port = port
        self._remote = remote
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        self._headers.append((b"content-security-policy", policy.encode()))
        self._cookie = f"socks5sniff-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = {name: value.decode("latin-1") for name, value in scope["headers"]}
        headers = list(self._headers)

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        if scope["method"] != "GET":
            headers.append((b"allow", b"GET"))
            return await _refuse(guarded, 405, "only GET is answered")
        if not self._is_ours(given.get(b"host", "")):
            return await _refuse(guarded, 421, "this server has another name")
        if self._same(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]):
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            headers.append((b"set-cookie", cookie.encode()))
        elif not self._same(self._cookie_of(given.get(b"cookie", ""))):
            return await _refuse(guarded, 403, "open the address that socks5sniff has printed, with its token")
        await self._app(scope, receive, guarded)

    def _same(self, text: str) -> bool:
        return compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def _cookie_of(self, header: str) -> str:
        try:
            found = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header is this server's: localhost or an address (loopback, unless remote), and its port."""
        name, _, port = host.rpartition(":")
        if port != str(self._port):
            return False
        if name.lower() == "localhost":
            return True
        try:
            address = ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
        except ValueError:
            return False
        return self._remote or address.is_loopback


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{why}\n".encode()})
