"""pyshark, and all there is to know about it, in one place: SOCKS layers of a capture as tshark decodes them.

pyshark's traps, and what is done about each:
- it runs on an asyncio event loop of its own making, and fails inside a running one or in a thread without one: it
  gets a fresh loop, in a thread of its own;
- at the end of its output it kills tshark and asks for the exit status in two places at once, so that a status is
  lost or made up (255) and a failure goes unnoticed: here tshark's end is waited for;
- a capture that is not closed leaves a tshark process behind: it is closed whatever happens;
- all packets are kept unless it is told not to;
- it asks each time for tshark's version, which takes as long as reading a small capture: it is given what is known;
- a packet of megabytes of PDML stops it, and a tshark that does not end is waited for without end: only the layers that
  are compared are asked for, payloads are not dissected, and after a time limit tshark is killed;
- without tshark it raises its own exception, and when tshark fails another one: both become ours, in one line;
- fields are attributes whose names depend on tshark's version: only the names in the PDML are used, and all values
  of a field that occurs more than once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
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

LUA_PREFERENCES = {"socks5.local_dns": "TRUE"}
"""Off unless asked for, and compared."""

TIMEOUT = 120.0
"""Seconds that tshark may take for one pass over a capture."""

_LAYERS = "frame tcp "
"""Layers that tshark prints besides SOCKS."""


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


class Octets(NamedTuple):
    """Octets through one tunnel, as the dissector's tap counts them."""

    stream: int
    """`tcp.stream`."""
    depth: int
    sent: int
    received: int


def socks_layers(
    capture: str, builtin: bool = False, ports: tuple[int, ...] = (), timeout: float = TIMEOUT
) -> list[Layer]:
    """Every SOCKS layer that tshark finds in a capture file, in the order of packets and of layers in a packet.

    Args:
        capture: the file's name.
        builtin: with Wireshark's own `socks` dissector instead of our Lua one.
        ports: further ports that are a proxy's.
        timeout: seconds after which tshark is ended.

    Raises:
        InputError: the capture cannot be read.
        MissingError: tshark or pyshark is missing, or this tshark does not load Lua.
        Socks5sniffError: tshark failed, or did not end in time.
    """
    _require(capture, builtin)
    return _in_thread(lambda: _read(capture, builtin, ports, timeout))


def tunnel_octets(capture: str, ports: tuple[int, ...] = (), timeout: float = TIMEOUT) -> list[Octets]:
    """Octets through each tunnel of a capture: the whole file in two passes, without a filter, and our Lua's table.

    Arguments and errors as of `socks_layers`.
    """
    _require(capture, builtin=False)
    parameters, preferences = _arguments(False, ports)
    command = [find_tshark(), *parameters, "-r", capture, "-q", "-z", "socks5,octets"]
    for name, value in preferences.items():
        command += ["-o", f"{name}:{value}"]
    with own_settings():
        output = _run(command, capture, timeout)
    rows = [line.split("\t") for line in output.splitlines() if line.startswith("octets\t")]
    return [Octets(int(stream), int(depth), int(sent), int(received)) for _, stream, depth, _, sent, received in rows]


def _require(capture: str, builtin: bool) -> None:
    find_tshark()
    if not Path(capture).is_file():
        raise InputError(f"{capture}: no such file")
    if not builtin:
        require_lua()


def _run(command: list[str], capture: str, timeout: float) -> str:
    """What a tshark prints. It is ended, with all that it started, when it takes too long."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Windows has none, and takes no notice
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException as error:
        _end(process.pid)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise _too_slow(capture, timeout) from error
        raise
    if process.returncode:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise Socks5sniffError(f"tshark cannot read {capture}: {''.join(last) or process.returncode}")
    return str(output.decode("utf-8", "replace"))


def _end(pid: int) -> None:
    """Kill a tshark of ours and its children; one that loops in a dissector does not heed a milder signal."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


def _too_slow(capture: str, timeout: float) -> Socks5sniffError:
    return Socks5sniffError(f"{capture}: tshark did not end within {timeout:g} s and was killed; see --timeout")


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


def _arguments(builtin: bool, ports: tuple[int, ...]) -> tuple[list[str], dict[str, str]]:
    """tshark's parameters and preferences."""
    preferences = dict(PREFERENCES)
    # Two passes, so that a frame that only looked like SOCKS until the answer came is not counted.
    parameters = ["-n", "-2"]
    if builtin:
        for port in ports:
            parameters += ["-d", f"tcp.port=={port},socks"]
        return parameters, preferences
    preferences.update(HEURISTICS_FIRST)
    preferences.update(LUA_PREFERENCES)
    parameters += ["-X", f"lua_script:{lua_file()}"]
    if ports:
        preferences["socks5.ports"] = ",".join(map(str, (1080, 9050, 9150, *ports)))
    return parameters, preferences


def _source_class() -> Any:
    """pyshark's file capture, mended. Raises MissingError without pyshark."""
    try:
        import pyshark
    except ImportError as error:
        raise MissingError("pyshark is not installed: pip install pyshark") from error

    from packaging.version import Version

    class Source(pyshark.FileCapture):  # type: ignore[misc]
        """A capture that lets tshark end by itself once its output has ended, and keeps its exit status."""

        status = 0
        overdue = False

        def _get_tshark_version(self) -> Version:
            return Version(str(version()))

        async def _cleanup_subprocess(self, process: asyncio.subprocess.Process) -> None:
            if not self._eof_reached and process.returncode is None:
                process.kill()
            self.status = await process.wait()
            self._running_processes.discard(process)
            await asyncio.gather(*self._stderr_handling_tasks)

        def end(self) -> None:
            """Kill what still runs: the time is over."""
            self.overdue = True
            for process in self._running_processes:
                if process.returncode is None:
                    process.kill()

    return Source


def _read(capture: str, builtin: bool, ports: tuple[int, ...], timeout: float) -> list[Layer]:
    source_class = _source_class()
    from pyshark.tshark.tshark import TSharkNotFoundException

    protocol = "socks" if builtin else "socks5"
    parameters, preferences = _arguments(builtin, ports)
    loop = asyncio.new_event_loop()
    layers: list[Layer] = []
    source = None
    with own_settings():
        try:
            # The filter makes tshark fail, rather than answer nothing, when the Lua file was not loaded.
            source = source_class(
                capture,
                display_filter=protocol,
                keep_packets=False,
                eventloop=loop,
                tshark_path=find_tshark(),
                override_prefs=preferences,
                custom_parameters=[*parameters, "-J", _LAYERS + protocol],
            )
            loop.call_later(timeout, source.end)
            for packet in source:
                layers += _layers(packet, protocol)
            if source.overdue:
                raise _too_slow(capture, timeout)
            if source.status:
                raise Socks5sniffError(f"tshark cannot read {capture}: {source._last_error_line or source.status}")
        except TSharkNotFoundException as error:
            raise MissingError("tshark is not installed") from error
        finally:
            if source is not None:
                source.close()
            if not loop.is_closed():
                loop.close()
    return layers


def _layers(packet: Any, protocol: str) -> list[Layer]:
    frame = int(packet.frame_info.number)
    stream = None
    found = []
    for layer in packet.layers:
        if layer.layer_name == "tcp":
            number = getattr(layer, "stream", None)
            stream = stream if number is None else int(number)
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
