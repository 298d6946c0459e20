"""`socks5sniff dissector`: install the Wireshark dissector, and see whether it is loaded."""

from __future__ import annotations

import click

from socks5sniff.errors import ExitCode


@click.group()
def dissector() -> None:
    """Install the Wireshark dissector."""


@dissector.command()
@click.option(
    "--profile",
    is_flag=True,
    help="Also install a Wireshark profile: colouring rules, filter buttons, columns.",
)
def install(profile: bool) -> int:
    """Copy the dissector into Wireshark's personal Lua plugin folder."""
    from socks5sniff.dissector.install import explain, install_profile
    from socks5sniff.dissector.install import install as copy

    report = copy()
    click.echo(explain(report))
    if profile:
        click.echo(f"{install_profile()}: profile installed; `wireshark -C SOCKS5` starts with it")
    return ExitCode.OK if report.advice is None else ExitCode.FAILED


@dissector.command()
def uninstall() -> int:
    """Remove the installed dissector, and its profile."""
    from socks5sniff.dissector.install import installed_path, uninstall_profile
    from socks5sniff.dissector.install import uninstall as remove

    removed = remove()
    click.echo(f"{removed}: removed" if removed else f"{installed_path()}: not installed")
    folder = uninstall_profile()
    if folder:
        click.echo(f"{folder}: removed")
    return ExitCode.OK


@dissector.command()
def path() -> int:
    """Print the path of the Lua file that came with this program."""
    from socks5sniff.dissector.files import lua_file

    click.echo(lua_file())
    return ExitCode.OK


@dissector.command()
def check() -> int:
    """Say whether the dissector is installed and loaded, and what to do if not."""
    from socks5sniff.dissector.install import check as look
    from socks5sniff.dissector.install import explain

    report = look()
    click.echo(explain(report))
    return ExitCode.OK if report.advice is None else ExitCode.FAILED
