"""Write the codec's code points and anomalies into the Lua dissector.

    python -m socks5sniff.dissector.generate

rewrites the region of `wireshark/socks5.lua` between its two marks; a test fails when that would change anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from socks5sniff import codec
from socks5sniff.dissector.files import lua_file

BEGIN = "-- BEGIN GENERATED CODE POINTS"
END = "-- END GENERATED CODE POINTS"
COMMAND = "python -m socks5sniff.dissector.generate"

DEFAULT_PORTS = (1080, 9050, 9150)
"""Ports that are taken for a proxy's unless the user says otherwise: SOCKS, Tor, Tor Browser."""


def tables() -> str:
    """The generated region, marks included."""
    lines = [
        BEGIN,
        f"-- from socks5sniff/codec/codes.py by `{COMMAND}`; edit there",
        f"local DEFAULT_PORTS = {_quoted(','.join(map(str, DEFAULT_PORTS)))}",
        *_table("METHODS", codec.METHODS),
        *_table("COMMANDS", codec.COMMANDS),
        f"local SOCKS4_COMMANDS = {{ {_flags(codec.SOCKS4_COMMANDS)} }}",
        *_table("ADDRESS_TYPES", codec.ADDRESS_TYPES),
        *_table("REPLIES", codec.REPLIES),
        *_table("SOCKS4_REPLIES", codec.SOCKS4_REPLIES),
        *_table("GSSAPI_MESSAGES", codec.GSSAPI_MESSAGES),
        *_table("PROTECTION_LEVELS", codec.PROTECTION_LEVELS),
        "local ANOMALIES = { -- code, severity, description",
        *(
            f"  {{ {_quoted(code)}, {_quoted(anomaly.severity)},\n    {_quoted(anomaly.description)} }},"
            for code, anomaly in codec.ANOMALIES.items()
        ),
        "}",
        END,
    ]
    return "\n".join(lines)


def generated(text: str) -> str:
    """`text` of the Lua file with its region as it should be. Raises ValueError when a mark is missing."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("the Lua file has no marks for the generated code points")
    return head + tables() + tail


def _table(name: str, names: Mapping[int, str]) -> list[str]:
    return [f"local {name} = {{", *(f"  [0x{value:02X}] = {_quoted(text)}," for value, text in names.items()), "}"]


def _flags(values: Iterable[int]) -> str:
    return ", ".join(f"[0x{value:02X}] = true" for value in sorted(values))


def _quoted(text: str) -> str:
    if not text.isprintable() or not text.isascii():
        raise ValueError(f"{text!r} cannot be a Lua string as it is")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main() -> int:
    """Rewrite the Lua file of this checkout."""
    path = lua_file()
    old = path.read_text(encoding="utf-8")
    new = generated(old)
    if new != old:
        path.write_text(new, encoding="utf-8")
    print(f"{path}: {'rewritten' if new != old else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
