"""Every fault of the table does what it says, seen in the octets that a client receives."""

from __future__ import annotations

import asyncio
import time

import pytest

from socks5sniff.client import ClientFaults
from socks5sniff.client.security import ScriptedContext
from socks5sniff.codec import Address, Greeting, GssapiMessage, Request
from socks5sniff.lab.scene import ECHO, PORT, PROXY, Scene
from socks5sniff.proxy import FAULTS, Faults, parse_faults
from socks5sniff.proxy.faults import FaultError

from .harness import on_scene

GREETING = Greeting(b"\x00").encode()
REQUEST = Request(1, Address.from_text(*ECHO)).encode()
BOUND = "000000000000"


class Heard:
    """What came from the proxy, segment by segment, and when (seconds)."""

    def __init__(self) -> None:
        self.segments: list[bytes] = []
        self.times: list[float] = []
        self.end = ""

    @property
    def octets(self) -> bytes:
        return b"".join(self.segments)


def hear(*faults: str, frames: tuple[bytes, ...] = (GREETING, REQUEST), **settings: object) -> Heard:
    """Say each frame when the proxy has answered the one before (or after a second), and listen to the end."""

    async def play(scene: Scene) -> Heard:
        await scene.echo()
        await scene.proxy(faults=parse_faults(faults), **settings)
        heard = Heard()
        answered = asyncio.Event()
        over = asyncio.Event()

        class Listener(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                heard.segments.append(data)
                heard.times.append(scene.loop.time())
                answered.set()

            def eof_received(self) -> None:
                heard.end = heard.end or "closed"
                over.set()

            def connection_lost(self, error: Exception | None) -> None:
                heard.end = "reset" if error else heard.end
                over.set()

        transport, _ = await scene.loop.create_connection(Listener, PROXY, PORT)
        for frame in frames:
            answered.clear()
            transport.write(frame)
            try:
                await asyncio.wait_for(answered.wait(), 3.0)
            except asyncio.TimeoutError:
                continue
        try:
            await asyncio.wait_for(over.wait(), 20.0)
        except asyncio.TimeoutError:
            heard.end = "open"
        transport.close()
        return heard

    return on_scene(play)


def test_without_faults() -> None:
    heard = hear()
    assert heard.segments[0] == b"\x05\x00"
    assert heard.segments[1][:4] == b"\x05\x00\x00\x01"
    assert heard.end == "open"


@pytest.mark.parametrize("code", [1, 2, 6, 0x33, 0xF0, 0xFF])
def test_reply(code: int) -> None:
    heard = hear(f"reply={code}")
    assert heard.segments[1] == bytes((5, code, 0, 1)) + bytes(6)
    assert heard.end == "closed"


def test_reply_zero_pretends() -> None:
    assert hear("reply=0").segments[1] == bytes((5, 0, 0, 1)) + bytes(6)


@pytest.mark.parametrize("code", [0x03, 0x42, 0x91])
def test_method(code: int) -> None:
    assert hear(f"method={code}").segments[0] == bytes((5, code))


def test_method_refused() -> None:
    heard = hear("method=0xff")
    assert heard.octets == b"\x05\xff"
    assert heard.end == "closed"


def test_long_refusal() -> None:
    assert hear("long-refusal").octets == b"\x05\xff" + bytes.fromhex("0001000000000000")


@pytest.mark.parametrize(("fault", "status"), [("auth-refuse", 1), ("auth-refuse=0xfe", 0xFE)])
def test_auth_refuse(fault: str, status: int) -> None:
    frames = (b"\x05\x01\x02", b"\x01\x05alice\x06secret")
    heard = hear(fault, frames=frames, users={b"alice": b"secret"})
    assert heard.octets == bytes((5, 2, 1, status))
    assert heard.end == "closed"


def test_version() -> None:
    heard = hear("version=method-selection:4", "version=reply:0x63")
    assert heard.segments[0] == b"\x04\x00"
    assert heard.segments[1][0] == 0x63


def test_version_of_the_authentication_reply() -> None:
    frames = (b"\x05\x01\x02", b"\x01\x05alice\x06secret")
    heard = hear("version=auth-reply:5", frames=frames, users={b"alice": b"secret"})
    assert heard.octets == b"\x05\x02\x05\x00"


def test_reserved() -> None:
    assert hear("reserved=0x7f").segments[1][:4] == b"\x05\x00\x7f\x01"


@pytest.mark.parametrize(
    ("bound", "octets"),
    [
        ("gw.test:80", b"\x03\x07gw.test\x00\x50"),
        ("[2001:db8::1]:81", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00\x51"),
        ("192.0.2.9:82", b"\x01\xc0\x00\x02\x09\x00\x52"),
    ],
)
def test_bound(bound: str, octets: bytes) -> None:
    assert hear(f"bound={bound}").segments[1] == b"\x05\x00\x00" + octets


def test_length() -> None:
    assert hear("bound=gw.test:80", "length=reply:200").segments[1] == b"\x05\x00\x00\x03\xc8gw.test\x00\x50"


def test_length_of_a_token() -> None:
    context = ScriptedContext(acceptor=False)
    frames = (b"\x05\x01\x01", GssapiMessage(1, context.step(None) or b"").encode())
    heard = hear("length=gssapi:9999", frames=frames, security=lambda: ScriptedContext(acceptor=True))
    assert heard.segments[1][:4] == b"\x01\x01\x27\x0f"


@pytest.mark.parametrize(("fault", "longest"), [("segment", 1), ("segment=3", 3)])
def test_segment(fault: str, longest: int) -> None:
    heard = hear(fault)
    assert max(map(len, heard.segments)) == longest
    assert heard.octets[:4] == b"\x05\x00\x05\x00"


def test_hold_puts_all_answers_into_one_segment() -> None:
    heard = hear("hold=5", frames=(GREETING + REQUEST,))
    assert heard.segments[0][:4] == b"\x05\x00\x05\x00"


def test_hold_gives_in_when_the_client_waits() -> None:
    heard = hear("hold=0.5")
    assert heard.segments[0] == b"\x05\x00"
    assert heard.times[0] >= 0.5


def test_delay() -> None:
    heard = hear("delay=method-selection:1.5", "delay=reply:2")
    assert heard.times[0] >= 1.5
    assert heard.times[1] - heard.times[0] >= 2


@pytest.mark.parametrize(("frame", "octets"), [("method-selection", b""), ("reply", b"\x05\x00")])
def test_silent(frame: str, octets: bytes) -> None:
    assert hear(f"silent={frame}").octets == octets


@pytest.mark.parametrize(("state", "octets"), [("accept", b""), ("method-selection", b""), ("reply", b"\x05\x00")])
@pytest.mark.parametrize(("how", "end"), [("close", "closed"), ("reset", "reset")])
def test_close_and_reset(how: str, end: str, state: str, octets: bytes) -> None:
    heard = hear(f"{how}={state}")
    assert (heard.octets, heard.end) == (octets, end)


@pytest.mark.parametrize(("how", "end"), [("close", "closed"), ("reset", "reset")])
def test_close_and_reset_in_the_relay(how: str, end: str) -> None:
    heard = hear(f"{how}=relay")
    assert heard.octets[:4] == b"\x05\x00\x05\x00"
    assert heard.end == end


def test_before_and_after() -> None:
    heard = hear("before=reply:48656c6c6f", "after=method-selection:0102")
    assert heard.segments[0] == b"\x05\x00\x01\x02"
    assert heard.segments[1][:9] == b"Hello\x05\x00\x00\x01"


def test_junk_after_failure() -> None:
    assert hear("reply=5", "junk-after-failure=ffff").octets == bytes.fromhex("050005050001" + BOUND + "ffff")


def test_junk_needs_a_failure() -> None:
    assert b"\xff\xff" not in hear("junk-after-failure=ffff").octets


def test_late_close() -> None:
    async def play(scene: Scene) -> float:
        await scene.proxy(faults=Faults(reply=1, late_close=12.0))
        reader, writer = await asyncio.open_connection(PROXY, PORT)
        writer.write(GREETING + REQUEST)
        await reader.read()
        return scene.loop.time()

    assert 12 <= on_scene(play) < 12.1


def test_udp_fragment_and_reserved() -> None:
    async def play(scene: Scene) -> list[bytes]:
        await scene.udp_server(ECHO)
        await scene.proxy(faults=Faults(udp_fragment=4, udp_reserved=0x0102))
        association = await scene.client(faults=ClientFaults()).associate()
        received: list[bytes] = []
        association.datagram_received = lambda data, addr: received.append(data)  # type: ignore[method-assign]
        association.send(b"ten octets", *ECHO)
        await scene.settle()
        await association.close()
        return received

    datagrams = on_scene(play)
    assert [datagram[:3] for datagram in datagrams] == [b"\x01\x02\x01", b"\x01\x02\x02", b"\x01\x02\x83"]
    assert b"".join(datagram[10:] for datagram in datagrams) == b"ten octets"


def answered(fault: str) -> tuple[list[tuple[bytes, int]], tuple[str, int], int]:
    """What an association's client receives with the port it comes from, the client's own address, and BND's port."""

    async def play(scene: Scene) -> tuple[list[tuple[bytes, int]], tuple[str, int], int]:
        await scene.udp_server(ECHO)
        await scene.proxy(faults=parse_faults([fault]))
        association = await scene.client().associate()
        received: list[tuple[bytes, int]] = []
        association.datagram_received = lambda data, addr: received.append((data, addr[1]))  # type: ignore[method-assign]
        association.send(b"ten octets", *ECHO)
        await scene.settle()
        own = association.local
        await association.close()
        return received, own, association.bound.port

    return on_scene(play)


def test_udp_other_port() -> None:
    ((data, port),), _, bound = answered("udp-other-port")
    assert data[10:] == b"ten octets"
    assert port != bound


def test_udp_no_header() -> None:
    ((data, port),), _, bound = answered("udp-no-header")
    assert (data, port) == (b"ten octets", bound)


def test_udp_names_client() -> None:
    ((data, _),), own, _ = answered("udp-names-client")
    assert data == b"\0\0\0" + Address.from_text(*own).encode() + b"ten octets"


def test_bound_port() -> None:
    assert hear("bound-port=7").segments[1][-2:] == b"\0\7"
    assert hear("bound=10.1.2.3:5", "bound-port=0").segments[1] == bytes.fromhex("05000001 0a010203 0000")


@pytest.mark.parametrize(("octets", "heard"), [(4, "05000500 0001"), (1, "050005"), (0, "0500")])
def test_cut(octets: int, heard: str) -> None:
    conversation = hear(f"cut=reply:{octets}")
    assert conversation.octets == bytes.fromhex(heard)
    assert conversation.end == "closed"


class TestNames:
    def test_every_row_is_explained_and_can_be_set(self) -> None:
        example = {"": "", "[=STATUS]": "1", "[=OCTETS]": "1", "[=SECONDS]": "1", "=CODE": "1", "=OCTETS": "1"}
        example |= {
            "=FRAME:OCTETS": "reply:9",
            "=FRAME:CODE": "reply:1",
            "=FRAME:HEX": "reply:00",
            "=FRAME:SECONDS": "reply:1",
            "=HEX": "00",
        }
        example |= {"=HOST:PORT": "a:1", "=PORT": "1", "=FRAME": "reply", "=STATE": "relay", "=SECONDS": "1"}
        for name, fault in FAULTS.items():
            assert fault.help
            assert fault.set(Faults(), example[fault.value]) != Faults(), name

    def test_one_conversation_alone(self) -> None:
        choose = parse_faults(["reply=5@2", "long-refusal@3", "reserved=1"])
        assert choose(1) == Faults(reserved=1)
        assert choose(2) == Faults(reply=5, reserved=1)
        assert choose(3).method == 0xFF
        assert choose(4) == Faults(reserved=1)

    def test_several_frames(self) -> None:
        faults = parse_faults(["version=reply:4", "version=auth-reply:5"])(1)
        assert faults.version == {"reply": 4, "auth-reply": 5}

    @pytest.mark.parametrize(
        "argument",
        [
            "",
            "nonsense",
            "reply=256",
            "reply=-1",
            "reply=x",
            "reply",
            "version=greeting:5",
            "version=reply",
            "silent=relay",
            "close=nowhere",
            "after=reply:xyz",
            "after=reply:",
            "delay=reply:0",
            "delay=reply:nan",
            "bound=host",
            "bound=host:70000",
            "reply=5@x",
            "udp-fragment=",
            "length=200",
        ],
    )
    def test_what_is_not_understood_is_said(self, argument: str) -> None:
        with pytest.raises(FaultError) as error:
            parse_faults([argument])
        assert "\n" not in str(error.value)


def test_choosing_faults_costs_an_honest_conversation_nothing() -> None:
    choose = parse_faults([])
    begin = time.perf_counter()
    for number in range(10_000):
        choose(number)
    assert time.perf_counter() - begin < 1
