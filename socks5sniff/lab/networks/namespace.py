"""A network namespace with nothing in it but its own loopback interface: captures there need no rights outside.

Root makes it directly; other users together with a user namespace, where the kernel lets them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence

from socks5sniff.errors import MissingError, RightsError


def run_inside(arguments: Sequence[str]) -> int:
    """Run this program with `arguments` inside a new namespace, and return its exit status.

    Raises:
        MissingError: this is not Linux, or the programs are missing.
        RightsError: the kernel does not let this user make a namespace.
    """
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            raise MissingError(f"{program} is needed for a network namespace (Linux: packages util-linux and iproute2)")
    command = ["unshare", "--net"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        raise RightsError(f"no network namespace of one's own here: {trial.stderr.strip()}; run it as root")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run([*command, sys.executable, "-m", "socks5sniff", *arguments], env=environment).returncode


def give_addresses(addresses: Iterable[str]) -> None:
    """Bring the namespace's loopback interface up and put addresses on it."""
    commands = [["ip", "link", "set", "lo", "up"]]
    for address in addresses:
        if ":" in address:
            commands.append(["ip", "address", "add", f"{address}/128", "dev", "lo", "nodad"])
        else:
            commands.append(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RightsError(f"{' '.join(command)}: {done.stderr.strip()}")
