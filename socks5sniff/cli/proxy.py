"""`socks5sniff proxy`: the bundled test proxy."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from .pages import Command, Example, grouped
from .values import Duration, Suggested, Whole, unknown

if TYPE_CHECKING:
    from socks5sniff.errors import OutputError
    from socks5sniff.proxy import LogEntry, Settings

LOOPBACK = "127.0.0.1"
FLUSH_INTERVAL = 0.25
"""Seconds after which a reader of the capture file sees a packet."""


EXAMPLES = (
    Example(
        "socks5sniff proxy --listen :1080 --user alice:secret --capture seen.pcapng", "It asks, and writes a capture."
    ),
    Example("socks5sniff proxy --fault reply=5@2 --fault segment", "Octet by octet; the second one refused."),
)


def fault_names() -> list[str]:
    from socks5sniff.proxy import FAULTS

    return [name + ("=" if fault.value.startswith("=") else "") for name, fault in FAULTS.items()]


@click.command(cls=Command, examples=EXAMPLES)
@grouped(
    "Access",
    click.option(
        "--listen",
        multiple=True,
        metavar="HOST:PORT",
        help="Where to listen; :PORT is on 127.0.0.1, port 0 takes a free one. Repeatable. Default: 127.0.0.1:1080.",
    ),
    click.option("--allow-remote", is_flag=True, help="Allow --listen on addresses that other machines can reach."),
    click.option("--user", "users", multiple=True, metavar="NAME:PASSWORD", help="Ask for a password. Repeatable."),
    click.option("--gssapi", is_flag=True, help="Accept GSSAPI (Kerberos, with the default keytab)."),
    click.option("--host", "hosts", multiple=True, metavar="NAME=ADDRESS", help="The address of a name. Repeatable."),
)
@grouped(
    "Output",
    click.option(
        "--capture", type=click.Path(), metavar="FILE", help="Write what goes through as pcapng; needs no rights."
    ),
    click.option("--quiet", is_flag=True, help="No access log."),
)
@grouped(
    "Misbehaviour",
    click.option(
        "--fault",
        "faults",
        multiple=True,
        type=Suggested(fault_names),
        metavar="NAME[=VALUE][@N]",
        help="Misbehave, in conversation N or in all: reply=5, close=request@2, … Repeatable.",
    ),
    click.option("--list-faults", is_flag=True, help="List the faults and their values, and end."),
)
@grouped(
    "Limits",
    *(
        click.option(
            f"--{name}-timeout", type=Duration(), default=default, metavar="TIME", help=f"{what} Default: {default}."
        )
        for name, default, what in (
            ("handshake", "10s", "For a client's handshake."),
            ("connect", "15s", "For a connection to the destination."),
            ("bind", "1m", "For the peer of a BIND."),
            ("idle", "5m", "For a tunnel or association in which nothing moves."),
        )
    ),
    click.option("--limit", type=Whole(1), default=4096, metavar="N", help="Conversations at once. Default: 4096."),
)
def proxy(
    listen: tuple[str, ...],
    allow_remote: bool,
    users: tuple[str, ...],
    gssapi: bool,
    hosts: tuple[str, ...],
    capture: str | None,
    faults: tuple[str, ...],
    list_faults: bool,
    handshake_timeout: float,
    connect_timeout: float,
    bind_timeout: float,
    idle_timeout: float,
    limit: int,
    quiet: bool,
) -> int:
    """Run a SOCKS4, SOCKS4A and SOCKS5 proxy for tests, until Ctrl-C.

    It listens on loopback addresses only, since an open proxy lets anyone use this machine's network; see
    --allow-remote. Every conversation is a line on standard output when it is over: time, number, client, protocol,
    user, command, destination, outcome, octets to and from the destination, duration, and the datagrams dropped, if
    any. A fault applies to every conversation, or with @N to the one with that number.
    """
    if list_faults:
        from socks5sniff.proxy.faults import FAULTS, FRAMES, STATES

        for name, fault in FAULTS.items():
            click.echo(f"{name + fault.value:30} {fault.help}")
        click.echo(f"\nFRAME is {', '.join(FRAMES)}.\nSTATE is {', '.join(STATES)}.")
        return 0

    from socks5sniff.proxy import FAULTS, Settings, parse_faults

    for each in faults:
        name = each.partition("=")[0].partition("@")[0]
        if name not in FAULTS:
            problem = unknown(name, "a fault", FAULTS, "`socks5sniff proxy --list-faults`")
            raise click.BadParameter(problem, param_hint="--fault")

    security = None
    if gssapi:
        from socks5sniff.client.security import KerberosContext

        KerberosContext()  # says at once what is missing
        security = KerberosContext
    settings = Settings(
        listen=tuple(address(each) for each in listen) or ((LOOPBACK, 1080),),
        allow_remote=allow_remote,
        users=dict(pair("--user", each, ":") for each in users),
        security=security,
        hosts={name.decode(): value.decode() for name, value in (pair("--host", each, "=") for each in hosts)},
        handshake_timeout=handshake_timeout,
        connect_timeout=connect_timeout,
        bind_timeout=bind_timeout,
        idle_timeout=idle_timeout,
        limit=limit,
        faults=parse_faults(faults),
    )
    settings.check()
    return asyncio.run(serve(settings, capture, quiet))


async def serve(settings: Settings, capture: str | None, quiet: bool) -> int:
    """Run the proxy until a signal comes or the capture file cannot be written."""
    from socks5sniff.errors import InputError
    from socks5sniff.proxy import Proxy
    from socks5sniff.proxy.capture_file import CaptureFile
    from socks5sniff.proxy.trace import Trace

    loop = asyncio.get_running_loop()
    stop: asyncio.Future[OutputError | None] = loop.create_future()

    def end(error: OutputError | None = None) -> None:
        if not stop.done():
            stop.set_result(error)

    def log(entry: LogEntry) -> None:
        try:
            print(entry, flush=True)
        except OSError:
            end()  # nobody reads the log any more

    loop.set_exception_handler(ignore_lost_connections)
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, end)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt instead
            break
    file = CaptureFile(capture, end) if capture else None
    proxy = Proxy(settings, None if quiet else log, Trace(file) if file else None)
    try:
        try:
            await proxy.start()
        except OSError as error:
            raise InputError(f"cannot listen: {error.strerror or error}") from error
        for host, port in proxy.addresses:
            print(f"listening on {f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr, flush=True)
        if settings.allow_remote:
            print("other machines may use this proxy", file=sys.stderr, flush=True)
        while not stop.done():
            await asyncio.wait([stop], timeout=FLUSH_INTERVAL if file else None)
            if file is not None:
                file.flush()
    finally:
        await proxy.stop()
        if file is not None:
            file.close()
    failure = stop.result()
    if failure is not None:
        raise failure
    if file is not None:
        print(f"{file.packets} packets in {capture}", file=sys.stderr)
    return 0


def ignore_lost_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio shuts a direction down late, when its buffer has drained; a client that has left by then is no news."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets; without a host on loopback."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise click.BadParameter(f"{text!r} is not HOST:PORT or :PORT.", param_hint="--listen")
    return host, int(port)


def pair(option: str, text: str, separator: str) -> tuple[bytes, bytes]:
    """Two values around a separator; they are octets, since that is what goes over the wire."""
    name, found, value = text.partition(separator)
    if not found:
        raise click.BadParameter(f"{text!r} has no {separator!r} in it.", param_hint=option)
    return name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
