"""The client against servers written by hand, so that its octets are judged by the RFCs and not by our proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from socks5sniff.client import (
    AuthenticationError,
    Client,
    ClientError,
    ClientFaults,
    NoMethodError,
    ProtocolError,
    RefusedError,
)
from socks5sniff.codec import Address
from tests.proxy.harness import HOST, run, serving

Result = TypeVar("Result")

GRANTED = b"\x05\x00\x00\x01\xcb\x00\x71\x09\x30\x39"


class Script:
    """A server: expects octets, answers with others, in turns; then echoes. `heard` is everything it got."""

    def __init__(self, *turns: tuple[int, bytes]) -> None:
        self.turns = turns
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for count, answer in self.turns:
            self.heard.append(await reader.readexactly(count))
            writer.write(answer)
        while octets := await reader.read(65536):
            self.heard.append(octets)
            writer.write(octets)


def against(script: Script, use: Callable[[Client], Awaitable[Result]], **options: object) -> Result:
    """What `use` makes of a client whose proxy is the script."""

    async def main() -> Result:
        async with serving(script) as port:
            return await use(Client(HOST, port, **options))  # type: ignore[arg-type]

    return run(main())


async def connect(client: Client) -> bytes:
    async with await client.connect("example.test", 80) as tunnel:
        tunnel.write(b"ping")
        return await tunnel.read_exactly(4)


REQUEST = b"\x05\x01\x00\x03\x0cexample.test\x00\x50"


class TestSocks5:
    def test_without_authentication(self) -> None:
        script = Script((3, b"\x05\x00"), (len(REQUEST), GRANTED))
        assert against(script, connect) == b"ping"
        assert script.heard[:2] == [b"\x05\x01\x00", REQUEST]

    def test_with_user_name_and_password(self) -> None:
        script = Script((4, b"\x05\x02"), (11, b"\x01\x00"), (len(REQUEST), GRANTED))
        assert against(script, connect, username="bob", password="horse") == b"ping"
        assert script.heard[:2] == [b"\x05\x02\x00\x02", b"\x01\x03bob\x05horse"]

    @pytest.mark.parametrize(
        ("host", "octets"),
        [
            ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
            ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
            (Address.domain("192.0.2.1", 80), b"\x03\x09192.0.2.1"),
        ],
    )
    def test_address_types(self, host: str | Address, octets: bytes) -> None:
        request = b"\x05\x01\x00" + octets + b"\x00\x50"
        script = Script((3, b"\x05\x00"), (len(request), GRANTED))

        async def use(client: Client) -> str:
            async with await client.connect(host, 80) as tunnel:
                return str(tunnel.bound)

        assert against(script, use) == "203.0.113.9:12345"
        assert script.heard[1] == request

    def test_octets_behind_the_reply_belong_to_the_tunnel(self) -> None:
        async def use(client: Client) -> bytes:
            async with await client.connect("example.test", 80) as tunnel:
                return await tunnel.read()

        assert against(Script((3, b"\x05\x00"), (len(REQUEST), GRANTED + b"SSH-2.0")), use) == b"SSH-2.0"

    def test_answers_in_pieces(self) -> None:
        async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for count, answer in ((3, b"\x05\x00"), (len(REQUEST), GRANTED), (4, b"pong")):
                await reader.readexactly(count)
                for octet in answer:
                    writer.write(bytes((octet,)))
                    await asyncio.sleep(0.001)

        async def main() -> bytes:
            async with serving(trickle) as port:
                return await connect(Client(HOST, port))

        assert run(main()) == b"pong"


class TestSocks4:
    @pytest.mark.parametrize(
        ("version", "host", "request_"),
        [
            ("4", "192.0.2.1", b"\x04\x01\x00\x50\xc0\x00\x02\x01bob\x00"),
            ("4a", "192.0.2.1", b"\x04\x01\x00\x50\xc0\x00\x02\x01bob\x00"),
            ("4a", "example.test", b"\x04\x01\x00\x50\x00\x00\x00\x01bob\x00example.test\x00"),
        ],
    )
    def test_requests(self, version: str, host: str, request_: bytes) -> None:
        script = Script((len(request_), b"\x00\x5a\x30\x39\xcb\x00\x71\x09"))

        async def use(client: Client) -> str:
            async with await client.connect(host, 80) as tunnel:
                return str(tunnel.bound)

        assert against(script, use, version=version, username="bob") == "203.0.113.9:12345"
        assert script.heard[0] == request_

    @pytest.mark.parametrize(("version", "host"), [("4", "example.test"), ("4", "::1"), ("4a", "::1")])
    def test_what_it_cannot_name(self, version: str, host: str) -> None:
        with pytest.raises(ValueError, match="cannot name"):
            against(Script(), lambda client: client.connect(host, 80), version=version)

    def test_rejection(self) -> None:
        with pytest.raises(RefusedError, match="identd mismatch") as refused:
            against(Script((9, b"\x00\x5d" + bytes(6))), lambda client: client.connect("192.0.2.1", 80), version="4")
        assert refused.value.code == 93


class TestRefusals:
    def test_reply(self) -> None:
        with pytest.raises(RefusedError, match="connection refused") as refused:
            against(Script((3, b"\x05\x00"), (len(REQUEST), b"\x05\x05" + GRANTED[2:])), connect)
        assert refused.value.code == 5
        assert refused.value.bound.port == 12345

    def test_a_failure_whose_address_type_is_none_still_tells_its_code(self) -> None:
        with pytest.raises(RefusedError, match="host unreachable"):
            against(Script((3, b"\x05\x00"), (len(REQUEST), b"\x05\x04\x00\x00" + bytes(6))), connect)

    def test_method(self) -> None:
        with pytest.raises(NoMethodError):
            against(Script((3, b"\x05\xff")), connect)

    def test_a_method_that_it_cannot_do(self) -> None:
        with pytest.raises(NoMethodError, match="chap"):
            against(Script((3, b"\x05\x03")), connect)

    def test_password(self) -> None:
        with pytest.raises(AuthenticationError):
            against(Script((4, b"\x05\x02"), (6, b"\x01\x01")), connect, username="bob", password="")

    @pytest.mark.parametrize(
        "script",
        [
            Script((3, b"")),
            Script((3, b"\x05\x00"), (len(REQUEST), b"\x05\x00\x00\x01\x01")),
            Script((3, b"\x05\x00"), (len(REQUEST), b"\x05\x00\x00\x09\x01\x01\x01")),
        ],
    )
    def test_a_proxy_that_is_none(self, script: Script) -> None:
        async def stop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for count, answer in script.turns:
                await reader.readexactly(count)
                writer.write(answer)

        async def main() -> None:
            async with serving(stop) as port:
                await connect(Client(HOST, port))

        with pytest.raises(ProtocolError):
            run(main())

    def test_a_proxy_that_says_nothing(self) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(-1)

        async def main() -> None:
            async with serving(silent) as port:
                await connect(Client(HOST, port, timeout=0.2))

        with pytest.raises(asyncio.TimeoutError):
            run(main())

    def test_nobody_there(self) -> None:
        async def main() -> None:
            async with serving(Script()) as port:
                pass
            await connect(Client(HOST, port))

        with pytest.raises(ConnectionError):
            run(main())

    @pytest.mark.parametrize("kind", [RefusedError, NoMethodError, AuthenticationError, ProtocolError])
    def test_all_are_of_one_kind(self, kind: type[Exception]) -> None:
        assert issubclass(kind, ClientError)

    def test_no_such_version(self) -> None:
        with pytest.raises(ValueError, match="no SOCKS version"):
            Client(HOST, 1, version="6")


class TestBehaviour:
    """Bad manners, as the server sees them."""

    def heard(self, turns: tuple[tuple[int, bytes], ...], faults: ClientFaults, **options: object) -> bytes:
        script = Script(*turns)

        async def use(client: Client) -> None:
            try:
                async with await client.connect("example.test", 80):
                    await asyncio.sleep(0.05)
            except (ClientError, asyncio.TimeoutError):
                await asyncio.sleep(0.05)

        against(script, use, faults=faults, timeout=0.5, **options)
        return b"".join(script.heard)

    USUAL = ((3, b"\x05\x00"), (len(REQUEST), GRANTED))

    @pytest.mark.parametrize("methods", [b"", b"\x00\x00", bytes(range(255))])
    def test_methods(self, methods: bytes) -> None:
        heard = self.heard(((2 + len(methods), b"\x05\x00"), self.USUAL[1]), ClientFaults(methods=methods))
        assert heard == bytes((5, len(methods))) + methods + REQUEST

    def test_pipelining(self) -> None:
        turns = ((4 + 6 + len(REQUEST), b"\x05\x02\x01\x00" + GRANTED),)
        heard = self.heard(turns, ClientFaults(pipeline=True), username="b", password="cd")
        assert heard == b"\x05\x02\x00\x02" + b"\x01\x01b\x02cd" + REQUEST

    def test_splitting(self) -> None:
        assert self.heard(self.USUAL, ClientFaults(segment=1)) == b"\x05\x01\x00" + REQUEST

    def test_optimistic_data(self) -> None:
        assert self.heard(self.USUAL, ClientFaults(optimistic=b"GET")) == b"\x05\x01\x00" + REQUEST + b"GET"

    def test_prelude(self) -> None:
        turns = ((5, b"\x05\x00"), self.USUAL[1])
        assert self.heard(turns, ClientFaults(prelude=b"hi")) == b"hi\x05\x01\x00" + REQUEST

    def test_wrong_versions_reserved_octets_and_lengths(self) -> None:
        faults = ClientFaults(
            versions={"greeting": 4, "request": 6}, reserved=9, lengths={"greeting": 7, "request": 99}
        )
        heard = self.heard(self.USUAL, faults)
        assert heard == b"\x04\x07\x00" + b"\x06\x01\x09\x03\x63" + REQUEST[5:]

    def test_lying_about_the_user_names_length(self) -> None:
        turns = ((4, b"\x05\x02"), (6, b"\x01\x00"), self.USUAL[1])
        heard = self.heard(turns, ClientFaults(lengths={"auth-request": 200}), username="b", password="cd")
        assert heard[4:10] == b"\x01\xc8b\x02cd"

    @pytest.mark.parametrize(("frame", "length"), [("greeting", 3), ("request", 3 + len(REQUEST))])
    def test_stopping(self, frame: str, length: int) -> None:
        assert len(self.heard(self.USUAL, ClientFaults(stop_after=frame))) == length


def test_it_remembers_the_frames_it_saw() -> None:
    async def use(client: Client) -> list[tuple[str, str, int]]:
        await connect(client)
        assert client.wire is not None
        return [tuple(frame) for frame in client.wire.witnessed]

    assert against(Script((3, b"\x05\x00"), (len(REQUEST), GRANTED)), use) == [
        ("client", "greeting", 3),
        ("proxy", "method-selection", 2),
        ("client", "request", len(REQUEST)),
        ("proxy", "reply", 10),
    ]


def test_udp_datagrams_go_to_the_proxys_address_where_bound_names_none() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[bytes] = loop.create_future()

        class Relay(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                received.set_result(data)

        relay, _ = await loop.create_datagram_endpoint(Relay, local_addr=(HOST, 0))
        port = relay.get_extra_info("sockname")[1].to_bytes(2, "big")
        try:
            script = Script((3, b"\x05\x00"), (10, b"\x05\x00\x00\x01" + bytes(4) + port))
            async with serving(script) as proxy, await Client(HOST, proxy).associate() as association:
                association.send(b"data", "192.0.2.1", 53)
                return await received
        finally:
            relay.close()

    assert run(main()) == b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35data"
