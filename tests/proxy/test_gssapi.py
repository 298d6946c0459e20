"""GSSAPI (RFC 1961): the sub-negotiation and the encapsulation, with a security context that needs no realm."""

from __future__ import annotations

import asyncio
import builtins
import sys
import types
from contextlib import suppress
from typing import Any

import pytest

from socks5sniff.client import AuthenticationError, Client, ClientFaults
from socks5sniff.client.security import NO_PROTECTION, KerberosContext, Protection, ScriptedContext, SecurityError
from socks5sniff.codec import GssapiMessage, ProtectionLevel, unwrap_readable
from socks5sniff.errors import MissingError
from socks5sniff.lab.scene import ECHO, PORT, PROXY, Scene

from .harness import on_scene


def through(level: int = ProtectionLevel.CONFIDENTIALITY, octets: bytes = b"hello", bare: bool = False) -> Any:
    """Send octets through a GSSAPI tunnel: what came back, what crossed, and who the proxy says it was."""

    async def play(scene: Scene) -> Any:
        await scene.echo()
        log: list[Any] = []
        proxy = await scene.proxy(security=lambda: ScriptedContext(acceptor=True))
        proxy._log = log.append
        client = scene.client(
            security=lambda: ScriptedContext(acceptor=False), level=level, faults=ClientFaults(bare_level=bare)
        )
        tunnel = await client.connect(*ECHO)
        tunnel.write(octets)
        answer = await tunnel.read_exactly(len(octets))
        await tunnel.close()
        await scene.settle()
        crossed = b"".join(packet.payload for packet in scene.packets if getattr(packet, "flow", 1) == 0)
        return answer, crossed, log[0]

    return on_scene(play)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("length", [1, 200_000])
def test_the_tunnel_carries_octets_at_every_level(level: int, bare: bool, length: int) -> None:
    octets = bytes(at % 251 for at in range(length))
    assert through(level, octets, bare)[0] == octets


def test_confidential_octets_do_not_cross_in_clear_and_others_do() -> None:
    assert b"a secret" not in through(ProtectionLevel.CONFIDENTIALITY, b"a secret")[1]
    assert b"a secret" in through(ProtectionLevel.INTEGRITY, b"a secret")[1]


def test_without_protection_request_and_tunnel_cross_in_clear() -> None:
    _, crossed, log = through(NO_PROTECTION, b"no secret")
    assert b"\x05\x01\x00\x01" in crossed
    assert b"no secret" in crossed
    assert " alice@EXAMPLE.TEST connect " in str(log)


def test_the_log_names_the_principal() -> None:
    assert " alice@EXAMPLE.TEST connect " in str(through()[2])


def test_a_refused_context_is_aborted() -> None:
    async def play(scene: Scene) -> None:
        await scene.proxy(security=lambda: ScriptedContext(acceptor=True, refuse=True))
        await scene.client(security=lambda: ScriptedContext(acceptor=False)).connect(*ECHO)

    with pytest.raises(AuthenticationError):
        on_scene(play)


def test_a_proxy_that_has_lost_its_keytab_aborts() -> None:
    def lost() -> ScriptedContext:
        raise SecurityError("GSSAPI: no keytab")

    async def play(scene: Scene) -> None:
        await scene.proxy(security=lost)
        await scene.client(security=lambda: ScriptedContext(acceptor=False)).connect(*ECHO)

    with pytest.raises(AuthenticationError):
        on_scene(play)


@pytest.mark.parametrize(
    "octets",
    [
        GssapiMessage(1, b"no token of Kerberos").encode(),
        GssapiMessage(2, b"\x01").encode(),
        GssapiMessage(3, b"").encode(),
        GssapiMessage(0xFF).encode(),
    ],
)
def test_what_is_no_context_is_aborted(octets: bytes) -> None:
    async def play(scene: Scene) -> bytes:
        await scene.proxy(security=lambda: ScriptedContext(acceptor=True))
        reader, writer = await asyncio.open_connection(PROXY, PORT)
        writer.write(b"\x05\x01\x01")
        await reader.readexactly(2)
        writer.write(octets)
        return await reader.read()

    assert on_scene(play) == b"\x01\xff"


def test_a_client_that_asked_for_protection_does_not_go_on_without() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = ScriptedContext(acceptor=True)
        await reader.readexactly(4)
        writer.write(b"\x05\x01")
        _, length = await reader.readexactly(2), int.from_bytes(await reader.readexactly(2), "big")
        token = context.step(await reader.readexactly(length)) or b""
        writer.write(GssapiMessage(1, token).encode() + GssapiMessage(2, context.wrap(b"\x00", False)).encode())

    async def play() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            client = Client("127.0.0.1", port, security=lambda: ScriptedContext(acceptor=False))
            with pytest.raises(SecurityError, match="no protection"):
                await client.connect("127.0.0.1", 7)

    asyncio.run(play())


@pytest.mark.parametrize("octets", [b"\x05\x01\x00", GssapiMessage(1, b"x").encode(), GssapiMessage(3, b"x").encode()])
def test_octets_outside_the_encapsulation_end_the_conversation(octets: bytes) -> None:
    async def play(scene: Scene) -> bytes:
        proxy = await scene.proxy(security=lambda: ScriptedContext(acceptor=True), handshake_timeout=5)
        reader, writer = await asyncio.open_connection(PROXY, PORT)
        context = ScriptedContext(acceptor=False)
        writer.write(b"\x05\x01\x01" + GssapiMessage(1, context.step(None) or b"").encode())
        await scene.settle()
        writer.write(GssapiMessage(2, context.wrap(b"\x01", False)).encode())
        await scene.settle()
        writer.write(octets)
        with suppress(ConnectionResetError):  # a protected conversation that is broken ends at once
            await reader.read()
        await scene.settle()
        assert proxy.active == 0
        return octets

    assert on_scene(play) == octets


class TestProtection:
    @pytest.mark.parametrize("level", [1, 2])
    @pytest.mark.parametrize("step", [1, 7, 100_000])
    def test_octets_come_out_as_they_went_in_however_they_are_cut(self, level: int, step: int) -> None:
        octets = bytes(at % 256 for at in range(70_000))
        wire = Protection(ScriptedContext(True), level).seal(octets)
        other = Protection(ScriptedContext(False), level)
        opened = b"".join(other.open(wire[at : at + step]) for at in range(0, len(wire), step))
        assert opened == octets

    def test_frames_stay_within_what_their_length_field_can_say(self) -> None:
        wire = Protection(ScriptedContext(True), 1).seal(bytes(100_000))
        assert int.from_bytes(wire[2:4], "big") < 0x10000

    def test_other_frames_are_an_error(self) -> None:
        with pytest.raises(SecurityError):
            Protection(ScriptedContext(True), 1).open(GssapiMessage(1, b"x").encode())


class TestScriptedContext:
    def test_its_unsealed_tokens_are_those_of_rfc_4121(self) -> None:
        assert unwrap_readable(ScriptedContext(True).wrap(b"plain", False)) == b"plain"
        assert unwrap_readable(ScriptedContext(True).wrap(b"plain", True)) is None

    @pytest.mark.parametrize("token", [b"", b"\x05\x04", bytes(16), b"\x05\x04\x00\xff\xff\xff" + bytes(10)])
    def test_broken_tokens_are_an_error(self, token: bytes) -> None:
        with pytest.raises(SecurityError):
            ScriptedContext(True).unwrap(token)


class TestKerberosContext:
    """The adapter to the `gssapi` package, with a stand-in of the same shape."""

    keytab = True

    class GSSError(Exception):
        pass

    @pytest.fixture
    def package(self, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
        failure = self.GSSError

        class Result:
            def __init__(self, message: bytes) -> None:
                self.message = message

        class Context:
            __DEFER_STEP_ERRORS__ = True

            def __init__(self, name: str | None = None, creds: str | None = None, usage: str = "") -> None:
                if name == "nobody@here":
                    raise failure("no such service")
                self.complete = False
                self.initiator_name = "alice@EXAMPLE.TEST" if usage == "accept" else None

            def step(self, token: bytes | None) -> bytes | None:
                if token == b"bad" and self.__DEFER_STEP_ERRORS__:
                    return b"an error token"
                if token == b"bad":
                    raise failure("bad token")
                self.complete = True
                return b"" if token else b"first"

            def wrap(self, octets: bytes, encrypt: bool) -> Result:
                return Result((b"S" if encrypt else b"I") + octets)

            def unwrap(self, token: bytes) -> Result:
                if token == b"bad":
                    raise failure("bad token")
                return Result(token[1:])

        def credentials(usage: str) -> str:
            if not self.keytab:
                raise failure("no keytab")
            return usage

        module = types.ModuleType("gssapi")
        module.Credentials = credentials  # type: ignore[attr-defined]
        module.SecurityContext = Context  # type: ignore[attr-defined]
        module.Name = lambda text, kind: text  # type: ignore[attr-defined]
        module.NameType = types.SimpleNamespace(hostbased_service=1)  # type: ignore[attr-defined]
        module.exceptions = types.SimpleNamespace(GSSError=failure)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gssapi", module)
        return module

    def test_it_speaks_for_both_ends(self, package: types.ModuleType) -> None:
        initiator, acceptor = KerberosContext("rcmd@proxy.test"), KerberosContext()
        assert initiator.step(None) == b"first"
        assert acceptor.step(b"first") is None
        assert acceptor.complete
        assert acceptor.peer == "alice@EXAMPLE.TEST"
        assert initiator.peer is None
        assert acceptor.unwrap(initiator.wrap(b"x", True)) == b"x"

    def test_its_failures_are_security_errors(self, package: types.ModuleType) -> None:
        with pytest.raises(SecurityError, match="no such service"):
            KerberosContext("nobody@here")
        with pytest.raises(SecurityError, match="bad token"):
            KerberosContext().step(b"bad")
        with pytest.raises(SecurityError, match="bad token"):
            KerberosContext().unwrap(b"bad")

    def test_a_missing_keytab_is_noticed_before_any_client_comes(self, package: types.ModuleType) -> None:
        self.keytab = False
        with pytest.raises(SecurityError, match="no keytab"):
            KerberosContext()

    def test_without_the_package_it_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = builtins.__import__

        def absent(name: str, *rest: Any, **options: Any) -> Any:
            if name == "gssapi":
                raise ImportError(name)
            return original(name, *rest, **options)

        monkeypatch.delitem(sys.modules, "gssapi", raising=False)
        monkeypatch.setattr(builtins, "__import__", absent)
        with pytest.raises(MissingError, match="pip install"):
            KerberosContext()
