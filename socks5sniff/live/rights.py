"""The right to capture: what to tell a user who has none."""

from __future__ import annotations

import os
import shlex
import sys

PROGRAM = "socks5sniff"
_FILES = "Reading a capture file needs no rights."


def program() -> str:
    """How this program is called so that sudo finds it, too, whose path is another: by its absolute path."""
    called = os.path.abspath(sys.argv[0])
    if os.path.basename(called) == PROGRAM and os.access(called, os.X_OK):
        return shlex.quote(called)
    return f"{shlex.quote(sys.executable)} -m {PROGRAM}"


def refusal(name: str, why: str, platform: str = sys.platform) -> str:
    """The message for a user who may not capture.

    Args:
        name: the interface; on macOS and BSD the device that failed is in `why`.
        why: what is missing.
        platform: `sys.platform` of the system.
    """
    if platform == "win32":
        return (
            f'{name}: {why}. Npcap was installed with "Restrict Npcap driver\'s access to Administrators only": start '
            f"this from an Administrator terminal, or install Npcap again without it. {_FILES}"
        )
    if platform.startswith("linux"):
        filtered = f"sudo tcpdump -i {name} -s 0 -U -w - 'tcp port 1080' | socks5sniff read -"
        return (
            f"{name}: {why}. Choose one: `sudo {program()} live --iface {name}`; `sudo usermod -aG wireshark $USER`, "
            f"log in again, and the capture goes through dumpcap; `{filtered}`; in a container, start that "
            f"with `--cap-add NET_RAW`; `socks5sniff demo`, which needs no rights. {_FILES}"
        )
    if platform == "darwin":
        return (
            f"{name}: {why}. Choose one: `sudo {program()} live --iface {name}`; install ChmodBPF, which is on "
            "Wireshark's disk image: it lets the group access_bpf read the devices; log in again afterwards. "
            f"{_FILES}"
        )
    return f"{name}: {why}. Run it as root, or let your group read /dev/bpf (devfs.rules). {_FILES}"
