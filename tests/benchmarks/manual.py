"""The table of the manual's page on speed, made of what `python -m tests.benchmarks --save FILE` measured.

    python -m tests.benchmarks churn many dialogues slow noise bulk startup --save tests/benchmarks/measured.json
    python -m tests.benchmarks.manual      puts what was measured into the page
"""

from __future__ import annotations

import json
from pathlib import Path

from .peers import OURS

MEASURED = Path(__file__).with_name("measured.json")
PAGE = Path(__file__).resolve().parents[2] / "socks5sniff" / "manual" / "speed.md"
SHOWN = ("tcpdump", "ndpiReader", "tshark")
WORDS = {
    "churn": "20,000 conversations of 15 packets",
    "many": "5,000 conversations open at once, 250,000 packets",
    "dialogues": "12,000 dialogues of programs and scenarios side by side",
    "slow": "the same, all open at once",
    "noise": "1,000,000 packets, 1 % of 30,000 flows SOCKS",
    "bulk": "two tunnels of 200 MB, 528,000 packets",
}
COMMANDS = {"tcpdump": "tcpdump -w /dev/null", "tshark": "tshark -Y socks"}


def table(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table: wall time and peak memory of socks5sniff, and the peers' wall times divided by it."""
    lines = [
        "| capture | socks5sniff | " + " | ".join(COMMANDS.get(name, name) for name in SHOWN) + " |",
        "| --- " * (len(SHOWN) + 2) + "|",
    ]
    for name, words in WORDS.items():
        costs = measured[name]
        ours = costs[OURS]
        ratios = [f"{costs[peer]['wall'] / ours['wall']:.2g}" for peer in SHOWN]
        lines.append(
            f"| `{name}`: {words} | {ours['wall']:.2f} s, {ours['peak'] / 1e6:.0f} MB | " + " | ".join(ratios) + " |"
        )
    return "\n".join(lines) + "\n"


def startup(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """The sentence on what every command pays."""
    begin, small = (measured["startup"][name]["wall"] * 1000 for name in ("--version", "read of 10 kB"))
    return f"`--version` takes {begin:.0f} ms, a capture of 10 kB {small:.0f} ms.\n"


def page(text: str, measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """The page with what was measured in place of what it says."""
    before, _, rest = text.partition("| capture |")
    _, _, behind = rest.partition("|\n\n")
    _, _, behind = behind.partition("\n")
    return before + table(measured) + "\n" + startup(measured) + behind


def main() -> None:
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()
