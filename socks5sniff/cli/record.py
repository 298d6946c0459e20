"""`socks5sniff record`: captures of known truth."""

from __future__ import annotations

from pathlib import Path

import click

from .pages import Command, Example
from .values import Suggested, unknown

EXAMPLES = (
    Example("socks5sniff record -o mine auth-password udp-associate", "Two scenarios, into the folder mine."),
    Example("socks5sniff record --list", "What there is."),
)


def scenario_names() -> list[str]:
    from socks5sniff.lab.scenarios import SCENARIOS

    return sorted(SCENARIOS)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("scenarios", nargs=-1, type=Suggested(scenario_names), metavar="[SCENARIO]...")
@click.option("-o", "--output", default="captures", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option("--list", "list_", is_flag=True, help="List the scenarios and end.")
@click.option(
    "--live",
    is_flag=True,
    help="Play on real sockets and capture the loopback interface, in a network namespace of its own (Linux).",
)
@click.option("--inside", is_flag=True, hidden=True, help="This process is in that namespace already.")
def record(scenarios: tuple[str, ...], output: str, list_: bool, live: bool, inside: bool) -> int:
    """Play scenarios between the bundled client, proxy and targets, and write what happened.

    Each scenario, all of them unless some are named, gives NAME.pcapng, its truth NAME.json and a row in README.md.
    Without --live they play on a network in memory: the same files every time.
    """
    if list_:
        from socks5sniff.lab.scenarios import SCENARIOS

        width = max(map(len, SCENARIOS))
        for name in sorted(SCENARIOS):
            click.echo(f"{name:{width}}  {SCENARIOS[name].about}")
        return 0
    for name in scenarios:
        if name not in scenario_names():
            problem = unknown(name, "a scenario", scenario_names(), "`socks5sniff record --list`")
            raise click.BadParameter(problem, param_hint="SCENARIO")
    folder = Path(output)
    if live and not inside:
        from socks5sniff.lab.networks.namespace import run_inside

        return run_inside(["record", "--live", "--inside", "-o", str(folder.absolute()), *scenarios])
    if live:
        from socks5sniff.lab.live_recorder import record_live

        recorded, skipped = record_live(scenarios, folder)
        for name, reason in skipped:
            click.echo(f"{name}: not played: {reason}", err=True)
        click.echo(f"{len(recorded)} captures in {output}")
        return 0
    from socks5sniff.lab.recorder import record as record_scenarios

    recordings = record_scenarios(scenarios, folder)
    octets = sum(len(recording.capture) for recording in recordings)
    click.echo(f"{len(recordings)} captures in {output}, {octets} octets")
    return 0
