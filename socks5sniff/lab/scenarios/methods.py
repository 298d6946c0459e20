"""Method negotiation and authentication (RFC 1928 s3, RFC 1929, RFC 1961)."""

from __future__ import annotations

from typing import Any

from socks5sniff.client import (
    AuthenticationError,
    Client,
    ClientFaults,
    NoMethodError,
    ProtocolError,
    Witnessed,
)
from socks5sniff.client.security import ScriptedContext
from socks5sniff.codec import Method, ProtectionLevel, method_name
from socks5sniff.lab.scenarios.exchanges import WEB_NAME, failing, fetch, http
from socks5sniff.lab.scenarios.registry import scenario
from socks5sniff.lab.scene import WEB, Scene
from socks5sniff.lab.truth import reply, target
from socks5sniff.proxy.faults import Faults
from socks5sniff.record import MASKED_PASSWORD

USERS = {b"alice": b"correct horse", "jürgen".encode("latin-1"): b"\x00\xff", b"bob": b"", b"": b"nameless"}
PASSWORD = {
    "methods": ["no-authentication", "username-password"],
    "method": "username-password",
    "password": MASKED_PASSWORD,
    "authenticated": True,
    "anomalies": ["cleartext-credentials"],
}
NOTHING: dict[str, Any] = {"tunnel": None, "bytes": None, "destination": None, "reply": None, "bound": None}


@scenario("username/password, accepted")
async def auth_password(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS)
    client = scene.client(username="alice", password="correct horse")
    await fetch(scene, client, web, **PASSWORD, username="alice")


@scenario("username/password between loopback addresses, where no one else can read the password")
async def auth_password_loopback(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy("127.0.0.1", users=USERS)
    client = scene.client("127.0.0.1", local=("127.0.0.1", 0), username="alice", password="correct horse")
    await fetch(scene, client, web, **{**PASSWORD, "anomalies": []}, username="alice")


@scenario("username/password, refused; the client leaves")
async def auth_refused(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(users=USERS)
    client = scene.client(username="alice", password="wrong")
    await failing(client.connect(WEB_NAME, 80), AuthenticationError)
    scene.expect(
        client,
        **{
            **PASSWORD,
            **NOTHING,
            "anomalies": ["auth-failed", "cleartext-credentials"],
            "authenticated": False,
            "username": "alice",
            "phase": "authentication",
            "outcome": "auth-failed",
            "command": None,
            "closed_by": "proxy",
        },
    )


@scenario("an empty password, accepted")
async def auth_empty_password(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS)
    client = scene.client(username="bob", password="")
    await fetch(
        scene,
        client,
        web,
        **{**PASSWORD, "anomalies": ["cleartext-credentials", "empty-credential"]},
        username="bob",
    )


@scenario("an empty user name, accepted")
async def auth_empty_user(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS)
    client = scene.client(username="", password="nameless")
    await fetch(
        scene,
        client,
        web,
        **{**PASSWORD, "anomalies": ["cleartext-credentials", "empty-credential"]},
        username="",
    )


@scenario("a user name that is not UTF-8, and a password with NUL")
async def auth_binary(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS)
    client = scene.client(username="jürgen".encode("latin-1"), password=b"\x00\xff")
    await fetch(scene, client, web, **PASSWORD, username="j\\xfcrgen")


@scenario("username/password offered and not asked for")
async def auth_offered(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client(username="alice", password="correct horse")
    await fetch(scene, client, web, methods=["no-authentication", "username-password"])


@scenario("the proxy answers username/password with VER 05 instead of 01")
async def auth_version(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(users=USERS, faults=Faults(version={"auth-reply": 5}))
    client = scene.client(username="alice", password="correct horse")
    facts = {**PASSWORD, "anomalies": ["auth-version", "cleartext-credentials"]}
    await fetch(scene, client, web, **facts, username="alice")


async def refuse_methods(scene: Scene, client: Client, methods: list[str], anomalies: list[str]) -> None:
    await failing(client.connect(WEB_NAME, 80), NoMethodError)
    scene.expect(
        client,
        **NOTHING,
        methods=methods,
        method="no-acceptable-method",
        phase="greeting",
        outcome="no-acceptable-method",
        command=None,
        closed_by="proxy",
        anomalies=anomalies,
    )


@scenario("a proxy that wants a password, a client that has none: METHOD FF")
async def method_none_acceptable(scene: Scene) -> None:
    await scene.proxy(users=USERS)
    await refuse_methods(scene, scene.client(), ["no-authentication"], ["no-acceptable-method"])


@scenario("METHOD FF followed by eight octets, as some servers send it")
async def method_refusal_too_long(scene: Scene) -> None:
    faults = Faults(method=0xFF, after={"method-selection": bytes((0, 1, 0, 0, 0, 0, 0, 0))})
    await scene.proxy(faults=faults)
    await refuse_methods(scene, scene.client(), ["no-authentication"], ["no-acceptable-method", "refusal-too-long"])


@scenario("a greeting without methods (NMETHODS 0)")
async def method_none_offered(scene: Scene) -> None:
    await scene.proxy()
    client = scene.client(faults=ClientFaults(methods=b""))
    await refuse_methods(scene, client, [], ["no-acceptable-method", "no-methods-offered"])


@scenario("a greeting with all 255 methods below FF, unassigned and private ones among them")
async def method_all_offered(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    methods = bytes(range(255))
    client = scene.client(faults=ClientFaults(methods=methods))
    await fetch(scene, client, web, methods=[method_name(method) for method in methods])


@scenario("a method listed twice")
async def method_twice(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy()
    client = scene.client(faults=ClientFaults(methods=b"\x00\x02\x00"))
    methods = ["no-authentication", "username-password", "no-authentication"]
    await fetch(scene, client, web, methods=methods, anomalies=["duplicate-methods"])


@scenario("the proxy chooses a method that was not offered")
async def method_not_offered(scene: Scene) -> None:
    await scene.proxy(faults=Faults(method=Method.CHAP))
    client = scene.client(faults=ClientFaults(stop_after="greeting"))
    await failing(client.connect(WEB_NAME, 80), ProtocolError)
    scene.expect(
        client,
        **NOTHING,
        method="chap",
        outcome="incomplete",
        command=None,
        closed_by="proxy",
        anomalies=["method-not-offered"],
        frames=[Witnessed("client", "greeting", 3), Witnessed("proxy", "method-selection", 2)],
    )
    scene.forget("phase")  # whether an unknown sub-negotiation was reached is a matter of taste


GSSAPI = {"methods": ["no-authentication", "gssapi"], "method": "gssapi", "authenticated": True}


def context() -> ScriptedContext:
    return ScriptedContext(acceptor=False)


@scenario("GSSAPI with integrity protection: request, reply and tunnel are readable inside the tokens")
async def gssapi_integrity(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(security=lambda: ScriptedContext(acceptor=True))
    client = scene.client(security=context, level=ProtectionLevel.INTEGRITY)
    tunnel = await client.connect(WEB_NAME, 80)
    seen = await http(tunnel)
    del seen["bytes"]  # those inside GSSAPI tokens are not counted
    scene.expect(
        client,
        **GSSAPI,
        **seen,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*web.peers[0]),
        bytes=None,
        frames=None,
    )


@scenario("GSSAPI with confidentiality: everything after the level is sealed")
async def gssapi_confidentiality(scene: Scene) -> None:
    await scene.web()
    await scene.proxy(security=lambda: ScriptedContext(acceptor=True))
    client = scene.client(security=context)
    await http(await client.connect(WEB_NAME, 80))
    facts = {**NOTHING, "command": None, "phase": "request", "outcome": "incomplete"}
    scene.expect(client, **GSSAPI, **facts, closed_by="proxy", frames=None)


@scenario("GSSAPI as NEC's programs do it: the protection level goes unwrapped")
async def gssapi_nec(scene: Scene) -> None:
    web = await scene.web()
    await scene.proxy(security=lambda: ScriptedContext(acceptor=True))
    client = scene.client(security=context, level=ProtectionLevel.INTEGRITY, faults=ClientFaults(bare_level=True))
    seen = await http(await client.connect(WEB_NAME, 80))
    del seen["bytes"]
    scene.expect(
        client,
        **GSSAPI,
        **seen,
        destination=target(WEB_NAME, 80),
        reply=reply(0),
        bound=target(*web.peers[0]),
        bytes=None,
        anomalies=["gssapi-level-unprotected"],
        frames=None,
    )


@scenario("GSSAPI refused: the proxy aborts the sub-negotiation")
async def gssapi_refused(scene: Scene) -> None:
    await scene.proxy(security=lambda: ScriptedContext(acceptor=True, refuse=True))
    client = scene.client(security=context)
    await failing(client.connect(*WEB), AuthenticationError)
    scene.expect(
        client,
        **{
            **GSSAPI,
            **NOTHING,
            "authenticated": False,
            "command": None,
            "phase": "authentication",
            "outcome": "auth-failed",
            "closed_by": "proxy",
            "anomalies": ["auth-failed"],
        },
    )
