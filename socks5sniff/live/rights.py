"""The right to capture: what to tell a user who has none."""

from __future__ import annotations

import sys

_FILES = "Reading a capture file needs no rights."


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
            f"{name}: {why}. Choose one: `sudo socks5sniff live --iface {name}`; `sudo usermod -aG wireshark $USER`, "
            f"log in again, and the capture goes through dumpcap; `{filtered}`; in a container, start that "
            f"with `--cap-add NET_RAW`; `socks5sniff demo`, which needs no rights. {_FILES}"
        )
    if platform == "darwin":
        return (
            f"{name}: {why}. Choose one: `sudo socks5sniff live --iface {name}`; install ChmodBPF, which is on "
            "Wireshark's disk image: it lets the group access_bpf read the devices; log in again afterwards. "
            f"{_FILES}"
        )
    return f"{name}: {why}. Run it as root, or let your group read /dev/bpf (devfs.rules). {_FILES}"
