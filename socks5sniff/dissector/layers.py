"""pyshark, and all there is to know about it, in one place: SOCKS layers of a capture as tshark decodes them.

pyshark's traps, and what is done about each:
- it runs on an asyncio event loop of its own making, and fails inside a running one or in a thread without one: it
  gets a fresh loop, in a thread of its own;
- at the end of its output it kills tshark and asks for the exit status in two places at once, so that a status is
  lost or made up (255) and a failure goes unnoticed: here tshark's end is waited for;
- a capture that is not closed leaves a tshark process behind: it is closed whatever happens;
- all packets are kept unless it is told not to;
- without tshark it raises its own exception, and when tshark fails another one: both become ours, in one line;
- fields are attributes whose names depend on tshark's version: only the names in the PDML are used, and all values
  of a field that occurs more than once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from socks5sniff.errors import InputError, MissingError, Socks5sniffError

from .files import lua_file
from .tshark import find_tshark, loads_script, own_settings, skips_user_scripts, version

HEURISTICS_FIRST = {"tcp.try_heuristic_first": "TRUE", "udp.try_heuristic_first": "TRUE"}
"""A port in Wireshark's own table would otherwise win over our heuristics. The built-in has none."""

PREFERENCES = {
    "tcp.reassemble_out_of_order": "TRUE",
    # What is inside tunnels is not compared; reassembling large HTTP bodies takes quadratic time.
    "http.desegment_body": "FALSE",
}


class Layer(NamedTuple):
    """One SOCKS layer of one packet."""

    frame: int
    stream: int | None
    """`tcp.stream`; None in a UDP datagram."""
    fields: dict[str, list[str]]
    """Values by field name, in order of appearance, as PDML's `show` has them."""

    def one(self, name: str) -> str | None:
        """The field's first value, or None."""
        values = self.fields.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of the field."""
        return self.fields.get(name, [])


def socks_layers(capture: str, builtin: bool = False, ports: tuple[int, ...] = ()) -> list[Layer]:
    """Every SOCKS layer that tshark finds in a capture file, in the order of packets and of layers in a packet.

    Args:
        capture: the file's name.
        builtin: with Wireshark's own `socks` dissector instead of our Lua one.
        ports: further ports that are a proxy's.

    Raises:
        InputError: the capture cannot be read.
        MissingError: tshark or pyshark is missing, or this tshark does not load Lua.
        Socks5sniffError: tshark failed.
    """
    find_tshark()
    if not Path(capture).is_file():
        raise InputError(f"{capture}: no such file")
    if not builtin:
        require_lua()
    return _in_thread(lambda: _read(capture, builtin, ports))


def require_lua() -> None:
    """Raise MissingError when the tshark that is installed would not load our Lua file, with what to do."""
    found = version()
    if found.lua is None:
        raise MissingError(f"tshark {found} was built without Lua: install one that has it")
    if skips_user_scripts() and not loads_script(lua_file()):
        raise MissingError(
            f"tshark {found} loads no user's Lua scripts for root: run this as another user, or see "
            "`socks5sniff dissector check`"
        )


def _read(capture: str, builtin: bool, ports: tuple[int, ...]) -> list[Layer]:
    try:
        import pyshark
        from pyshark.tshark.tshark import TSharkNotFoundException, TSharkVersionException
    except ImportError as error:
        raise MissingError("pyshark is not installed: pip install pyshark") from error

    class Source(pyshark.FileCapture):  # type: ignore[misc]
        """A capture that lets tshark end by itself once its output has ended, and keeps its exit status."""

        status = 0

        async def _cleanup_subprocess(self, process: asyncio.subprocess.Process) -> None:
            if not self._eof_reached and process.returncode is None:
                process.kill()
            self.status = await process.wait()
            self._running_processes.discard(process)
            await asyncio.gather(*self._stderr_handling_tasks)

    protocol = "socks" if builtin else "socks5"
    preferences = dict(PREFERENCES)
    # Two passes, so that a frame that only looked like SOCKS until the answer came is not counted.
    parameters: list[str] = ["-n", "-2"]
    if builtin:
        for port in ports:
            parameters += ["-d", f"tcp.port=={port},socks"]
    else:
        preferences.update(HEURISTICS_FIRST)
        parameters += ["-X", f"lua_script:{lua_file()}"]
        if ports:
            preferences["socks5.ports"] = ",".join(map(str, (1080, 9050, 9150, *ports)))
    loop = asyncio.new_event_loop()
    layers: list[Layer] = []
    with own_settings():
        source = None
        try:
            # The filter makes tshark fail, rather than answer nothing, when the Lua file was not loaded.
            source = Source(
                capture,
                display_filter=protocol,
                keep_packets=False,
                eventloop=loop,
                tshark_path=find_tshark(),
                override_prefs=preferences,
                custom_parameters=parameters,
            )
            for packet in source:
                layers += _layers(packet, protocol)
            if source.status:
                raise Socks5sniffError(f"tshark cannot read {capture}: {source._last_error_line or source.status}")
        except TSharkNotFoundException as error:
            raise MissingError("tshark is not installed") from error
        except TSharkVersionException as error:
            raise MissingError(f"tshark is too old for pyshark: {error}") from error
        finally:
            if source is not None:
                source.close()
            if not loop.is_closed():
                loop.close()
    return layers


def _layers(packet: Any, protocol: str) -> list[Layer]:
    frame = int(packet.frame_info.number)
    stream = int(packet.tcp.stream) if "TCP" in packet else None
    found = []
    for layer in packet.layers:
        if layer.layer_name != protocol:
            continue
        fields: dict[str, list[str]] = {}
        for container in layer._all_fields.values():
            for field in container.all_fields:
                if field.name:
                    fields.setdefault(field.name, []).append(field.show or "")
        found.append(Layer(frame, stream, fields))
    return found


def _in_thread(work: Callable[[], list[Layer]]) -> list[Layer]:
    """Run `work` in a thread, where no event loop is running, and hand on what it returns or raises."""
    result: list[list[Layer]] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="pyshark")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
